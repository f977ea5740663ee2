"""Print the constants of attacks/corruptions/frost_texture.py, measured on the published photographs.

    python results/studies/frost/fit.py

The photographs come from the installed extra; what is kept of them are means, standard deviations and spectra.
"""

from __future__ import annotations

import numpy as np

from attacks.corruptions import frost, photographs
from attacks.corruptions.severities import PROFILE_SIZES, parameters

CROPS = 2000
DISTINCT = (0, 1, 3, 4)  # the third photograph has the pixels of the second


def crops(pane: np.ndarray, side: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    height, width = pane.shape[:2]
    count = CROPS if side < 100 else CROPS // 8
    corners = zip(rng.integers(0, height - side, count), rng.integers(0, width - side, count), strict=True)
    return np.stack([pane[top : top + side, left : left + side] for top, left in corners]).astype(np.float64)


def axes(inside: np.ndarray) -> np.ndarray:
    """The two main axes of colour within crops, (2, 3), the first one positive."""
    pixels = inside.reshape(-1, 3)
    _, vectors = np.linalg.eigh(pixels.T @ pixels)
    found = vectors[:, :0:-1].T
    return found * np.sign(found.sum(1, keepdims=True))


def spectrum(field: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients of ln amplitude over ln f, f in cycles per crop, and ln of the power of rows over columns."""
    side = field.shape[1]
    power = (np.abs(np.fft.fft2(field)) ** 2).mean(0) / side**2
    down, right = np.fft.fftfreq(side)[:, None] * side, np.fft.fftfreq(side)[None, :] * side
    frequency, angle = np.hypot(down, right), np.arctan2(down, right)
    octaves = np.round(2 * np.log2(np.where(frequency > 0, frequency, 0.1)))
    bins = [octaves == value for value in np.unique(octaves[frequency > 0])]
    along = [np.log(frequency[chosen]).mean() for chosen in bins]
    height = [np.log(power[chosen].mean()) / 2 for chosen in bins]
    middle = (frequency >= 1) & (frequency <= side / 4)
    level = np.log(power[middle]) - np.polyval(np.polyfit(along, height, 2), np.log(frequency[middle])) * 2
    tilt = np.polyfit(-np.cos(2 * angle[middle]), level, 1)[0]
    return np.polyfit(along, height, 2)[::-1], tilt


def main() -> None:
    for i in DISTINCT:
        print(f"photograph {i + 1}")
        for profile, side in PROFILE_SIZES.items():
            grain = parameters("frost", 1, profile, side).grain_px
            found = crops(frost.panes(side, side, grain, 3)[i].astype(np.float64), side)
            means = found.mean((1, 2))
            inside = found - means[:, None, None]
            main_axes = axes(inside)
            first, second = (inside @ axis for axis in main_axes)
            scaled = first / first.std((1, 2), keepdims=True)
            curve, tilt = spectrum(first)
            print(
                f"  {side}: mean {means.mean(0).round(1)}, axes {main_axes.round(2).tolist()}, "
                f"standard deviation of means {(means @ main_axes[0]).std():.1f}, within {first.std():.1f}, "
                f"second/first {second.std() / first.std():.2f}, of ln contrast {np.log(first.std((1, 2))).std():.2f}, "
                f"skewness {(scaled**3).mean():.2f}, "
                f"kurtosis {(scaled**4).mean():.2f}, ln amplitude {curve.round(3)}, tilt {tilt:.2f}"
            )


if __name__ == "__main__":
    assert photographs.installed() is not None, "install the extra: pip install 'collapse-bench[frost]'"
    main()
