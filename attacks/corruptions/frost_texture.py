"""A synthetic texture with the statistics of the photographs of frost, for where they are not installed.

``results/studies/frost`` measures the constants on the photographs, and compares the accuracies under both.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from attacks.corruptions.draws import Draws, Floats
from attacks.corruptions.units import WHITE, tint

#: Sides of a crop in pixels at which the statistics were measured. Between them they are interpolated in ln side.
SIDES: Final = (32, 64, 224)


class Pane(NamedTuple):
    """Statistics of the crops of one photograph. Colours are red, green and blue from 0 to 255."""

    mean: tuple[float, float, float]
    axis: tuple[float, float, float]  # unit vector along which colours vary most
    second: tuple[float, float, float]  # that of the next, times its standard deviation relative to the first
    skewness: float  # of the values along the axis
    kurtosis: float  # of the same, above the normal distribution's
    mean_std: tuple[float, ...]  # standard deviation of the mean of a crop along the axis, for each of SIDES
    spectrum: tuple[tuple[float, float, float], ...]  # (a, b, c): ln amplitude a + b·ln f + c·ln² f, f cycles a crop


_FIRST = Pane(
    (77, 148, 164), (0.80, 0.48, 0.36), (-0.24, 0.17, 0.31), 0.46, 0.05,
    (19.8, 17.8, 17.4), ((5.287, -1.664, 0.282), (6.195, -1.847, 0.235), (7.253, -1.337, 0.052)),
)  # fmt: skip
_SECOND = Pane(
    (198, 202, 212), (0.56, 0.58, 0.60), (0.04, 0.0, -0.04), -0.95, 1.4,
    (15.4, 11.1, 10.7), ((4.995, -1.141, 0.176), (5.861, -1.195, 0.099), (6.811, -0.511, -0.112)),
)  # fmt: skip
_FOURTH = Pane(
    (144, 159, 171), (0.57, 0.57, 0.60), (0.03, 0.02, -0.05), -0.2, 1.2,
    (18.2, 12.7, 11.4), ((5.057, -1.048, 0.198), (5.762, -1.159, 0.138), (6.696, -0.540, -0.065)),
)  # fmt: skip
_FIFTH = Pane(
    (101, 113, 125), (0.59, 0.58, 0.57), (-0.01, 0.0, 0.02), 0.35, 0.05,
    (26.6, 20.7, 20.8), ((5.491, -0.806, 0.072), (6.145, -0.821, 0.018), (7.380, -0.745, -0.028)),
)  # fmt: skip

#: Those that the published sets choose from; two of the photographs have the same pixels.
PANES: Final = (_FIRST, _SECOND, _SECOND, _FOURTH, _FIFTH)


def texture(shape: tuple[int, ...], draws: Draws) -> Floats:
    """The colours of one pane for each image, and random fields of its spectrum along its two axes: (N, H, W, C)."""
    height, width, channels = shape
    which = (draws.uniform().astype(np.float64) * len(PANES)).astype(np.int64)
    spectra = fft.rfft2(draws.normal(2, height, width)) * _amplitudes(height, width)[which, None]
    fields = fft.irfft2(spectra, s=(height, width))[..., None]
    mean, axis, second = (tint(_of_panes(name)[which, None, None], channels) for name in ("mean", "axis", "second"))
    panes: Floats = np.clip(mean + axis * _shaped(fields[:, 0], which) + second * fields[:, 1], 0, WHITE)
    return panes


def _shaped(fields: Floats, which: NDArray[np.int64]) -> Floats:
    """Gaussian fields with the panes' skewness and kurtosis (the expansion of Cornish and Fisher 1938)."""
    _, height, width, _ = fields.shape
    spread, skewness, kurtosis = (
        values[which, None, None, None]
        for values in (_spread(height, width), _of_panes("skewness"), _of_panes("kurtosis"))
    )
    z = fields / spread
    shaped = spread * (z + skewness / 6 * (z**2 - 1) + kurtosis / 24 * (z**3 - 3 * z))
    return shaped.astype(np.float32, copy=False)


def _of_panes(name: str) -> Floats:
    return np.array([getattr(pane, name) for pane in PANES], dtype=np.float32)


@lru_cache(maxsize=16)
def _amplitudes(height: int, width: int) -> Floats:
    """What gives white noise of that size each pane's spectrum: (panes, H, W//2 + 1)."""
    side, at = min(height, width), np.log(SIDES)
    frequency = side * np.hypot(fft.fftfreq(height)[:, None], fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1  # the mean, which is set below
    logarithm, found = np.log(frequency), []
    for pane in PANES:
        a, b, c = (np.interp(np.log(side), at, values) for values in zip(*pane.spectrum, strict=True))
        amplitude = np.exp(a + b * logarithm + c * logarithm**2)
        amplitude[0, 0] = np.interp(np.log(side), at, pane.mean_std) * np.sqrt(height * width)
        found.append(amplitude)
    return np.stack(found).astype(np.float32)


@lru_cache(maxsize=16)
def _spread(height: int, width: int) -> Floats:
    """Standard deviation of the fields with those amplitudes, by Parseval's theorem: (panes,)."""
    power = _amplitudes(height, width).astype(np.float64) ** 2
    twice = np.full(width // 2 + 1, 2.0)  # every column but the first, and the middle one, stands for two
    twice[0] = 1
    twice[width // 2] = 1 if width % 2 == 0 else 2
    found: Floats = np.sqrt((power * twice).sum((1, 2)) / (height * width)).astype(np.float32)
    return found
