"""Every corruption beside an independent implementation with the same constants and the same random numbers.

The forks compute in float64, cut off where ImageMagick rounds, and warp by SciPy: a mean difference of one level of 255
and a largest one of three are allowed.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from forks import with_constants
from numpy.typing import NDArray
from pictures import Bytes, names, pictures
from PIL import Image

from bench.attacks.corruptions.apply import corrupt_bytes
from bench.attacks.corruptions.draws import Draws
from bench.attacks.corruptions.registry import parameters
from bench.attacks.corruptions.severities import PROFILE_SIZES, SEVERITY_LEVELS, Profile

imaug = pytest.importorskip("imagecorruptions.corruptions", reason="imagecorruptions-imaug is not installed")
tta = pytest.importorskip("corrupt_tta.corruptions", reason="corrupt-tta is not installed")

CERTAIN = [
    "brightness", "contrast", "defocus_blur", "gaussian_blur", "jpeg_compression", "pixelate", "saturate", "zoom_blur",
]  # fmt: skip
CASES = [(profile, severity) for profile in PROFILE_SIZES for severity in SEVERITY_LEVELS]
SEED = 3

Fork = Callable[[Any], Bytes]


def check_near(ours: Bytes, theirs: NDArray[Any]) -> None:
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.mean() <= 1
    assert difference.max() <= 3


def near(kind: str, profile: Profile, severity: int, fork: Callable[[Any, Draws], Fork], count: int = 2) -> None:
    """Our images beside those of ``fork``, which is made for each image from the constants and the image's draws."""
    side = PROFILE_SIZES[profile]
    images = pictures(count, side)
    ours = corrupt_bytes(images, names(count), kind, severity, seed=SEED, profile=profile, stored=False)
    constants = parameters(kind, severity, profile, side)
    for name, image, found in zip(names(count), images, ours, strict=True):
        theirs = fork(constants, Draws(SEED, kind, severity, [name]))(Image.fromarray(image))
        check_near(found, theirs)


@pytest.mark.parametrize("kind", CERTAIN)
@pytest.mark.parametrize(("profile", "severity"), CASES)
def test_a_certain_kind_is_the_forks(kind: str, profile: Profile, severity: int) -> None:
    module = tta if kind == "zoom_blur" else imaug  # imaug's enlargements are cut off at one end instead of both
    near(kind, profile, severity, lambda constants, _: with_constants(module, kind, constants))


@pytest.mark.parametrize(("profile", "severity"), CASES)
def test_jpeg_and_pixels_are_pillows_to_the_byte(profile: Profile, severity: int) -> None:
    images = pictures(4, PROFILE_SIZES[profile])
    for kind in ("jpeg_compression", "pixelate"):
        ours = corrupt_bytes(images, names(4), kind, severity, profile=profile, stored=False)
        fork = with_constants(tta, kind, parameters(kind, severity, profile, images.shape[1]))
        np.testing.assert_array_equal(ours, np.stack([fork(image) for image in images]))


class Dealt:
    """Stands for ``numpy.random``'s functions, and deals out our numbers."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch

    def normal(self, *numbers: NDArray[np.float32]) -> None:
        queue = self._queue(numbers)
        self.patch.setattr(np.random, "normal", lambda loc=0.0, scale=1.0, size=None: loc + scale * next(queue))

    def uniform(self, *numbers: Any) -> None:
        queue = self._queue(numbers)

        def uniform(low: float = 0.0, high: float = 1.0, size: Any = None) -> Any:
            return low + (high - low) * next(queue)

        self.patch.setattr(np.random, "uniform", uniform)

    @staticmethod
    def _queue(numbers: tuple[Any, ...]) -> Iterator[Any]:
        return iter(numbers)


@pytest.fixture
def dealt(monkeypatch: pytest.MonkeyPatch) -> Dealt:
    return Dealt(monkeypatch)


@pytest.mark.parametrize("kind", ["gaussian_noise", "speckle_noise"])
@pytest.mark.parametrize(("profile", "severity"), CASES)
def test_noise_on_the_same_numbers(kind: str, profile: Profile, severity: int, dealt: Dealt) -> None:
    side = PROFILE_SIZES[profile]

    def fork(constants: Any, draws: Draws) -> Fork:
        dealt.normal(draws.normal(side, side, 3)[0].astype(float))
        return with_constants(imaug, kind, constants)

    near(kind, profile, severity, fork)


@pytest.mark.parametrize(("profile", "severity"), CASES)
def test_glass_on_the_same_numbers(profile: Profile, severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fork's loop over all pixels, interpreted, with our steps in its order."""
    side = min(PROFILE_SIZES[profile], 64)

    def fork(constants: Any, draws: Draws) -> Fork:
        steps = []
        for _ in range(constants.iterations):
            down, right = ((draws.uniform(side, side)[0] * 2 * constants.max_delta_px).astype(int) for _ in range(2))
            passed = range(side - constants.max_delta_px, constants.max_delta_px, -1)
            steps += [np.array([right[h, w], down[h, w]]) - constants.max_delta_px for h in passed for w in passed]
        queue = iter(steps)
        monkeypatch.setattr(np.random, "randint", lambda low, high, size: next(queue))
        monkeypatch.setattr(np.random, "seed", lambda seed: None)
        loop = types.FunctionType(imaug._shuffle_pixels_njit_glass_blur.py_func.__code__, {"np": np, "range": range})
        return with_constants(imaug, "glass_blur", constants, {"_shuffle_pixels_njit_glass_blur": loop})

    images = pictures(2, side)
    ours = corrupt_bytes(images, names(2), "glass_blur", severity, seed=SEED, profile=profile, stored=False)
    for name, image, found in zip(names(2), images, ours, strict=True):
        constants = parameters("glass_blur", severity, profile, side)
        theirs = fork(constants, Draws(SEED, "glass_blur", severity, [name]))(Image.fromarray(image))
        check_near(found, theirs)


@pytest.mark.parametrize(("profile", "severity"), CASES)
def test_motion_on_the_same_angle(profile: Profile, severity: int, dealt: Dealt) -> None:
    def fork(constants: Any, draws: Draws) -> Fork:
        dealt.uniform(float(draws.uniform()[0]))
        return with_constants(imaug, "motion_blur", constants)

    near("motion_blur", profile, severity, fork, count=6)


@pytest.mark.parametrize(("profile", "severity"), CASES)
def test_fog_on_the_same_numbers(profile: Profile, severity: int, dealt: Dealt) -> None:
    side = 1 << (PROFILE_SIZES[profile] - 1).bit_length()

    def fork(constants: Any, draws: Draws) -> Fork:
        numbers, parts, step = draws.uniform(side * side - 1)[0].astype(float), [], side
        while step >= 2:
            for _ in ("squares", "edges across", "edges down"):
                count = (side // step) ** 2
                parts.append(numbers[:count].reshape(side // step, side // step))
                numbers = numbers[count:]
            step //= 2
        dealt.uniform(*parts)
        return with_constants(imaug, "fog", constants)

    near("fog", profile, severity, fork)


@pytest.mark.parametrize(("profile", "severity"), CASES)
def test_snow_on_the_same_numbers(profile: Profile, severity: int, dealt: Dealt) -> None:
    """Its enlarged noise is cut out of the middle, as corrupt-tta has it; the wind is imaug's."""
    side = PROFILE_SIZES[profile]

    def fork(constants: Any, draws: Draws) -> Fork:
        dealt.normal(draws.normal(side, side)[0].astype(float))
        dealt.uniform(float(draws.uniform()[0]))
        return with_constants(imaug, "snow", constants, {"clipped_zoom": tta.clipped_zoom})

    near("snow", profile, severity, fork)


@pytest.mark.parametrize(("profile", "severity"), CASES)
def test_spatter_on_the_same_numbers(profile: Profile, severity: int, dealt: Dealt) -> None:
    side = PROFILE_SIZES[profile]

    def fork(constants: Any, draws: Draws) -> Fork:
        dealt.normal(draws.normal(side, side)[0].astype(float))
        return with_constants(imaug, "spatter", constants)

    near("spatter", profile, severity, fork)


@pytest.mark.parametrize(("profile", "severity"), CASES)
def test_elastic_on_the_same_numbers(profile: Profile, severity: int, dealt: Dealt) -> None:
    side = PROFILE_SIZES[profile]

    def fork(constants: Any, draws: Draws) -> Fork:
        dealt.uniform(*(draws.uniform(*shape)[0].astype(float) for shape in ((3, 2), (side, side), (side, side))))
        return with_constants(tta, "elastic_transform", constants)

    near("elastic_transform", profile, severity, fork)
