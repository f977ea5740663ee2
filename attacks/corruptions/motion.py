"""Motion blur as ImageMagick computes it: half a Gaussian along a line, at whole pixels.

Source: Hendrycks and Dietterich 2019, arXiv 1903.12261.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.attacks.corruptions.draws import Draws, Floats
from bench.attacks.corruptions.severities import Motion
from bench.attacks.corruptions.units import Bytes


class Tap(NamedTuple):
    """Weight and offset of one element of the filter."""

    weight: float
    down: int  # pixels
    right: int


def motion_blur(images: Bytes, constants: Motion, draws: Draws) -> Floats:
    """Blur every image along a line at a random angle in −45°…45°: (N, H, W, C) float32."""
    angles = draws.uniform() * 90 - 45
    return np.rint(along_lines(images, constants.radius_px, constants.sigma_px, angles))


def along_lines(images: Bytes | Floats, radius: float, sigma: float, angles: Sequence[float] | Floats) -> Floats:
    """Blur each of ``images``, (N, H, W, C), at its angle in degrees, with edge pixels repeated: float32."""
    reach = _taps(radius) - 1
    padded = np.pad(images.astype(np.float32), ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    blurred = np.zeros(images.shape, dtype=np.float32)
    for image, out, angle in zip(padded, blurred, angles, strict=True):
        _add_up(image, out, reach, line(radius, sigma, float(angle)))
    return blurred


def _add_up(padded: Floats, out: Floats, reach: int, taps: Sequence[Tap]) -> None:
    height, width, channels = out.shape
    flat, total = padded.reshape(len(padded), -1), out.reshape(height, -1)
    for weight, down, right in taps:
        top, left = reach + down, (reach + right) * channels
        cv2.scaleAdd(flat[top : top + height, left : left + width * channels], weight, total, dst=total)


def line(radius: float, sigma: float, angle: float) -> list[Tap]:
    """Return the taps k_i ∝ exp(−i²/2σ²), i = 0…2⌈radius⌉, at i·(sin, cos) of ``angle``, with halves rounded down."""
    steps: NDArray[np.int64] = np.arange(_taps(radius))
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    return [
        Tap(float(weight), math.ceil(i * sine - 0.5), math.ceil(i * cosine - 0.5))
        for i, weight in enumerate(weights / weights.sum())
    ]


def _taps(radius: float) -> int:
    return 2 * math.ceil(radius) + 1
