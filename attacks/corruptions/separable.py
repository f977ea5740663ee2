"""Separable linear filters, applied to whole batches as matrix products.

A linear filter of a line of n pixels, boundary handling included, is an n×n matrix. Filtering the identity matrix with
SciPy gives this matrix with exactly SciPy's boundary handling. Matrix products are fast.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from bench.attacks.corruptions.draws import Floats
from bench.attacks.corruptions.units import Bytes


@lru_cache(maxsize=64)
def gaussian_matrix(side: int, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Tensor:
    """Return the matrix of ``scipy.ndimage.gaussian_filter1d`` for ``side`` pixels, (side, side) float32; σ in px."""
    return torch.from_numpy(_blur_identity(side, sigma, mode, truncate))


def _blur_identity(side: int, sigma: float, mode: Any, truncate: float) -> Floats:
    eye = np.eye(side)
    blurred = ndimage.gaussian_filter1d(eye, sigma, axis=0, mode=mode, truncate=truncate) if sigma > 1e-15 else eye
    return blurred.astype(np.float32)


@lru_cache(maxsize=256)
def zoom_matrix(side: int, factor: float) -> Tensor:
    """Return the matrix that zooms into the centre of a line by ``factor``, (side, side) float32.

    It enlarges the central ⌈side/factor⌉ pixels by ``scipy.ndimage.zoom`` of order 1, and crops the result to the
    central ``side`` pixels.
    """
    kept = int(np.ceil(side / factor))
    first = (side - kept) // 2
    enlarged = ndimage.zoom(np.eye(kept), (factor, 1), order=1)
    trimmed = (len(enlarged) - side) // 2
    matrix = np.zeros((side, side), dtype=np.float32)
    matrix[:, first : first + kept] = enlarged[trimmed : trimmed + side]
    return torch.from_numpy(matrix)


def blur(images: Bytes | Floats, sigma: float, *, mode: str = "nearest", truncate: float = 4.0) -> Floats:
    """Blur each plane of (N, H, W, C) or (N, H, W) with a Gaussian of σ = ``sigma`` pixels; float32, same shape."""
    height, width = images.shape[1:3]
    return filtered(
        images, gaussian_matrix(height, sigma, mode, truncate), gaussian_matrix(width, sigma, mode, truncate)
    )


def filtered(images: Bytes | Floats, rows: Tensor, columns: Tensor) -> Floats:
    """Return ``rows`` · plane · ``columns``ᵀ for every plane of (N, H, W, C) or (N, H, W); float32, same shape."""
    if images.ndim == 3:
        return _apply(to_tensor(images), rows, columns).numpy()
    return from_planes(_apply(to_planes(images), rows, columns))


def _apply(planes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return rows @ (planes @ columns.T)


def to_planes(images: Bytes | Floats) -> Tensor:
    """Convert (N, H, W, C) to (N, C, H, W), float32."""
    return to_tensor(images.transpose(0, 3, 1, 2))


def to_tensor(array: NDArray[Any]) -> Tensor:
    """Convert an array to a contiguous float32 tensor of the same shape."""
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def from_planes(planes: Tensor) -> Floats:
    """Convert (N, C, H, W) to (N, H, W, C), a view."""
    array: Floats = planes.numpy()
    return array.transpose(0, 2, 3, 1)
