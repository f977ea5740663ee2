"""Convert PIL images, arrays and tensors to uint8 or float32 of shape (N, C, H, W)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.data.split import Pixels

LOG = logging.getLogger(__name__)

GIGABYTE = 10**9
#: A warning is logged for splits that need more than this memory in bytes.
STATED_BYTES = 2 * GIGABYTE
#: Larger values are not the result of a normalisation: white becomes 2.64 with ImageNet's mean and std, and 2.82 with
#: MNIST's.
UNSCALED = 10.0


def stack_images(chunks: Iterable[Sequence[Any]], where: str, *, total: int | None) -> Pixels:
    """Read all chunks of images into one array (N, C, H, W).

    Images become uint8 if all floats are exact multiples of 1/255. If any image has other values, all images become
    float32. ``where`` names data set and split in messages. ``total`` is the number of images, if known, and is used
    only to estimate the memory. Raises BenchError with the first image that cannot be used.
    """
    parts: list[Pixels] = []
    n = n_bytes = 0
    stated = False
    shape: tuple[int, ...] | None = None
    for chunk in chunks:
        images = [image_pixels(image, f"{where} image {n + i}") for i, image in enumerate(chunk)]
        for i, image in enumerate(images):
            shape = shape or _square(image.shape, f"{where} image {n + i}")
            _check_same(image.shape, shape, f"{where} image {n + i}")
        if images:
            parts.append(_one_type(images))
            n, n_bytes = n + len(images), n_bytes + parts[-1].nbytes
        estimated_bytes = n_bytes * max(total or n, n) // max(n, 1)
        if estimated_bytes > STATED_BYTES and not stated:
            LOG.warning(
                "%s images take %.1f GB of memory; give a Subset to read fewer.", where, estimated_bytes / GIGABYTE
            )
            stated = True
    if not parts:
        raise BenchError(f"{where} images: the source is empty; check its path, or the filter that made it.")
    joined: Pixels = np.concatenate(_of_one_type(parts))
    return joined


def image_pixels(image: Any, where: str) -> Pixels:
    """Convert one image to (C, H, W): uint8 if all values are multiples of 1/255, otherwise float32 in [0, 1].

    Accepted images are PIL images of mode L or RGB, and arrays or tensors of shape (H, W), (C, H, W) or (H, W, C) with
    uint8 values or floats in [0, 1]. Raises BenchError for all other types and values.
    """
    return _scaled(_channels_first(_as_array(image, where), where), where)


def _as_array(image: Any, where: str) -> NDArray[Any]:
    if hasattr(image, "getbands"):  # a PIL image
        if image.mode not in ("L", "RGB"):
            raise BenchError(f"{where} has PIL mode {image.mode!r}; convert it by image.convert('RGB') or ('L').")
        array = np.asarray(image)
        return array.transpose(2, 0, 1) if array.ndim == 3 else array
    if isinstance(image, np.ma.MaskedArray):
        raise BenchError(f"{where} is a masked array; give plain arrays.")
    if hasattr(image, "detach"):  # a tensor; NumPy has no bfloat16
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
    try:
        array = np.asarray(image)
    except (TypeError, ValueError) as error:
        raise BenchError(f"{where} cannot be read as an array: {error}.") from error
    if array.dtype.kind not in "uibf":
        raise BenchError(
            f"{where} is of type {type(image).__name__}; give a PIL image, a tensor or an array, for example by "
            "torchvision.transforms.ToTensor() in the transform."
        )
    return array


def _channels_first(array: NDArray[Any], where: str) -> NDArray[Any]:
    if array.ndim == 2:
        return array[None]
    if array.ndim != 3:
        raise BenchError(f"{where} has shape {array.shape}; images are (H, W), (C, H, W) or (H, W, C).")
    if array.shape[0] in (1, 3):
        return array
    if array.shape[2] in (1, 3):
        return array.transpose(2, 0, 1)
    raise BenchError(
        f"{where} has shape {array.shape}; 1 or 3 channels are needed: convert it by image.convert('RGB'), or select "
        "channels in the transform."
    )


def _scaled(image: NDArray[Any], where: str) -> Pixels:
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    if image.dtype.kind != "f":
        raise BenchError(
            f"{where} has pixels of type {image.dtype}; give uint8 in 0…255 or floats in [0, 1], for example by "
            "astype('uint8')."
        )
    if not np.isfinite(image).all():
        raise BenchError(f"{where} has NaN or infinite pixels; repair or remove it.")
    low, high = float(image.min(initial=0.0)), float(image.max(initial=0.0))
    if low < 0 or high > 1:
        way_out = "remove Normalize from the transform: normalise in the module, or for a file with normalize=…"
        if low >= 0 and high > UNSCALED:
            way_out = "divide them by 255, or give uint8"
        raise BenchError(f"{where} has values from {low:.4g} to {high:.4g}, but images must lie in [0, 1]; {way_out}.")
    floats = image.astype(np.float32)
    as_bytes = np.rint(floats * 255).astype(np.uint8)
    return as_bytes if np.array_equal(as_floats(as_bytes), floats) else floats


def as_floats(pixels: Pixels) -> NDArray[np.float32]:
    """Convert uint8 pixels to float32 in [0, 1]. For other pixels, only the type changes. The shape is kept."""
    return pixels.astype(np.float32) / np.float32(255) if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def _of_one_type(arrays: Sequence[Pixels]) -> Sequence[Any]:
    return arrays if len({array.dtype for array in arrays}) == 1 else [as_floats(array) for array in arrays]


def _one_type(images: Sequence[Pixels]) -> Pixels:
    stacked: Pixels = np.stack(_of_one_type(images))
    return stacked


def _square(shape: tuple[int, ...], where: str) -> tuple[int, ...]:
    _, height, width = shape
    if height != width or not height:
        raise BenchError(
            f"{where} has {width}×{height} pixels; images must be square: add Resize and CenterCrop to the transform."
        )
    return shape


def _check_same(shape: tuple[int, ...], first: tuple[int, ...], where: str) -> None:
    if shape[1:] != first[1:]:
        raise BenchError(
            f"{where} has {shape[2]}×{shape[1]} pixels, but the images before it have {first[2]}×{first[1]}; all "
            "images must have one size: add Resize and CenterCrop to the transform."
        )
    if shape[0] != first[0]:
        raise BenchError(
            f"{where} has {shape[0]} channels, but the images before it have {first[0]}; convert all by "
            "image.convert('RGB')."
        )
