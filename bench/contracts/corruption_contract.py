"""Contract of a corruption: valid images at every severity, reproducible per image id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.corruptions.apply import CORRUPTIONS, corrupt_bytes
from bench.attacks.corruptions.builtin import SOURCE
from bench.attacks.corruptions.draws import Draws
from bench.attacks.corruptions.registry import files_sha_of, load_corruption, parameters
from bench.attacks.corruptions.severities import PROFILE_SIZES, SEVERITY_LEVELS, nearest_profile
from bench.contracts.check import Check, Rule, check_documented, require, run_check, run_checks

Bytes = NDArray[np.uint8]
SIZES = tuple(PROFILE_SIZES.values())  # one image size per set of constants
COUNT = 4


def check_corruption(name: str, *, sizes: Sequence[int] = SIZES) -> Iterator[Check]:
    """Check the corruption ``name`` at every severity, on square images of all ``sizes``."""
    subject = f"corruption {name}"
    yield check_documented(subject, CORRUPTIONS.get(name).summary, SOURCE)
    for side in sizes:
        where = f"{subject} at {side} px"
        first = run_check(where, "returns images of the same shape", partial(_same_shape, name, side))
        yield first
        if first.problem:
            continue
        rules: list[Rule] = [
            ("leaves its images unchanged", partial(_images_unchanged, name, side)),
            ("depends on the image and its id alone", partial(_repeatable, name, side)),
            ("draws random numbers as declared", partial(_draws, name, side)),
            ("mean distance from the clean images by severity", partial(_distances, name, side)),
        ]
        yield from run_checks(where, rules)


def pictures(count: int, side: int) -> Bytes:
    """Return ``count`` smooth coloured images with noise, (N, H, W, 3) uint8."""
    rng = np.random.default_rng(0)
    axis = np.linspace(0, 1, side)
    waves = [np.sin(2 * np.pi * (a * axis[:, None] + b * axis + c)) for a, b, c in rng.random((3 * count, 3)) * 3]
    smooth = 128 + 80 * np.stack(waves).reshape(count, 3, side, side).transpose(0, 2, 3, 1)
    noisy: Bytes = (smooth + rng.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8)
    return noisy


def _ids(count: int) -> list[str]:
    return [f"test/{i}" for i in range(count)]


def _raw(name: str, images: Bytes, ids: Sequence[str], severity: int) -> NDArray[Any]:
    """Return the output of the function of the corruption, before clipping and conversion to uint8."""
    side = images.shape[1]
    constants = parameters(name, severity, nearest_profile(side), side)
    function = load_corruption(name, files_sha_of(name))
    return function(images, constants, Draws(0, name, severity, ids))


def _same_shape(name: str, side: int) -> None:
    for channels in (1, 3):
        images = pictures(COUNT, side)[..., :channels].copy()
        for severity in SEVERITY_LEVELS:
            output = _raw(name, images, _ids(COUNT), severity)
            require(
                isinstance(output, np.ndarray) and output.shape == images.shape,
                f"at severity {severity} it returned shape {np.shape(output)} for images {images.shape}; return one "
                "image per input, with as many channels",
            )
            require(
                output.dtype == np.uint8 or np.issubdtype(output.dtype, np.floating),
                f"at severity {severity} it returned {output.dtype}; return uint8, or floats from 0 to 255",
            )
            require(
                bool(np.isfinite(output).all()),
                f"at severity {severity} it returned NaN or infinite pixels; check its constants",
            )


def _images_unchanged(name: str, side: int) -> None:
    images = pictures(COUNT, side)
    before = images.copy()
    for severity in SEVERITY_LEVELS:
        _raw(name, images, _ids(COUNT), severity)
        require(
            np.array_equal(images, before),
            f"at severity {severity} it changed its images in place; work on a copy (images.copy())",
        )


def _repeatable(name: str, side: int) -> None:
    images, ids = pictures(COUNT, side), _ids(COUNT)
    for severity in (SEVERITY_LEVELS[0], SEVERITY_LEVELS[-1]):
        full_batch = corrupt_bytes(images, ids, name, severity)
        require(
            np.array_equal(full_batch, corrupt_bytes(images, ids, name, severity)),
            f"at severity {severity} two calls give different images; draw from the argument draws only",
        )
        order = [2, 0]
        subset = corrupt_bytes(images[order], [ids[i] for i in order], name, severity)
        require(
            np.array_equal(subset, full_batch[order]),
            f"at severity {severity} an image depends on other images of its batch; corrupt each image independently, "
            "and draw from the argument draws only",
        )


def _draws(name: str, side: int) -> None:
    """Check the declaration ``random``. The generators are created at the first draw."""
    images, ids, drawn = pictures(COUNT, side), _ids(COUNT), False
    constants = (parameters(name, severity, nearest_profile(side), side) for severity in SEVERITY_LEVELS)
    function = load_corruption(name, files_sha_of(name))
    for severity, constant in zip(SEVERITY_LEVELS, constants, strict=True):
        draws = Draws(0, name, severity, ids)
        function(images.copy(), constant, draws)
        drawn = drawn or draws.used
    declared = CORRUPTIONS.get(name).random
    require(
        drawn == declared,
        f"it {'draws' if drawn else 'does not draw'} random numbers, but its entry states random={declared}; "
        f"declare random={drawn}",
    )


def _distances(name: str, side: int) -> str:
    """Report the root mean square distance at each severity. It does not always increase for published constants."""
    images, ids = pictures(COUNT, side), _ids(COUNT)
    clean = images.astype(float)
    corrupted_images = [corrupt_bytes(images, ids, name, severity).astype(float) for severity in SEVERITY_LEVELS]
    values = [float(np.sqrt(np.square(corrupted - clean).mean())) for corrupted in corrupted_images]
    increasing = all(first < second for first, second in pairwise(values))
    return f"{', '.join(f'{value:.1f}' for value in values)} of 255{'' if increasing else '; not increasing'}"
