"""Noise: Gaussian, shot, impulse and speckle, drawn independently for every channel of every pixel.

Source: Hendrycks and Dietterich 2019, arXiv 1903.12261. Images x are (N, H, W, C) uint8.
"""

from __future__ import annotations

import numpy as np

from bench.attacks.corruptions.draws import Draws, Floats
from bench.attacks.corruptions.poisson import poisson
from bench.attacks.corruptions.severities import Impulses, Noise, Photons
from bench.attacks.corruptions.units import WHITE, Bytes


def gaussian_noise(images: Bytes, constants: Noise, draws: Draws) -> Floats:
    """Return x + σ·n, n standard normal: (N, H, W, C) float32."""
    noisy = draws.normal(*images.shape[1:])
    noisy *= np.float32(WHITE * constants.sigma)
    noisy += images
    return noisy


def speckle_noise(images: Bytes, constants: Noise, draws: Draws) -> Floats:
    """Return x + x·σ·n, n standard normal: (N, H, W, C) float32."""
    noisy = draws.normal(*images.shape[1:])
    noisy *= np.float32(constants.sigma)
    noisy += 1
    noisy *= images
    return noisy


def shot_noise(images: Bytes, constants: Photons, draws: Draws) -> Floats:
    """Return Poisson(x·photons) / photons: (N, H, W, C) float32."""
    counts = poisson(images, constants.photons, draws.bits(*images.shape[1:]))
    return counts.astype(np.float32) * np.float32(WHITE / constants.photons)


def impulse_noise(images: Bytes, constants: Impulses, draws: Draws) -> Bytes:
    """Set a fraction of all values to black or white, in equal parts: (N, H, W, C) uint8."""
    chance = draws.uniform(*images.shape[1:])
    noisy = images.copy()
    noisy[chance < constants.fraction] = 0
    noisy[chance < constants.fraction / 2] = WHITE
    return noisy
