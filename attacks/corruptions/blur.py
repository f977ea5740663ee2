"""Deterministic blurs: Gaussian, defocus and zoom (Hendrycks and Dietterich 2019, arXiv 1903.12261)."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from bench.attacks.corruptions import separable
from bench.attacks.corruptions.draws import Draws, Floats
from bench.attacks.corruptions.severities import Defocus, Gaussian, Zooms
from bench.attacks.corruptions.units import Bytes

#: OpenCV filters float32 images by a Fourier transform if the kernel has ``TRANSFORMED`` pixels per side or more. For
#: kernels of side ``WIDE`` or more, the transform is faster than the sum over the kernel.
TRANSFORMED, WIDE = 13, 7


def gaussian_blur(images: Bytes, constants: Gaussian, draws: Draws) -> Floats:
    """Blur by a Gaussian of σ pixels, truncated at 4σ, with edge pixels repeated: (N, H, W, C) float32."""
    return separable.blur(images, constants.sigma_px)


def zoom_blur(images: Bytes, constants: Zooms, draws: Draws) -> Floats:
    """Return the mean of the image and its enlargements about the centre: (N, H, W, C) float32."""
    factors = np.arange(constants.start, constants.stop, constants.step)
    planes = separable.to_planes(images)
    total = planes.clone()
    for factor in factors:
        rows, columns = (separable.zoom_matrix(side, float(factor)) for side in planes.shape[2:])
        total += rows @ (planes @ columns.T)
    return separable.from_planes(total.div_(len(factors) + 1))


def defocus_blur(images: Bytes, constants: Defocus, draws: Draws) -> Floats:
    """Blur by a smoothed disk, with the image reflected at its outermost pixels: (N, H, W, C) float32."""
    kernel = disk(constants.radius_px, constants.edge_sigma_px)
    sources = images if len(kernel) < WIDE else images.astype(np.float32)
    blurred = np.empty(images.shape, dtype=np.float32)
    for image, out in zip(sources, blurred, strict=True):
        out[:] = cv2.filter2D(image, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101).reshape(out.shape)
    return blurred


@lru_cache(maxsize=64)
def disk(radius: float, alias_sigma: float) -> Floats:
    """Return the pixels whose centres lie within ``radius``, normalised to sum 1 and blurred: (side, side) float32.

    The blur has 3×3 taps, 5×5 for a radius above 8. The odd side is the smallest that contains all positive values, but
    at least ``TRANSFORMED`` for wide kernels.
    """
    taps, reach = (3, 8) if radius <= 8 else (5, int(np.ceil(radius)))
    line = np.arange(-reach, reach + 1)
    inside = (line[:, None] ** 2 + line[None, :] ** 2 <= radius**2).astype(np.float32)
    soft: Floats = cv2.GaussianBlur(inside / inside.sum(), (taps, taps), sigmaX=alias_sigma)
    rows = np.flatnonzero(soft.any(1))
    margin = min(rows[0], len(soft) - 1 - rows[-1])
    if len(soft) - 2 * margin >= WIDE:
        margin = min(margin, (len(soft) - TRANSFORMED) // 2)
    return np.ascontiguousarray(soft[margin : len(soft) - margin, margin : len(soft) - margin])
