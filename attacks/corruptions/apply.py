"""Corrupt images: the constants chosen, chance given to every image, the result in bytes as the published files are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from bench.attacks.corruptions import builtin as builtin  # fills the registry
from bench.attacks.corruptions.digital import stored_as_jpeg
from bench.attacks.corruptions.draws import Draws
from bench.attacks.corruptions.registry import CORRUPTIONS as CORRUPTIONS
from bench.attacks.corruptions.registry import files_sha_of, load_corruption
from bench.attacks.corruptions.severities import SEVERITY_LEVELS, Profile, nearest_profile, parameters
from bench.attacks.corruptions.units import Bytes, to_bytes
from bench.core.errors import BenchError

#: Values, H·W·C of all images, that are worked on at a time: they stay in a core's cache.
CHUNK_VALUES: Final = 2**17

SMALLEST_SIDE: Final = 8

#: Tiny ImageNet-C and ImageNet-C are stored as JPEG files of this quality, on top of the corruption.
STORED_QUALITY: Final = 85


def corrupt(
    images: Bytes,
    sample_ids: Sequence[str],
    kind: str,
    severity: int,
    *,
    seed: int = 0,
    profile: Profile | None = None,
    stored: bool = True,
    files_sha: str | None = None,
) -> Bytes:
    """``images``, (N, H, W, C) uint8 of C = 1 or 3 and sides of 8 pixels or more, corrupted: uint8, the same shape.

    Every image depends on (seed, kind, severity, its id) and nothing else. ``profile`` None is the one nearest to
    the shorter side. ``stored``: with the loss of the JPEG files in which the published set of that profile lies, if
    it lies in such files. ``files_sha`` is the hash of the photographs that the kind is made with, "" for the texture
    that stands in for them, None for the photographs if they are installed.
    Raises BenchError for images, names and severities that are not, and for photographs that are not installed.
    """
    _check(images, sample_ids, severity)
    side = min(images.shape[1:3])
    profile = profile or nearest_profile(side)
    function = load_corruption(kind, files_sha_of(kind) if files_sha is None else files_sha)
    constants = parameters(kind, severity, profile, side)
    step = max(1, CHUNK_VALUES // max(1, images[0].size)) if len(images) else 1
    corrupted = np.empty_like(images)
    for first in range(0, len(images), step):
        part = slice(first, first + step)
        draws = Draws(seed, kind, severity, sample_ids[part])
        corrupted[part] = to_bytes(function(images[part], constants, draws))
    return stored_as_jpeg(corrupted, STORED_QUALITY) if stored and profile != "cifar" and len(images) else corrupted


def _check(images: Bytes, sample_ids: Sequence[str], severity: int) -> None:
    if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8:
        raise BenchError(
            f"corruptions take uint8 images of shape (N, H, W, 1 or 3), not {images.dtype} of {images.shape}."
        )
    if min(images.shape[1:3]) < SMALLEST_SIDE:
        height, width = images.shape[1:3]
        raise BenchError(f"corruptions need {SMALLEST_SIDE} pixels a side or more; the images have {height}×{width}.")
    if len(sample_ids) != len(images):
        raise BenchError(f"{len(sample_ids)} sample ids for {len(images)} images.")
    if severity not in SEVERITY_LEVELS:
        raise BenchError(f"severity {severity} is none of 1, 2, 3, 4 and 5.")
