"""Streamed image files: the pixels and the order of the resident form, errors, signals, and no worker left behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from bench.attacks.corruptions.apply import corrupt_bytes
from bench.attacks.corruptions.registry import CORRUPTIONS
from bench.config import MeasureConfig
from bench.context import RunContext
from bench.core.errors import BenchError, CellFailure
from bench.core.specs import CorruptionSpec, EvalSpec, Fitting
from bench.data import DataRequest, decode_pool, load_dataset, tensors
from bench.data.content_hashes import stamps_of
from bench.data.corrupted.cache import GeneratedSet
from bench.data.corrupted.on_reading import Corruption
from bench.data.corrupted.open import identified
from bench.data.image_files import FileReader
from bench.data.streaming import LazyPixels, StreamedImages
from bench.data.tensors import ResidentImages, load_images
from bench.results.store import Store
from bench.runtime.progress import Progress

COUNT, SIDE, CPU = 50, 32, torch.device("cpu")
FITTING = Fitting(size=SIDE, crop_pct=0.875)
FOG = Corruption("fog", 3, 0, "cifar", "")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of different sizes and formats."""
    rng, folder, paths = np.random.default_rng(0), tmp_path_factory.mktemp("files"), []
    for i in range(COUNT):
        paths.append(folder / f"{i}.{'png' if i % 2 else 'jpg'}")
        Image.fromarray(rng.integers(0, 256, (36 + i % 5, 40 + i % 7, 3), np.uint8)).save(paths[-1])
    return paths


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three images per request and four requests in progress, so that requests wait for each other."""
    monkeypatch.setattr(decode_pool, "REQUEST_BYTES", 3 * 3 * SIDE**2)
    monkeypatch.setattr(decode_pool, "AHEAD_BYTES", 12 * 3 * SIDE**2)


def streamed(files: list[Path], **changed: Any) -> StreamedImages:
    ids, labels = [f"test/{path.name}" for path in files], torch.arange(len(files)) % 7
    images = StreamedImages(ids, labels, FileReader(files, FITTING, fit=True), workers=2)
    return dataclasses.replace(images, **changed)


def expected(files: list[Path]) -> Tensor:
    """Pixels of torchvision."""
    resize = v2.Compose([v2.Resize(int(SIDE / 0.875)), v2.CenterCrop(SIDE), v2.PILToTensor()])
    return torch.stack([resize(Image.open(path).convert("RGB")) for path in files])


def pixels_of(images: StreamedImages, batch_size: int = 20) -> Tensor:
    return torch.cat([pixels for _, pixels in images.pixels(torch.arange(len(images)).split(batch_size))])


@pytest.mark.parametrize("batch_size", [1, 7, 50])
@pytest.mark.usefixtures("small")
def test_batches_have_the_pixels_of_torchvision_in_the_order_of_the_indices(files: list[Path], batch_size: int) -> None:
    images, order = streamed(files), torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    batches = list(images.batches((*order.split(batch_size), torch.arange(0)), CPU))
    assert [len(labels) for _, labels in batches] == [len(part) for part in order.split(batch_size)] + [0]
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), expected(files)[order].float() / 255)
    assert torch.equal(torch.cat([labels for _, labels in batches]), images.labels[order])
    resident = ResidentImages(images.ids, expected(files), images.labels)
    of_memory = list(resident.batches(order.split(batch_size), CPU))
    for (inputs, labels), (streamed_inputs, streamed_labels) in zip(of_memory, batches[:-1], strict=True):
        assert torch.equal(inputs, streamed_inputs)
        assert torch.equal(labels, streamed_labels)
    assert torch.equal(images.inputs(order[:5], CPU), resident.inputs(order[:5], CPU))
    assert images.shape == resident.shape == (3, SIDE, SIDE)


@pytest.mark.usefixtures("small")
def test_iterations_may_be_nested_and_abandoned(files: list[Path]) -> None:
    images, whole = streamed(files), expected(files).float() / 255
    assert torch.equal(images.inputs(torch.arange(COUNT), CPU), whole)  # its workers are idle now
    for number, (inputs, _) in enumerate(images.batches(torch.arange(COUNT).split(10), CPU)):
        for other, _ in images.batches(torch.arange(COUNT).flip(0).split(4), CPU):
            assert torch.equal(other, whole.flip(0)[:4])
            break  # requests of this iteration are in progress
        assert torch.equal(images.inputs(torch.arange(5), CPU), whole[:5])
        assert torch.equal(inputs, whole[10 * number : 10 * number + 10])


def test_the_size_of_the_sample_decides(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "test"):
        for i, path in enumerate(files[:6]):
            (tmp_path / split / f"class{i % 2}").mkdir(parents=True, exist_ok=True)
            (tmp_path / split / f"class{i % 2}" / path.name).write_bytes(path.read_bytes())
    data = load_dataset("imagefolder", DataRequest(tmp_path, fitting=FITTING))
    resident = load_images(data.test, None, dataset="pets", size=SIDE)
    monkeypatch.setattr(tensors, "RESIDENT_BYTES", 5 * 3 * SIDE**2)
    assert isinstance(load_images(data.test, 5, dataset="pets"), ResidentImages)
    images = load_images(data.test, 6, dataset="pets", workers=1)
    assert isinstance(images, StreamedImages)
    assert images.ids == resident.ids
    assert torch.equal(images.labels, resident.labels)
    assert torch.equal(images.inputs(torch.arange(6), CPU), resident.inputs(torch.arange(6), CPU))
    digits = load_dataset("digits", DataRequest())
    assert isinstance(load_images(digits.test, 100, dataset="digits"), ResidentImages)


@pytest.mark.usefixtures("small")
def test_a_damaged_file_is_named_and_the_next_iteration_is_right(files: list[Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(files[1].read_bytes()[:100])
    images = streamed([*files[:20], damaged, *files[20:]])
    batches = images.batches(torch.arange(len(images)).split(10), CPU)
    for _ in range(2):
        next(batches)
    with pytest.raises(BenchError, match=r"damaged\.png"):
        next(batches)
    with pytest.raises(CellFailure, match=r"damaged\.png") as failure:
        pixels_of(dataclasses.replace(images, unreadable="corruption_error"))
    assert failure.value.reason == "corruption_error"
    with pytest.raises(BenchError, match=r"damaged\.png"):
        images.check()
    assert torch.equal(pixels_of(streamed(files)), expected(files))


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_file_that_changed_after_it_was_hashed(files: list[Path], tmp_path: Path, in_memory: bool) -> None:
    path = tmp_path / "a.png"
    Image.open(files[0]).save(path)
    reader = FileReader([path, files[0]], FITTING, fit=True, stamps=stamps_of([path, files[0]]))
    images = streamed([path, files[0]], reader=reader)
    images.check()
    Image.open(files[1]).save(path)
    with pytest.raises(BenchError, match=r"a\.png changed after the run began"):
        reader(np.arange(1)) if in_memory else images.check()
    assert len(reader.select(np.array([1]))(np.arange(1))) == 1


@pytest.mark.parametrize("kind", ["gaussian_noise", "frost", "jpeg_compression", "own"])
def test_corruptions_on_reading_are_those_of_the_stored_set(
    files: list[Path], tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "own":  # processes that decode images have no plug-ins
        entry = dataclasses.replace(CORRUPTIONS.get("gaussian_noise"), function=lambda *given: 255.0 - given[0])
        monkeypatch.setitem(CORRUPTIONS._entries, kind, entry)
        monkeypatch.setitem(CORRUPTIONS._origins, kind, "plugin.py")
    clean = streamed(files)
    corruption = Corruption(kind, 3, 5, "tiny_imagenet", "")
    stored = GeneratedSet(
        tmp_path, expected(files).numpy(), clean.ids, clean.labels.numpy(), "tiny_imagenet", 5, files_sha=""
    )
    found = dataclasses.replace(clean, corruption=corruption)
    planes = torch.from_numpy(stored.images(kind, 3)).permute(0, 3, 1, 2)
    assert not torch.equal(planes, expected(files))
    assert torch.equal(pixels_of(found), planes)
    for batch_size in (20, 50):
        inputs = [inputs for inputs, _ in found.batches(torch.arange(COUNT).split(batch_size), CPU)]
        assert torch.equal(torch.cat(inputs), planes.float() / 255)
    lazy = GeneratedSet(tmp_path, LazyPixels(clean), clean.ids, clean.labels.numpy(), "tiny_imagenet", 5, files_sha="")
    assert lazy.identity == stored.identity


def test_a_corruption_that_fails(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    entry = dataclasses.replace(CORRUPTIONS.get("fog"), function=lambda *given: 1 / 0)
    monkeypatch.setitem(CORRUPTIONS._entries, "own", entry)
    monkeypatch.setitem(CORRUPTIONS._origins, "own", "plugin.py")
    with pytest.raises(CellFailure, match="ZeroDivisionError") as failure:
        pixels_of(streamed(files, corruption=FOG._replace(kind="own")))
    assert failure.value.reason == "corruption_error"
    with pytest.raises(BenchError, match="severity 9 is unknown"):  # in a worker
        pixels_of(streamed(files, corruption=FOG._replace(severity=9)))


def test_signals_do_not_reach_the_workers(files: list[Path]) -> None:
    images = streamed(files)
    batches = images.batches(torch.arange(COUNT).split(10), CPU)
    next(batches)
    for worker in workers():
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(worker, number)
    assert len(list(batches)) == 4
    assert torch.equal(pixels_of(images), expected(files))


@pytest.mark.usefixtures("small")
def test_an_interrupt_while_waiting_ends_the_workers(files: list[Path]) -> None:
    decode_pool.close_all()  # no idle workers, which would stay suspended
    images = streamed(files)
    batches = images.batches(torch.arange(COUNT).split(10), CPU)
    next(batches)
    found = workers()
    for worker in found:
        os.kill(worker, signal.SIGSTOP)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(batches)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not any(map(is_running, found))
    assert torch.equal(pixels_of(images), expected(files))


def test_a_worker_that_is_killed_is_an_error_and_new_ones_start(files: list[Path]) -> None:
    images = streamed(files)
    batches = images.batches(torch.arange(COUNT).repeat(40).split(10), CPU)
    next(batches)
    for worker in workers():  # also the idle ones
        os.kill(worker, signal.SIGKILL)
    with pytest.raises(BenchError, match="ended unexpectedly"):
        list(batches)
    assert torch.equal(pixels_of(images), expected(files))


def test_idle_workers_that_were_killed_are_replaced(files: list[Path]) -> None:
    pixels_of(streamed(files))
    found = workers()
    for worker in found:
        os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(map(is_running, found)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert torch.equal(pixels_of(streamed(files)), expected(files))
    assert not set(found) & set(workers())


def test_no_worker_outlives_a_process_that_is_killed(files: list[Path]) -> None:
    program = (
        "import sys, torch, pathlib, time\n"
        "from bench.core.specs import Fitting\n"
        "from bench.data import decode_pool, streaming\n"
        "from bench.data.image_files import FileReader\n"
        "paths = [pathlib.Path(path) for path in sys.argv[1:]]\n"
        "reader = FileReader(paths, Fitting(size=32, crop_pct=0.875), fit=True)\n"
        "images = streaming.StreamedImages([str(p) for p in paths], torch.zeros(len(paths)), reader, 2)\n"
        "batches = images.batches(torch.arange(len(paths)).split(5), torch.device('cpu'))\n"
        "next(batches)\n"
        "print(*[worker.pid for pool in decode_pool._ALL for worker in pool._workers], flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = [int(word) for word in process.stdout.readline().split()]
        assert len(started) == 2
        assert all(map(is_running, started))
        process.kill()
    deadline = time.monotonic() + 20
    while any(map(is_running, started)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, started))


def test_closing_ends_the_workers(files: list[Path]) -> None:
    pixels_of(streamed(files))
    found = workers()
    assert found
    decode_pool.close_all()
    assert not any(map(is_running, found))
    assert torch.equal(pixels_of(streamed(files)), expected(files))


def workers() -> list[int]:
    return [worker.pid for pool in decode_pool._ALL for worker in pool._workers]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def context(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    """A run context whose test images are streamed."""
    for split in ("train", "test"):
        for i, path in enumerate(files[:6]):
            target = tmp_path / "pets" / split / f"class{i % 2}" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    monkeypatch.setattr(tensors, "RESIDENT_BYTES", 0)
    data = load_dataset("imagefolder", DataRequest(tmp_path / "pets", fitting=FITTING))
    return RunContext(dataset=data, store=Store(tmp_path / "out"), device=CPU, progress=Progress())


def spec(**changed: Any) -> CorruptionSpec:
    return CorruptionSpec(kind="fog", severity=2, source="generated", profile="cifar", version=1, **changed)


def test_generated_corruptions_are_stored_on_request_only(context: RunContext) -> None:
    on_reading = context.corrupted(spec(), None)
    assert isinstance(on_reading, StreamedImages)
    assert not (context.store.root / "corrupted").exists()
    asked = dataclasses.replace(context, config=MeasureConfig(corruptions_cache=True), _images={})
    stored = asked.corrupted(spec(), None)
    assert isinstance(stored, ResidentImages)
    assert list((context.store.root / "corrupted").rglob("fog.npy"))
    assert torch.equal(pixels_of(on_reading), stored.pixels)
    clean = context.images("test", None).inputs(torch.arange(6), CPU)
    images = (clean * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    right = corrupt_bytes(images, list(stored.ids), "fog", 2, profile="cifar", files_sha="")
    assert np.array_equal(stored.pixels.permute(0, 2, 3, 1).numpy(), right)


def test_official_files_are_streamed_and_a_changed_one_fails_its_cell(context: RunContext, tmp_path: Path) -> None:
    rng, folder, names = np.random.default_rng(3), tmp_path / "official", context.dataset.test.ids
    pictures = [rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in names]
    for name, picture in zip(names, pictures, strict=True):
        target = folder / "fog" / "2" / Path(name).parent.name / f"{Path(name).stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(target)
    context = dataclasses.replace(context, config=MeasureConfig(corruptions_dir=folder), _images={})
    [known] = identified([dataclasses.replace(spec(), source="official")], context.dataset, folder)
    images = context.corrupted(known, None)
    assert isinstance(images, StreamedImages)
    assert np.array_equal(pixels_of(images).permute(0, 2, 3, 1).numpy(), np.stack(pictures))
    target.write_bytes(b"no image")
    with pytest.raises(CellFailure, match="changed after the run began") as failure:
        list(images.batches([torch.arange(6)], CPU))
    assert failure.value.reason == "corruption_error"
    with pytest.raises(CellFailure, match="changed after the run began"):
        context.corrupted(known, None)


def test_a_damaged_test_image_is_found_before_any_computation(context: RunContext) -> None:
    cell = EvalSpec(run_id="", data_sha="", attack=None, protocol="standard", limit=None, batch_size=4, seed=0)
    context.read_images_of([cell])
    path = next(path for path in context.dataset.test.read.paths if path.suffix == ".png")
    status = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"\0" * (len(content) - len(content) // 2))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(BenchError, match=path.name):
        dataclasses.replace(context, _checked=set()).read_images_of([cell])
