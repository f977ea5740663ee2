"""Noise: Gaussian, shot, impulse and speckle, each drawn for every channel of every pixel."""

from __future__ import annotations

import numpy as np

from bench.attacks.corruptions.draws import Draws, Floats
from bench.attacks.corruptions.poisson import poisson
from bench.attacks.corruptions.severities import Impulses, Noise, Photons
from bench.attacks.corruptions.units import WHITE, Bytes


def gaussian_noise(images: Bytes, constants: Noise, draws: Draws) -> Floats:
    """x + σ·n, n standard normal."""
    noisy = draws.normal(*images.shape[1:])
    noisy *= np.float32(WHITE * constants.sigma)
    noisy += images
    return noisy


def speckle_noise(images: Bytes, constants: Noise, draws: Draws) -> Floats:
    """x + x·σ·n, n standard normal."""
    noisy = draws.normal(*images.shape[1:])
    noisy *= np.float32(constants.sigma)
    noisy += 1
    noisy *= images
    return noisy


def shot_noise(images: Bytes, constants: Photons, draws: Draws) -> Floats:
    """Poisson(x·photons) / photons."""
    counts = poisson(images, constants.photons, draws.bits(*images.shape[1:]))
    return counts.astype(np.float32) * np.float32(WHITE / constants.photons)


def impulse_noise(images: Bytes, constants: Impulses, draws: Draws) -> Bytes:
    """A fraction of all values becomes black or white, half of them each."""
    chance = draws.uniform(*images.shape[1:])
    noisy = images.copy()
    noisy[chance < constants.fraction] = 0
    noisy[chance < constants.fraction / 2] = WHITE
    return noisy
