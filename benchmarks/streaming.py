"""Measure streamed image folders: images per second beside timm's loader, and the peak memory of a whole run.

    python benchmarks/streaming.py --out streaming.csv

makes a folder of 50,000 JPEG files of 256 pixels (100 distinct images, hard-linked; 45,000 for training), loads it at
224 pixels with our loader and with ``timm.data.create_loader`` in turn, and then runs ``bench run`` on all of it with a
network of one convolution: training, clean accuracy, FGSM, PGD and a corruption. It takes about seven minutes on two
cores, on Linux only. Memory is the sum of the proportional set sizes (PSS) of all processes: shared pages count once.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

CLASSES, DISTINCT, QUALITY = 10, 100, 90
CROP_PCT, GIB = 0.875, 2**30
GOAL_SHARE, GOAL_GIB = 0.9, 2.0
PLUGIN = """
from torch import nn

from bench.models.registry import ModelEntry, register_model


def build(*, image_size):
    return nn.Sequential(nn.Conv2d(3, 16, 16, stride=16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


register_model("one_convolution", ModelEntry(summary="one convolution", source="benchmarks", build=build), __file__)
"""


def make_folder(root: Path, count: int, side: int) -> None:
    """Write ``count`` JPEG files of ``side`` pixels to ``root``, a tenth of them for test. Most are hard links."""
    rng = np.random.default_rng(0)
    sources = root / "sources"
    sources.mkdir(parents=True)
    for number in range(min(DISTINCT, count)):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).resize((side, side), 3)
        pixels = np.asarray(coarse, np.int16) + rng.integers(-12, 13, (side, side, 3), np.int16)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(sources / f"{number}.jpg", quality=QUALITY)
    for number in range(count):
        split, name = "test" if number % 10 == 0 else "train", f"class{number // 10 % CLASSES}"
        (root / split / name).mkdir(parents=True, exist_ok=True)
        os.link(sources / f"{number % DISTINCT}.jpg", root / split / name / f"{number:06d}.jpg")


class Speed(NamedTuple):
    """Speed of a loader, and the time until it could start."""

    per_second: float
    cpu_ms: float  # processor time of all processes per image, which depends less on what else the machine does
    opening_s: float  # listing, hashing and checking the files


class Clock:
    """Time, and processor time of this process and its ended children, since the start."""

    def __init__(self) -> None:
        self.start, self.cpu = time.perf_counter(), sum(os.times()[:4])

    def speed(self, n: int, opening_s: float) -> Speed:
        """Return the speed for ``n`` images."""
        return Speed(n / (time.perf_counter() - self.start), 1000 * (sum(os.times()[:4]) - self.cpu) / n, opening_s)


def ours(folder: Path, count: int, size: int, workers: int, batch_size: int) -> Speed:
    """Measure our loader on ``count`` training images."""
    import torch

    from bench.core.specs import Fitting
    from bench.data import DataRequest, decode_pool, load_dataset
    from bench.data.streaming import StreamedImages
    from bench.data.tensors import load_images

    request, opening = DataRequest(folder, fitting=Fitting(size=size, crop_pct=CROP_PCT)), time.perf_counter()
    images = load_images(load_dataset("imagefolder", request).train, None, dataset="benchmark", workers=workers)
    if not isinstance(images, StreamedImages):
        raise SystemExit(f"{len(images)} images are held in memory; give more --images.")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]
    clock = Clock()
    n = sum(len(labels) for _, labels in images.batches(order.split(batch_size), torch.device("cpu")))
    decode_pool.close_all()
    return clock.speed(n, clock.start - opening)


def timms(folder: Path, count: int, size: int, workers: int, batch_size: int) -> Speed:
    """Measure timm's loader with the same resizing, the same images and no normalisation."""
    import torch
    from timm.data import ImageDataset, create_loader

    opening = time.perf_counter()
    data = ImageDataset(str(folder / "train"))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:count]
    data.reader.samples = [data.reader.samples[i] for i in order.tolist()]
    loader = create_loader(
        data,
        input_size=(3, size, size),
        batch_size=batch_size,
        interpolation="bilinear",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        crop_pct=CROP_PCT,
        num_workers=workers,
        device=torch.device("cpu"),
        persistent_workers=False,
    )
    clock = Clock()
    n = sum(len(labels) for _, labels in loader)
    return clock.speed(n, clock.start - opening)


LOADERS = {"bench": ours, "timm": timms}


def tree(pid: int) -> Iterator[int]:
    """Yield ``pid`` and all processes below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text(encoding="utf-8").split():
            yield from tree(int(child))


def memory_of(pid: int) -> int:
    """Return the bytes in memory of a process and of all processes below it."""
    total = 0
    for member in tree(pid):
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        except OSError:  # it has ended
            continue
        total += 1024 * next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total


def watched(command: Sequence[str]) -> tuple[str, float]:
    """Run a command. Return its output, and its peak memory in GiB. Raises SystemExit if it fails."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, memory_of(process.pid))
        except OSError:  # it has ended
            break
        time.sleep(1)
    output = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with code {process.returncode}.")
    return output, peak / GIB


def imports() -> float:
    """Return the GiB that the libraries of a run take before it reads any image."""
    code = "import bench.pipeline, timm, time; time.sleep(3)"
    return watched([sys.executable, "-c", code])[1]


def whole_run(folder: Path, place: Path, given: argparse.Namespace) -> Sequence[str]:
    """Return the command of the whole run."""
    plugin = place / "one_convolution.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    options = f"--image-size {given.size} --workers {given.workers} --models one_convolution --variants baseline"
    images = f"--epochs 1 --train-limit {given.train_limit} --limit {given.limit}"
    cells = "--attacks fgsm,pgd-5 --eps 4/255 --corruptions brightness --severities 3 --audit none --no-diagnose"
    results = ["--results", str(place / "results"), "--plugin", str(plugin), "--data-dir", str(folder)]
    data = ["--dataset", "imagefolder", "--recipe", "short"]
    return [sys.executable, "-m", "bench", "run", *data, *results, *options.split(), *images.split(), *cells.split()]


def main() -> None:
    """Measure, print a table and write it to ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--side", type=int, default=256, help="side of the files in pixels")
    parser.add_argument("--size", type=int, default=224, help="side of the inputs in pixels")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each loader, in turn; 0 for none")
    parser.add_argument("--per-round", type=int, default=10_000, help="images of each measurement")
    parser.add_argument("--train-limit", default="all", help="training images of the run")
    parser.add_argument("--limit", default="all", help="test images of the run")
    parser.add_argument("--no-run", action="store_true", help="measure the loaders only")
    parser.add_argument("--folder", type=Path, help="folder made by an earlier call with the same --images")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--loader", choices=tuple(LOADERS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.loader:
        found = LOADERS[given.loader](given.folder, given.per_round, given.size, given.workers, given.batch_size)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CACHE_HOME"] = place  # of remembered hashes
        folder = given.folder or Path(place) / "images"
        if not folder.exists():
            make_folder(folder, given.images, given.side)
        rows = list(measure(given, folder, Path(place)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)))
    if given.out:
        with given.out.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


def measure(given: argparse.Namespace, folder: Path, place: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of the table: case, measured, goal."""
    yield "case", "measured", "goal"
    yield "machine", f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", ""
    base = imports()
    yield "memory of the imported libraries", f"{base:.2f} GiB", ""
    speeds: dict[str, list[Speed]] = {name: [] for name in LOADERS}
    peaks: dict[str, list[float]] = {name: [] for name in LOADERS}
    options = [
        f"--{name}={getattr(given, name.replace('-', '_'))}" for name in ("per-round", "size", "workers", "batch-size")
    ]
    for _ in range(given.rounds):
        for name in LOADERS:
            command = [sys.executable, __file__, f"--loader={name}", f"--folder={folder}", *options]
            output, peak = watched(command)
            speeds[name].append(Speed(*json.loads(output)))
            peaks[name].append(peak)
    if given.rounds:
        medians = {name: statistics.median(s.per_second for s in of_name) for name, of_name in speeds.items()}
        for name, of_name in speeds.items():
            each = ", ".join(f"{speed.per_second:.0f}" for speed in of_name)
            yield f"{name}: images per second", f"{medians[name]:.0f} ({each})", ""
            yield f"{name}: processor ms per image", f"{statistics.median(s.cpu_ms for s in of_name):.2f}", ""
            opening = ", ".join(f"{speed.opening_s:.1f}" for speed in of_name)
            yield f"{name}: seconds before the first image, first and later", opening, ""
            yield f"{name}: peak memory of the loader", f"{max(peaks[name]):.2f} GiB", ""
        share = medians["bench"] / medians["timm"]
        yield "bench / timm", f"{share:.2f}", f"at least {GOAL_SHARE}: {'met' if share >= GOAL_SHARE else 'missed'}"
    if not given.no_run:
        start = time.perf_counter()
        _, peak = watched(whole_run(folder, place, given))
        more = peak - base
        yield "bench run: seconds", f"{time.perf_counter() - start:.0f}", ""
        yield "bench run: peak memory", f"{peak:.2f} GiB", ""
        met = "met" if more < GOAL_GIB else "missed"
        yield "bench run: peak memory beyond the libraries", f"{more:.2f} GiB", f"below {GOAL_GIB:g} GiB: {met}"


if __name__ == "__main__":
    main()
