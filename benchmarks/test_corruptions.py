"""Compare our corruptions with two libraries, on the same photographs with the same constants."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import timm
import torch
from measure import Bench
from numpy.typing import NDArray
from pictures import names, pictures
from PIL import Image

from bench.attacks.corruptions.apply import CORRUPTIONS, corrupt_bytes
from bench.attacks.corruptions.registry import parameters
from bench.attacks.corruptions.severities import PROFILE_SIZES, SEVERITY_LEVELS, Profile
from bench.data.tensors import as_inputs

imaug = pytest.importorskip("imagecorruptions.corruptions", reason="imagecorruptions-imaug is not installed")
tta = pytest.importorskip("corrupt_tta.corruptions", reason="corrupt-tta is not installed")
from forks import with_constants  # noqa: E402

STANDARD = [kind for kind in CORRUPTIONS if CORRUPTIONS.get(kind).standard]
GOALS: dict[Profile, float] = {"cifar": 10, "imagenet": 4}
COUNTS = {"small": {"cifar": 16, "imagenet": 2}, "full": {"cifar": 200, "imagenet": 8}}
SINGLE = 8  # images that a library corrupts, one at a time
CERTAIN = ["brightness", "contrast", "defocus_blur", "jpeg_compression", "pixelate"]
BATCH = 128


@dataclass(frozen=True)
class Pace:
    """Seconds per image, summed over the five severities of a corruption."""

    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        """Time of the library divided by ours."""
        return self.theirs / self.ours


def fork(module: ModuleType, kind: str, severity: int, profile: Profile) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """Return the library's corruption with our constants.

    The elastic transform of imaug is a different transform and keeps its own constants.
    """
    if module is imaug and kind == "elastic_transform":
        return lambda image: np.asarray(imaug.elastic_transform(image, severity)).astype(np.uint8)
    return with_constants(module, kind, parameters(kind, severity, profile, PROFILE_SIZES[profile]))


def pace(engine: Bench, module: ModuleType, kind: str, profile: Profile, count: int) -> Pace:
    """Measure one corruption at all severities, ours in one batch and the library's for one image at a time."""
    images = pictures(count, PROFILE_SIZES[profile])
    single = [Image.fromarray(image) for image in images[:SINGLE]]
    ours = theirs = 0.0
    for severity in SEVERITY_LEVELS:
        corrupt_one = fork(module, kind, severity, profile)
        theirs += engine.typical(partial(_each, corrupt_one, single), repeats=3) / len(single)
        corrupt_batch = partial(corrupt_bytes, images, names(count), kind, severity, profile=profile, stored=False)
        ours += engine.typical(corrupt_batch, repeats=3) / count
    return Pace(ours, theirs)


def _each(corrupt_one: Callable[[Image.Image], NDArray[np.uint8]], images: Sequence[Image.Image]) -> None:
    for image in images:
        corrupt_one(image)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Run with a single thread, as the libraries do."""
    original = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(original)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("library", ["imagecorruptions-imaug", "corrupt-tta"])
@pytest.mark.parametrize("profile", GOALS)
def test_speed(profile: Profile, library: str, engine: Bench, request: pytest.FixtureRequest) -> None:
    """Compare the time per image over all standard corruptions."""
    module = imaug if library == "imagecorruptions-imaug" else tta
    count = COUNTS[request.config.getoption("--engine-size")][profile]
    paces = {kind: pace(engine, module, kind, profile, count) for kind in STANDARD}
    ours, theirs = sum(p.ours for p in paces.values()), sum(p.theirs for p in paces.values())
    slowest = min(paces, key=lambda kind: paces[kind].ratio)
    each = ", ".join(f"{kind} {p.ratio:.1f}×" for kind, p in sorted(paces.items(), key=lambda item: -item[1].ratio))
    measured = f"{1e3 * ours:.2f} ms per image, {library} {1e3 * theirs:.2f} ms ({theirs / ours:.1f}×): {each}"
    goal: str
    met: bool | None
    goal, met = f"≥ {GOALS[profile]}×", theirs >= GOALS[profile] * ours
    if profile == "cifar":
        goal, met = f"{goal}, no kind slower", met and paces[slowest].ratio >= 1
    if module is tta:
        goal, met = "none set", None
    engine.note(f"15 kinds × 5 severities, {PROFILE_SIZES[profile]} px", measured, goal, met)


def test_sameness(engine: Bench) -> None:
    """Compare the images of deterministic corruptions, in levels from 0 to 255."""
    means, largest = [], 0
    for profile in GOALS:
        images = pictures(8, PROFILE_SIZES[profile])
        for kind in CERTAIN:
            for severity in SEVERITY_LEVELS:
                ours = corrupt_bytes(images, names(8), kind, severity, profile=profile, stored=False).astype(int)
                theirs = np.stack([fork(imaug, kind, severity, profile)(Image.fromarray(image)) for image in images])
                difference = np.abs(ours - theirs)
                means.append(difference.mean())
                largest = max(largest, int(difference.max()))
    measured = f"{len(CERTAIN)} kinds, 32 and 224 px: mean {max(means):.3f} of 255 in the worst, largest {largest}"
    engine.note("Deterministic corruptions", measured, "mean ≤ 1, largest ≤ 3", max(means) <= 1 and largest <= 3)


@cache
def network() -> torch.nn.Module:
    """Return a cached, untrained ResNet-10-T."""
    model: torch.nn.Module = timm.create_model("resnet10t", num_classes=10)
    return model.eval()


def test_reading(engine: Bench, tmp_path: Path) -> None:
    """Compare the evaluation of images in a memory-mapped file with the evaluation of the same images in memory."""
    images = np.tile(pictures(BATCH, 32), (4, 1, 1, 1))
    np.save(tmp_path / "kind.npy", images)
    ready = as_inputs(torch.from_numpy(images).permute(0, 3, 1, 2))

    def read() -> None:
        stored = torch.from_numpy(np.load(tmp_path / "kind.npy", mmap_mode="c")).permute(0, 3, 1, 2)
        with torch.no_grad():
            for part in stored.split(BATCH):
                network()(as_inputs(part).to(engine.device))

    def hold() -> None:
        with torch.no_grad():
            for part in ready.split(BATCH):
                network()(part.to(engine.device))

    network().to(engine.device)
    hold()
    read()
    # The two are measured alternately, so that other load on the machine affects both.
    pairs = [(engine.seconds(hold), engine.seconds(read)) for _ in range(15)]
    share = statistics.median(held for held, _ in pairs) / statistics.median(seconds for _, seconds in pairs)
    engine.note("Evaluating a stored set", f"{share:.1%} of the network's own throughput", "≥ 95 %", share >= 0.95)
