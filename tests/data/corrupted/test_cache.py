"""Generated sets: what is served is what ``corrupt`` makes, whatever has happened to the files since."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.attacks.corruptions.apply import corrupt_bytes
from bench.attacks.corruptions.photographs import FILES_SHA, find_installed
from bench.attacks.corruptions.registry import CORRUPTIONS, files_sha_of
from bench.core.errors import BenchError
from bench.data.corrupted import arrays, cache
from bench.data.corrupted.cache import GeneratedSet
from bench.data.corrupted.sets import CorruptedSet

KIND = "gaussian_noise"
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 12, 10), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9])
IDS = [f"test/{i:05d}" for i in range(6)]


def made(folder: Path, pixels: Any = PIXELS, **changed: Any) -> GeneratedSet:
    given = {"ids": IDS, "labels": LABELS, "profile": "cifar", "seed": 0} | changed
    return GeneratedSet(folder, pixels, **given)


def expected(kind: str = KIND, pixels: Any = PIXELS, seed: int = 0) -> Any:
    images = pixels.transpose(0, 2, 3, 1)
    return np.concatenate([corrupt_bytes(images, IDS, kind, s, seed=seed, profile="cifar") for s in range(1, 6)])


def manifest(generated: GeneratedSet) -> Any:
    return json.loads((generated.folder / "manifest.json").read_text())


def age(path: Path) -> None:
    """A change is known by a file's time, which a test may be too quick to move."""
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


def forbid(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("generated again")

    patch.setattr(cache, "corrupt_bytes", refuse)


@pytest.mark.parametrize("kind", [KIND, "brightness", "elastic_transform"])
def test_every_severity_is_what_corrupt_makes(tmp_path: Path, kind: str) -> None:
    generated: CorruptedSet = made(tmp_path)
    for severity in range(1, 6):
        found = generated.images(kind, severity)
        assert np.array_equal(found, expected(kind)[6 * (severity - 1) : 6 * severity])
        assert isinstance(found, np.memmap)
    assert (generated.source, generated.official) == ("generated", False)


def test_blocks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path).folder
    monkeypatch.setattr(cache, "BLOCK_VALUES", 2 * PIXELS[0].size)
    generated = made(tmp_path)
    assert generated.folder == folder
    assert np.array_equal(generated.images(KIND, 2), expected()[6:12])


def test_grey_images_and_floats(tmp_path: Path) -> None:
    grey = PIXELS[:, :1]
    assert np.array_equal(made(tmp_path, grey).images(KIND, 1), expected(pixels=grey)[:6])
    floats = PIXELS.astype(np.float32) / 255
    assert made(tmp_path, floats).folder == made(tmp_path).folder
    assert np.array_equal(made(tmp_path, floats).images(KIND, 3), expected()[12:18])
    nudged = np.clip(floats + np.float32(0.4 / 255), 0, 1)
    assert made(tmp_path, nudged).folder == made(tmp_path).folder, "rounded to the nearest level"


def test_the_layout_is_that_of_cifar_10_c(tmp_path: Path) -> None:
    generated = made(tmp_path)
    sha = generated.file_sha(KIND)
    stored = np.load(generated.folder / f"{KIND}.npy")
    assert (stored.dtype, stored.shape) == (np.uint8, (30, 12, 10, 3))
    assert np.array_equal(stored, expected())
    assert np.load(generated.folder / "labels.npy").tolist() == LABELS.tolist() * 5
    assert sha == hashlib.sha256((generated.folder / f"{KIND}.npy").read_bytes()).hexdigest()
    assert {path.name for path in generated.folder.iterdir()} == {f"{KIND}.npy", "labels.npy", "manifest.json"}


def test_what_the_manifest_says(tmp_path: Path) -> None:
    generated = made(tmp_path, seed=7)
    for kind in (KIND, "contrast"):
        generated.images(kind, 1)
    found = manifest(generated)
    assert (found["profile"], found["seed"], found["images"]) == ("cifar", 7, 6)
    assert set(found["files"][f"{KIND}.npy"].pop("libraries")) == {"numpy", "scipy", "opencv", "pillow"}
    assert set(found["files"]) == {f"{KIND}.npy", "contrast.npy", "labels.npy"}
    version = CORRUPTIONS.get(KIND).version
    assert found["files"][f"{KIND}.npy"] == {
        "set": generated.identity,
        "sha256": generated.file_sha(KIND),
        "shape": [30, 12, 10, 3],
        "version": version,
    }


def test_the_second_use_generates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(tmp_path)
    first.images(KIND, 1)
    content = (first.folder / "manifest.json").read_bytes()
    forbid(monkeypatch)
    assert np.array_equal(first.images(KIND, 5), expected()[24:])
    second = made(tmp_path)
    assert np.array_equal(second.images(KIND, 4), expected()[18:24])
    assert (second.folder / "manifest.json").read_bytes() == content


def test_a_file_is_hashed_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path).images(KIND, 1)

    def refuse(*_: Any) -> None:
        raise AssertionError("hashed again")

    monkeypatch.setattr(arrays.hashlib, "file_digest", refuse)
    made(tmp_path).images(KIND, 2)


def test_other_images_have_another_folder(tmp_path: Path) -> None:
    pixels = PIXELS.copy()
    pixels[0, 0, 0, 0] ^= 1
    sets = [
        made(tmp_path),
        made(tmp_path, pixels),
        made(tmp_path, PIXELS.reshape(6, 3, 10, 12)),
        made(tmp_path, ids=[*IDS[:-1], "other"]),
        made(tmp_path, labels=LABELS + 1),
        made(tmp_path, profile="imagenet"),
        made(tmp_path, seed=1),
    ]
    assert len({generated.folder for generated in sets}) == len(sets)


def test_in_the_folder_itself_nothing_of_another_set_is_served(tmp_path: Path) -> None:
    for seed in (0, 1, 0):
        generated = made(tmp_path, seed=seed, below=False)
        assert np.array_equal(generated.images(KIND, 1), expected(seed=seed)[:6])
        assert np.array_equal(np.load(tmp_path / f"{KIND}.npy"), expected(seed=seed))
    made(tmp_path, labels=LABELS + 1, below=False).images("contrast", 1)
    assert np.load(tmp_path / "labels.npy").tolist() == (LABELS + 1).tolist() * 5


def truncate(generated: GeneratedSet, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(generated: GeneratedSet, path: Path) -> None:
    path.write_bytes(b"")


def append(generated: GeneratedSet, path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def flip(generated: GeneratedSet, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def remove(generated: GeneratedSet, path: Path) -> None:
    path.unlink()


def reshape(generated: GeneratedSet, path: Path) -> None:
    found = np.load(path)
    np.save(path, found.reshape(found.shape[0] // 2, -1))


def forget(generated: GeneratedSet, path: Path) -> None:
    content = manifest(generated)
    del content["files"][path.name]
    (generated.folder / "manifest.json").write_text(json.dumps(content))


def outdate(generated: GeneratedSet, path: Path) -> None:
    """Equal to the eye, but of a version whose images were others."""
    flip(generated, path)
    content = manifest(generated)
    content["files"][path.name] |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "version": 0}
    (generated.folder / "manifest.json").write_text(json.dumps(content))


def spoil(generated: GeneratedSet, path: Path) -> None:
    (generated.folder / "manifest.json").write_text('{"files": ')


def misform(generated: GeneratedSet, path: Path) -> None:
    (generated.folder / "manifest.json").write_text(json.dumps({"files": {path.name: [1]}}))


@pytest.mark.parametrize("name", [f"{KIND}.npy", "labels.npy"])
@pytest.mark.parametrize("damage", [truncate, empty, append, flip, remove, reshape, forget, outdate, spoil, misform])
def test_what_is_not_whole_is_made_again(tmp_path: Path, damage: Any, name: str) -> None:
    first = made(tmp_path)
    first.images(KIND, 1)
    path = first.folder / name
    content, before = path.read_bytes(), manifest(first)
    damage(first, path)
    if path.exists():
        age(path)
    second = made(tmp_path)
    assert np.array_equal(second.images(KIND, 3), expected()[12:18])
    assert path.read_bytes() == content
    assert manifest(second) == before


def test_no_byte_of_the_header_may_change(tmp_path: Path) -> None:
    first = made(tmp_path, PIXELS[:1], ids=IDS[:1], labels=LABELS[:1])
    wanted = first.images("brightness", 1).copy()
    path = first.folder / "brightness.npy"
    content = path.read_bytes()
    for position in range(128):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        age(path)
        again = made(tmp_path, PIXELS[:1], ids=IDS[:1], labels=LABELS[:1])
        assert np.array_equal(again.images("brightness", 1), wanted), position
        assert path.read_bytes() == content, position


def test_a_new_version_of_a_kind_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path).images(KIND, 1)
    get = CORRUPTIONS.get
    monkeypatch.setattr(CORRUPTIONS, "get", lambda kind: replace(get(kind), version=99))
    monkeypatch.setattr(cache, "corrupt_bytes", lambda images, *_, **__: 255 - images)
    assert np.array_equal(made(tmp_path).images(KIND, 1), 255 - PIXELS.transpose(0, 2, 3, 1))
    assert manifest(made(tmp_path))["files"][f"{KIND}.npy"]["version"] == 99


@pytest.mark.parametrize("below", [True, False])
def test_frost_of_photographs_and_of_texture_are_never_each_other(tmp_path: Path, below: bool) -> None:
    """One folder and name for both; what stands in for the photographs is made again when they are there, and back."""
    if find_installed() is None:
        pytest.skip("no package with the photographs of frost is installed")
    images = PIXELS.transpose(0, 2, 3, 1)
    for files_sha in ("", FILES_SHA, FILES_SHA, ""):
        found = made(tmp_path, files_sha=files_sha, below=below)
        wanted = corrupt_bytes(images, IDS, "frost", 2, profile="cifar", files_sha=files_sha)
        assert np.array_equal(found.images("frost", 2), wanted)
        assert manifest(found)["files"]["frost.npy"]["files_sha"] == files_sha
        assert np.array_equal(found.images(KIND, 1), expected()[:6])
        assert "files_sha" not in manifest(found)["files"][f"{KIND}.npy"]
    content = manifest(found)
    del content["files"]["frost.npy"]["files_sha"]
    (found.folder / "manifest.json").write_text(json.dumps(content))
    made(tmp_path, files_sha="", below=below).images("frost", 1)
    assert manifest(found)["files"]["frost.npy"]["files_sha"] == "", "of an unknown source is of none"


def test_by_default_frost_is_of_what_is_installed(tmp_path: Path) -> None:
    found = made(tmp_path)
    found.images("frost", 1)
    assert manifest(found)["files"]["frost.npy"]["files_sha"] == files_sha_of("frost")


def test_an_interrupted_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(images: Any, ids: Any, kind: str, severity: int, **options: Any) -> Any:
        if severity == 4:
            raise KeyboardInterrupt
        return corrupt_bytes(images, ids, kind, severity, **options)

    generated = made(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(cache, "corrupt_bytes", stop)
        with pytest.raises(KeyboardInterrupt):
            generated.images(KIND, 1)
    assert {path.name for path in generated.folder.iterdir()} == {"labels.npy", "manifest.json"}
    assert np.array_equal(generated.images(KIND, 1), expected()[:6])


def test_threads_that_make_the_same_and_other_kinds(tmp_path: Path) -> None:
    kinds = [KIND, "contrast", "brightness", KIND, "contrast", "shot_noise"] * 2
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda kind: made(tmp_path).images(kind, 2), kinds))
    for kind, images in zip(kinds, found, strict=True):
        assert np.array_equal(images, expected(kind)[6:12])
    files = manifest(made(tmp_path))["files"]
    assert set(files) == {"labels.npy", *(f"{kind}.npy" for kind in kinds)}
    assert {path.name for path in made(tmp_path).folder.iterdir()} == {*files, "manifest.json"}


def _use(folder: Path, kinds: list[str]) -> list[str]:
    generated = made(folder)
    return [hashlib.sha256(generated.images(kind, 2).tobytes()).hexdigest() for kind in kinds]


def test_processes_that_make_the_same_kinds(tmp_path: Path) -> None:
    kinds = [KIND, "contrast", "brightness"]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.starmap(_use, [(tmp_path, kinds), (tmp_path, kinds[::-1])], chunksize=1)
    wanted = [hashlib.sha256(expected(kind)[6:12].tobytes()).hexdigest() for kind in kinds]
    assert found == [wanted, wanted[::-1]]
    generated = made(tmp_path)
    for kind in kinds:
        assert np.array_equal(generated.images(kind, 5), expected(kind)[24:])
    assert not [path for path in generated.folder.iterdir() if path.suffix == ".tmp"]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match=r"cannot write .*labels.* give a folder that can be written"):
        made(tmp_path / "file").images(KIND, 1)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generated = made(tmp_path)
    generated.images(KIND, 1)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(arrays.os, "fsync", full)
    with pytest.raises(BenchError, match=r"contrast\.npy .* No space left on device; free some space"):
        generated.images("contrast", 1)
    assert not [path for path in generated.folder.iterdir() if path.suffix == ".tmp"]
    assert np.array_equal(generated.images(KIND, 1), expected()[:6]), "what was there is still served"


def test_what_killed_processes_left_goes_when_it_is_old(tmp_path: Path) -> None:
    generated = made(tmp_path)
    generated.folder.mkdir()
    names = {f".{KIND}.npy.0123.tmp": True, f".{KIND}.npy.4567.tmp": False, ".contrast.npy.0123.tmp": True}
    for name, old in names.items():
        (generated.folder / name).write_bytes(b"a part")
        if old:
            a_day_ago = time.time() - 25 * 3600
            os.utime(generated.folder / name, (a_day_ago, a_day_ago))
    generated.images(KIND, 1)
    left = {path.name for path in generated.folder.iterdir() if path.suffix == ".tmp"}
    assert left == {f".{KIND}.npy.4567.tmp", ".contrast.npy.0123.tmp"}


@pytest.mark.parametrize(
    ("pixels", "changed", "sentence"),
    [
        (PIXELS[0], {}, r"not uint8 of shape \(3, 12, 10\)"),
        (PIXELS[:, :2], {}, r"shape \(N, 1 or 3, H, W\)"),
        (PIXELS.astype(np.float64), {}, "not float64"),
        (PIXELS, {"ids": IDS[1:]}, "6 images to be corrupted have 5 ids and 6 labels"),
        (PIXELS, {"labels": LABELS[1:]}, "6 ids and 5 labels"),
        (PIXELS[:0], {"ids": [], "labels": LABELS[:0]}, "at least one image"),
    ],
)
def test_images_that_are_none(tmp_path: Path, pixels: Any, changed: Any, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        made(tmp_path, pixels, **changed)


def test_kinds_and_severities_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="severity 6"):
        made(tmp_path).images(KIND, 6)
    with pytest.raises(BenchError, match="did you mean 'gaussian_noise'"):
        made(tmp_path).images("gausian_noise", 1)
    assert not list(tmp_path.iterdir()), "nothing was written"
