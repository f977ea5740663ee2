"""Fog: a fractal cloud over the image (Hendrycks and Dietterich 2019, arXiv 1903.12261)."""

from __future__ import annotations

import numpy as np

from bench.attacks.corruptions.draws import Draws, Floats
from bench.attacks.corruptions.severities import Fog
from bench.attacks.corruptions.units import WHITE, Bytes

FIRST_AMPLITUDE = 100.0


def fog(images: Bytes, constants: Fog, draws: Draws) -> Floats:
    """Return (x + s·cloud)·m / (m + s), s = 255·strength, m the largest value of the image: (N, H, W, C) float32."""
    count, height, width, _ = images.shape
    side = 1 << (max(height, width) - 1).bit_length()
    clouds = plasma(draws.uniform(side * side - 1), side, constants.wibble_decay)[:, :height, :width, None]
    brightest = images.reshape(count, -1).max(1).astype(np.float32)[:, None, None, None]
    added = np.float32(WHITE * constants.strength)
    foggy: Floats = (images + added * clouds) * (brightest / (brightest + added))
    return foggy


def plasma(uniforms: Floats, side: int, decay: float) -> Floats:
    """Return clouds by the diamond-square algorithm on a torus, from 0 to 1: (N, side, side) float32.

    ``side`` is a power of 2. The grid starts with one corner of height 0 and is refined (Fournier, Fussell and
    Carpenter 1982, doi 10.1145/358523.358553). First the centre of each four corners, then the midpoints of all edges
    get the mean of their four neighbours plus w²·u, with u uniform on [−1, 1). w is 100 at first and is divided by
    ``decay`` at every refinement. The published program also squares w. The random numbers are ``uniforms``,
    (N, side² − 1) uniform on [0, 1), used in order.
    """
    heights = np.zeros((len(uniforms), side, side), dtype=np.float32)
    spread = 2 * uniforms - 1
    n_used, step, amplitude = 0, side, FIRST_AMPLITUDE

    def scattered(four_neighbours: Floats) -> Floats:
        nonlocal n_used
        count = four_neighbours[0].size
        noise = spread[:, n_used : n_used + count].reshape(four_neighbours.shape)
        n_used += count
        height: Floats = four_neighbours / 4 + np.float32(amplitude**2) * noise
        return height

    while step >= 2:
        half = step // 2
        corners, centres = heights[:, ::step, ::step], heights[:, half::step, half::step]
        vertical = corners + np.roll(corners, -1, axis=1)
        centres[:] = scattered(vertical + np.roll(vertical, -1, axis=2))
        horizontal = corners + np.roll(corners, -1, axis=2)
        heights[:, ::step, half::step] = scattered(centres + np.roll(centres, 1, axis=1) + horizontal)
        vertical = corners + np.roll(corners, -1, axis=1)
        heights[:, half::step, ::step] = scattered(centres + np.roll(centres, 1, axis=2) + vertical)
        step, amplitude = half, amplitude / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    heights /= heights.max(axis=(1, 2), keepdims=True)
    return heights
