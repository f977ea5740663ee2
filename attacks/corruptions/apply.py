"""Corrupt images: choose the constants, draw random numbers for every image, and return bytes as published.

:func:`corrupt` is the plain function. The harness calls :func:`corrupt_bytes` for each block of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.attacks.corruptions import builtin as builtin  # fills the registry
from bench.attacks.corruptions.digital import stored_as_jpeg
from bench.attacks.corruptions.draws import Draws
from bench.attacks.corruptions.registry import CORRUPTIONS as CORRUPTIONS
from bench.attacks.corruptions.registry import files_sha_of, load_corruption, parameters
from bench.attacks.corruptions.severities import SEVERITY_LEVELS, Profile, nearest_profile
from bench.attacks.corruptions.units import Bytes, to_bytes
from bench.core.errors import BenchError, CellFailure

if TYPE_CHECKING:
    from torch import Tensor

    Images = TypeVar("Images", Bytes, Tensor)

#: Number of values, H·W·C of all images, that are processed at a time. They fit into the cache of a core.
CHUNK_VALUES: Final = 2**17

SMALLEST_SIDE: Final = 8

#: JPEG quality at which Tiny ImageNet-C and ImageNet-C are stored, after the corruption.
STORED_QUALITY: Final = 85


def corrupt(
    images: Images,
    kind: str,
    *,
    severity: int = 3,
    profile: Profile | None = None,
    seed: int = 0,
    ids: Sequence[str] | Sequence[int] | None = None,
) -> Images:
    """Corrupt images as in CIFAR-10-C, Tiny ImageNet-C or ImageNet-C (Hendrycks and Dietterich 2019, arXiv 1903.12261).

    The result for an image depends on (seed, kind, severity, its id) only.

    Args:
        images: An array (N, H, W, C) of uint8, or a tensor (N, C, H, W) of floats in [0, 1] or uint8, with C = 1 or 3
            and sides of 8 pixels or more. Floats are rounded to 256 levels, for which corruptions are defined.
        kind: Name of the corruption, such as "gaussian_noise"; see ``bench list corruptions``.
        severity: 1 to 5.
        profile: Set of constants, "cifar", "tiny_imagenet" or "imagenet"; by default, the set of the nearest size.
        seed: Seed of the random numbers.
        ids: Names of the images, on which their random numbers depend; 0…N−1 by default.

    Returns:
        The corrupted images, with the shape, type and device of ``images``.

    Raises:
        BenchError: If an argument is invalid.

    Brightness adds a constant to the value, 0.15 of 255 at severity 3:

    >>> grey = np.full((1, 32, 32, 3), 100, dtype=np.uint8)
    >>> corrupt(grey, "brightness", severity=3)[0, 0, 0]
    array([138, 138, 138], dtype=uint8)
    """
    names = [str(name) for name in (range(len(images)) if ids is None else ids)]
    if isinstance(images, np.ndarray):
        return corrupt_bytes(images, names, kind, severity, seed=seed, profile=profile)
    import torch

    if not isinstance(images, torch.Tensor) or images.ndim != 4:
        raise BenchError(f"corruptions take an array or a tensor of four dimensions, not {type(images).__name__}.")
    is_float = images.is_floating_point()
    if is_float and images.numel() and not (float(images.amin()) >= 0 and float(images.amax()) <= 1):
        raise BenchError(f"corruptions take floats in [0, 1]; these range from {images.amin():g} to {images.amax():g}.")
    levels = (images.detach() * 255).round().to(torch.uint8) if is_float else images
    array = levels.permute(0, 2, 3, 1).cpu().contiguous().numpy()
    corrupted = torch.from_numpy(corrupt_bytes(array, names, kind, severity, seed=seed, profile=profile))
    planes = corrupted.permute(0, 3, 1, 2).contiguous().to(images.device)
    return (planes.to(images.dtype) / 255) if is_float else planes


def corrupt_bytes(
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
    """Corrupt ``images``, (N, H, W, C) uint8 with C = 1 or 3 and sides of 8 pixels or more. The shape does not change.

    The result for an image depends on (seed, kind, severity, its id) only. Without ``profile``, the profile nearest to
    the shorter side is used. ``stored``: compress the result as JPEG if the published set of the profile consists of
    JPEG files. ``files_sha`` is the hash of the photographs used by the kind. "" selects the synthetic texture, and
    None selects the photographs if they are installed.

    Raises BenchError for unknown names and severities, unsuitable images, and photographs that are not installed.
    Raises CellFailure("corruption_error") if the function of the corruption returns no images.
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
        corrupted[part] = to_bytes(_checked(function(images[part].copy(), constants, draws), images[part], kind))
    return stored_as_jpeg(corrupted, STORED_QUALITY) if stored and profile != "cifar" and len(images) else corrupted


def _checked(output: object, images: Bytes, kind: str) -> NDArray[Any]:
    """Return the output of a corruption. Raise CellFailure unless it has one finite number per pixel."""
    if not isinstance(output, np.ndarray) or output.shape != images.shape:
        shape = output.shape if isinstance(output, np.ndarray) else type(output).__name__
        raise CellFailure("corruption_error", f"{kind} returned {shape} for images {images.shape}.")
    if output.dtype != np.uint8 and not np.issubdtype(output.dtype, np.floating):
        raise CellFailure("corruption_error", f"{kind} returned {output.dtype}; return uint8, or floats from 0 to 255.")
    if output.dtype != np.uint8 and not np.isfinite(output).all():
        raise CellFailure("corruption_error", f"{kind} returned NaN or infinite pixels.")
    return output


def _check(images: Bytes, sample_ids: Sequence[str], severity: int) -> None:
    if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8:
        raise BenchError(
            f"corruptions take uint8 images of shape (N, H, W, 1 or 3), not {images.dtype} of {images.shape}."
        )
    if min(images.shape[1:3]) < SMALLEST_SIDE:
        height, width = images.shape[1:3]
        raise BenchError(f"corruptions need sides of {SMALLEST_SIDE} pixels or more; the images have {height}×{width}.")
    if len(sample_ids) != len(images):
        raise BenchError(f"{len(sample_ids)} sample ids for {len(images)} images; give one per image.")
    if severity not in SEVERITY_LEVELS:
        raise BenchError(f"severity {severity} is unknown; use 1, 2, 3, 4 or 5.")
