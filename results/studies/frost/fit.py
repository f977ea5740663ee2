"""Print the constants of attacks/corruptions/frost_texture.py, measured on the published photographs.

    python results/studies/frost/fit.py

The photographs come from the extra ``frost``. Only their means, standard deviations and spectra are stored.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from bench.attacks.corruptions import builtin as builtin  # fills the registry
from bench.attacks.corruptions import frost, photographs
from bench.attacks.corruptions.registry import parameters
from bench.attacks.corruptions.severities import PROFILE_SIZES

CROPS = 2000
DISTINCT = (0, 1, 3, 4)  # the third photograph has the same pixels as the second


def crops(pane: np.ndarray, side: int) -> np.ndarray:
    """Return random crops of ``pane``, (N, side, side, 3) float64."""
    rng = np.random.default_rng(0)
    height, width = pane.shape[:2]
    count = CROPS if side < 100 else CROPS // 8
    corners = zip(rng.integers(0, height - side, count), rng.integers(0, width - side, count), strict=True)
    return np.stack([pane[top : top + side, left : left + side] for top, left in corners]).astype(np.float64)


def axes(inside: np.ndarray) -> np.ndarray:
    """Return the two main axes of colour within crops, (2, 3), with positive sums of their components."""
    pixels = inside.reshape(-1, 3)
    _, vectors = np.linalg.eigh(pixels.T @ pixels)
    main_axes = vectors[:, :0:-1].T
    positive: np.ndarray = main_axes * np.sign(main_axes.sum(1, keepdims=True))
    return positive


def spectrum(field: np.ndarray, side: int) -> list[float]:
    """Return the amplitudes at 1, 2, 4, … cycles per ``side`` pixels, up to the largest frequency.

    Hann's window is applied. Without the window, trends within a crop, which are not periodic, would appear as fine
    structure.
    """
    extent = field.shape[1]
    window = np.hanning(extent + 2)[1:-1, None] * np.hanning(extent + 2)[None, 1:-1]
    centred = field - (field * window).sum((1, 2), keepdims=True) / window.sum()
    power = (np.abs(np.fft.fft2(centred * window)) ** 2).mean(0) / (window**2).sum()
    frequency = np.hypot(np.fft.fftfreq(extent)[:, None], np.fft.fftfreq(extent)[None, :])
    octaves = np.round(2 * np.log2(np.where(frequency > 0, frequency, 1)))
    bins = [octaves == value for value in np.unique(octaves[frequency > 1.9 / extent]) if value < 0]
    measured = [np.log(side * frequency[chosen]).mean() for chosen in bins]
    octave_frequencies = np.log([2.0**octave for octave in range(int(np.ceil(np.log2(side))))])
    logarithms = [np.log(power[chosen].mean()) / 2 for chosen in bins]
    amplitudes: list[float] = np.exp(np.interp(octave_frequencies, measured, logarithms)).tolist()
    return amplitudes


def patchiness(field: np.ndarray) -> float:
    """Return the standard deviation of ln contrast between locations, from the kurtosis of the fine structure.

    The logarithm of the contrast is assumed to be normal.
    """
    fine = (field - ndimage.gaussian_filter(field, (0, 0.7, 0.7)))[:, 6:-6, 6:-6]
    kurtosis = (fine**4).mean() / (fine**2).mean() ** 2
    return float(np.sqrt(np.log(max(kurtosis, 3) / 3) / 4))


def main() -> None:
    """Print the constants of every distinct photograph at every side."""
    for i in DISTINCT:
        print(f"photograph {i + 1}")
        for profile, side in PROFILE_SIZES.items():
            pane = frost.panes(side, side, parameters("frost", 1, profile, side).photo_pixel_px, 3)[i].astype(
                np.float64
            )
            samples = crops(pane, side)
            means = samples.mean((1, 2))
            inside = samples - means[:, None, None]
            both = axes(inside)
            first, second = (inside @ axis for axis in both)
            wide = crops(pane, min(2 * side, *(extent - 1 for extent in pane.shape[:2]))) @ both[0]
            amplitudes = [spectrum(wide, side)[0], *spectrum(first, side)[1:]]  # a crop does not resolve one cycle
            scaled = first / first.std((1, 2), keepdims=True)
            print(
                f"  {side}: mean {means.mean(0).round(1)}, axes {both.round(2).tolist()}, "
                f"second/first {second.std() / first.std():.2f}, skewness {(scaled**3).mean():.2f}, "
                f"patchiness {patchiness(first):.2f}, standard deviation of means {(means @ both[0]).std():.1f}, "
                f"within {first.std():.1f}, "
                f"amplitudes {[float(f'{value:.3g}') for value in amplitudes]}"
            )


if __name__ == "__main__":
    assert photographs.find_installed() is not None, "install the extra: pip install 'collapse-bench[frost]'"
    main()
