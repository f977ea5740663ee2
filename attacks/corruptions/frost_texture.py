"""A synthetic texture with the statistics of the photographs of frost, used if they are not installed.

``results/studies/frost`` measures the constants on the photographs, and compares the accuracies under photographs and
texture.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from bench.attacks.corruptions.draws import Draws, Floats
from bench.attacks.corruptions.units import WHITE, tint

#: Sides of the crops in pixels for which the statistics were measured. Other sides are interpolated in ln(side).
SIDES: Final = (32, 64, 224)

#: Largest frequency of the local contrast, in cycles per crop.
PATCH_CYCLES: Final = 2


#: Contrast relative to the photographs. At 1, networks lose slightly more accuracy under random fields than under the
#: photographs, which have an ordered structure. Chosen on images that are not part of the comparison.
CONTRAST: Final = 0.98


class Pane(NamedTuple):
    """Statistics of the crops of one photograph.

    Colours are red, green and blue from 0 to 255. White noise of variance 1 has amplitude 1 at every frequency.
    """

    mean: tuple[float, float, float]
    axis: tuple[float, float, float]  # unit vector along which colours vary most
    second: tuple[float, float, float]  # unit vector of the second axis, times its relative standard deviation
    skewness: float  # of the values along the axis
    patchiness: float  # standard deviation of the logarithm of the local contrast
    mean_std: tuple[float, ...]  # for each of SIDES: standard deviation of the mean of a crop along the axis
    std: tuple[float, ...]  # for each of SIDES: standard deviation within a crop along the axis
    spectra: tuple[tuple[float, ...], ...]  # for each of SIDES: amplitudes at 1, 2, 4, … cycles per crop


_FIRST = Pane(
    (77, 148, 164), (0.80, 0.48, 0.36), (-0.24, 0.17, 0.31), 0.46, 0.30, (19.8, 17.8, 17.4), (25.8, 26.1, 28.8),
    (
        (178, 65.4, 28.9, 18.7, 17.3),
        (477, 140, 57.5, 23.4, 15.2, 13.8),
        (2080, 599, 210, 77.8, 39.3, 29.3, 20.8, 5.57),
    ),
)  # fmt: skip
_SECOND = Pane(
    (198, 202, 212), (0.56, 0.58, 0.60), (0.04, 0.0, -0.04), -0.95, 0.38, (15.4, 11.1, 10.7), (31.6, 32.0, 35.0),
    (
        (117, 58.8, 40.7, 29.7, 23.2),
        (175, 107, 66.6, 43.8, 29, 18.7),
        (691, 414, 239, 147, 95.7, 47, 24.7, 4.67),
    ),
)  # fmt: skip
_FOURTH = Pane(
    (144, 159, 171), (0.57, 0.57, 0.60), (0.03, 0.02, -0.05), -0.2, 0.33, (18.2, 12.7, 11.4), (45.4, 41.2, 45.7),
    (
        (118, 62.8, 50.9, 45.4, 39.6),
        (210, 93.5, 78, 56.2, 38.9, 31.7),
        (703, 362, 258, 177, 117, 77.3, 43.4, 10.2),
    ),
)  # fmt: skip
_FIFTH = Pane(
    (101, 113, 125), (0.59, 0.58, 0.57), (-0.01, 0.0, 0.02), 0.35, 0.28, (26.6, 20.7, 20.8), (60.0, 56.2, 61.8),
    (
        (178, 131, 92.4, 56.9, 44.9),
        (319, 215, 162, 90.9, 50, 33.4),
        (1360, 775, 557, 315, 155, 81.3, 42, 23.7),
    ),
)  # fmt: skip

#: The panes of the five photographs. Two of the photographs have the same pixels.
PANES: Final = (_FIRST, _SECOND, _SECOND, _FOURTH, _FIFTH)


class Spectra(NamedTuple):
    """Spectra that filter white noise into the panes' textures, on a canvas of twice the sides of the crop."""

    amplitudes: Floats  # (panes, 2H, W + 1)
    patches: Floats  # (2H, W + 1), amplitudes of the local contrast, a field of unit variance
    spread: Floats  # (panes,) standard deviation of the field with these ``amplitudes``
    level: Floats  # (panes,) standard deviation of a random constant added to the field, so that crop means vary enough


def texture(shape: tuple[int, ...], draws: Draws) -> Floats:
    """Return a random pane per image: its mean colour, plus random fields with its spectrum along its two colour axes.

    ``shape`` is (H, W, C). The result is (N, H, W, C) float32, from 0 to 255.
    """
    height, width, channels = shape
    pane_index = (draws.uniform().astype(np.float64) * len(PANES)).astype(np.int64)
    first, second, patches = _fields(height, width, pane_index, draws)
    spectra = _spectra(height, width)
    spread, skewness, patchiness, level = (
        values[pane_index, None, None] for values in (spectra.spread, _of("skewness"), _of("patchiness"), spectra.level)
    )
    z = first / spread
    contrast = spread * np.exp(patchiness * patches - patchiness**2)  # its mean square is spread²
    first = CONTRAST * contrast * (z + skewness / 6 * (z**2 - 1)) + level * draws.normal()[:, None, None]
    mean, axis, second_axis = (tint(_of(name)[pane_index, None, None], channels) for name in ("mean", "axis", "second"))
    panes: Floats = np.clip(mean + axis * first[..., None] + second_axis * second[..., None], 0, WHITE)
    return panes.astype(np.float32, copy=False)


def _fields(height: int, width: int, pane_index: NDArray[np.int64], draws: Draws) -> tuple[Floats, Floats, Floats]:
    """Return crops of three Gaussian fields, (N, H, W) each: two with the panes' spectra, and the local contrast.

    The fields are periodic on a canvas. It is larger than the crop, so that opposite edges of the crop are not
    correlated.
    """
    spectra, canvas = _spectra(height, width), (2 * height, 2 * width)
    noise = fft.rfft2(draws.normal(3, *canvas))
    noise[:, :2] *= spectra.amplitudes[pane_index, None]
    noise[:, 2] *= spectra.patches
    fields = fft.irfft2(noise, s=canvas)[:, :, :height, :width]
    return fields[:, 0], fields[:, 1], fields[:, 2]


def _of(name: str) -> Floats:
    return np.array([getattr(pane, name) for pane in PANES], dtype=np.float32)


@lru_cache(maxsize=16)
def _spectra(height: int, width: int) -> Spectra:
    side, nodes = min(height, width), np.log(SIDES)
    frequency = side * np.hypot(fft.fftfreq(2 * height)[:, None], fft.fftfreq(2 * width)[None, :])
    octaves = np.log2(np.where(frequency > 0, frequency, 1))
    crop = np.zeros(frequency.shape)
    crop[:height, :width] = 1 / (height * width)
    share = np.abs(fft.fft2(crop)) ** 2  # of each frequency, the share of its power that is in the mean of the crop
    # Slow trends get the variance that the measured spectrum does not contain.
    slow = (frequency > 0) & (frequency < 1)
    amplitudes, level = [], []
    for pane in PANES:
        measured = np.stack([_between(octaves, np.log(values)) for values in pane.spectra])
        power = np.where(frequency > 0, np.exp(2 * _at(np.log(side), nodes, measured)), 0)
        mean_variance, variance = (np.interp(np.log(side), nodes, values) ** 2 for values in (pane.mean_std, pane.std))
        within = power * (1 - share)
        power[slow] *= max(0.0, (variance - within[~slow].sum() / power.size) * power.size / within[slow].sum())
        amplitudes.append(np.sqrt(power))
        level.append(np.sqrt(max(0.0, mean_variance - (share * power).mean())))
    patches = ((frequency > 0) & (frequency <= PATCH_CYCLES)).astype(np.float64)
    patches /= np.sqrt((patches**2).mean())
    half, whole = np.s_[..., : width + 1], np.stack(amplitudes)
    fields = (whole[half], patches[half], np.sqrt((whole**2).mean((1, 2))), np.array(level))
    return Spectra(*(values.astype(np.float32) for values in fields))


def _between(octaves: NDArray[np.float64], logarithms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate values measured at octaves 0, 1, 2, … linearly, and extrapolate by one octave below."""
    below = 2 * logarithms[0] - logarithms[1]
    values: NDArray[np.float64] = np.interp(octaves, np.arange(-1, len(logarithms)), [below, *logarithms])
    return values


def _at(x: float, nodes: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate ``values``, (nodes, …), linearly at ``x``, and extend them by constants beyond the outer nodes."""
    weights = [np.interp(x, nodes, row) for row in np.eye(len(nodes))]
    interpolated: NDArray[np.float64] = np.tensordot(weights, values, axes=1)
    return interpolated
