"""Frost: photographs of frosted panes over the image or, if they are not installed, a texture with their statistics.

Source: Hendrycks and Dietterich 2019, arXiv 1903.12261.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.attacks.corruptions import photographs
from bench.attacks.corruptions.draws import Draws, Floats
from bench.attacks.corruptions.frost_texture import texture
from bench.attacks.corruptions.severities import Frost
from bench.attacks.corruptions.units import Bytes, tint


def frost(images: Bytes, constants: Frost, draws: Draws) -> NDArray[np.float64]:
    """Return w·x + v·frost, w and v the weights of the severity, frost a random crop of one of the photographs.

    The result is (N, H, W, C) float64, as for the published data sets. A tenth of the sums are integers, and
    the last bit decides how they are truncated. Raises BenchError if no installed package contains the photographs.
    """
    crops = cropped(images.shape[1:], constants.photo_pixel_px, draws)
    return constants.image_weight * images.astype(np.float64) + constants.frost_weight * crops.astype(np.float64)


def textured(images: Bytes, constants: Frost, draws: Draws) -> Floats:
    """Return w·x + v·texture, with the synthetic texture instead of the photographs: (N, H, W, C) float32."""
    panes = texture(images.shape[1:], draws)
    frosted: Floats = np.float32(constants.image_weight) * images + np.float32(constants.frost_weight) * panes
    return frosted


def cropped(shape: tuple[int, ...], photo_pixel: float, draws: Draws) -> Bytes | Floats:
    """Return one random crop of a random photograph per image, (N, H, W, C).

    ``shape`` is (H, W, C). ``photo_pixel`` is the side of one pixel of the photographs, in pixels of the image.
    """
    height, width, channels = shape
    choices = panes(height, width, photo_pixel, channels)
    crops = np.empty((len(draws), *shape), dtype=choices[0].dtype)
    for crop, (which, down, right) in zip(crops, draws.uniform(3).astype(np.float64), strict=True):
        pane = choices[int(which * len(choices))]
        top, left = int(down * max(1, pane.shape[0] - height)), int(right * max(1, pane.shape[1] - width))
        crop[:] = pane[top : top + height, left : left + width]
    return crops


@lru_cache(maxsize=16)
def panes(height: int, width: int, photo_pixel: float, channels: int) -> tuple[Bytes | Floats, ...]:
    """Return the photographs, scaled by ``photo_pixel``, or by more if they would not cover height × width."""
    scaled = []
    for photograph in decoded():
        rows, columns = photograph.shape[:2]
        scale = max(photo_pixel, height / rows, width / columns)
        pane = photograph if scale == 1 else _scaled(photograph, scale, height, width)
        scaled.append(pane if channels == 3 else tint(pane.astype(np.float32), channels))
    return tuple(scaled)


def _scaled(photograph: Bytes, scale: float, height: int, width: int) -> Bytes:
    """Scale linearly and without smoothing, as for the published data sets, to at least height × width."""
    rows, columns = (round(extent * scale) for extent in photograph.shape[:2])
    size = (max(columns, width), max(rows, height)) if rows < height or columns < width else None
    return np.asarray(cv2.resize(photograph, size, fx=scale, fy=scale), dtype=np.uint8)


@lru_cache(maxsize=1)
def decoded() -> tuple[Bytes, ...]:
    """Return the photographs, (H, W, 3) RGB."""
    files = (np.frombuffer(file, np.uint8) for file in photographs.load().files)
    return tuple(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB), dtype=np.uint8) for file in files)
