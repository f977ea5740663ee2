"""Betting martingales for the mean of bounded differences: a test and a confidence sequence valid at every n at once.

Source: Waudby-Smith and Ramdas (2024, JRSS-B 86:1), "Estimating means of bounded random variables by betting". The
images are either a sample without replacement from a finite population (section 5 there), or independent draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.statistics.accuracy_drop import MOST_ALPHA, Bounds

Floats = NDArray[np.float64]

RATES = (0.125, 0.25, 0.5, 1.0)  # bets λ of the mixture; small ones for many discordant images, large ones for few
MOST_LOSS = 0.9  # maximum share of the wealth that one image can take
RESOLUTION = 1e-5  # of a bound for independent images


def log_wealth(differences: Floats, mean: float, population: int | None = None) -> Floats:
    """Return the logarithm of the wealth after each image, (…, n), of bets that the mean is larger than ``mean``.

    ``differences`` (…, n) are X_i in [−1, 1], in the order in which the images are used. The wealth starts at 1. It is
    the mean over the rates λ of Π(1 + λ_i(X_i − m_i)), with λ_i = min(λN/(N − i + 1), c/(1 + m_i)) and c = 0.9.

    With a ``population`` of N images, the images are drawn from it without replacement, ``mean`` is the mean of all N,
    and m_i = (N·mean − Σ_{j<i} X_j)/(N − i + 1) is the mean of those left. The wealth is infinite as soon as the images
    left cannot give a mean as small as ``mean``. Without a population, the images are independent draws and m_i is
    ``mean``, with λ in place of λN/(N − i + 1).

    Under a mean of at most ``mean``, the wealth is a nonnegative supermartingale. By Ville's inequality, it ever
    reaches 1/α with a probability of at most α. The wealth does not increase with ``mean``.

    Raises ValueError for differences outside [−1, 1], and for more images than the population has.
    """
    if not np.all(np.abs(differences) <= 1):
        raise ValueError("a difference is not in [-1, 1]")
    n = differences.shape[-1]
    if population is not None and n > population:
        raise ValueError(f"{n} images are more than the population of {population}")
    sums = differences.cumsum(axis=-1)
    if population is None:
        left = growth = np.ones(n)
        remaining = np.full(differences.shape, mean)
    else:
        left = population - np.arange(n, dtype=np.float64)  # images left before each draw, N − i + 1
        growth = population / left  # the mean of the images left moves away from the hypothesis at this rate
        remaining = (population * mean - (sums - differences)) / left
    surprise = differences - remaining
    cap = MOST_LOSS / np.maximum(1 + remaining, 1e-12)  # at a mean of −1, no image can be below it
    total = np.full(differences.shape, -np.inf)
    for rate in RATES:
        bets = np.minimum(rate * growth, cap)
        np.logaddexp(total, np.log1p(bets * surprise).cumsum(axis=-1), out=total)
    total -= math.log(len(RATES))
    if population is not None:
        least = sums - (left - 1)  # smallest possible sum of all N: each image left is −1
        total[population * mean < least - 1e-9] = np.inf
    return total


def exceeds(differences: Floats, mean: float, alpha: float, population: int | None = None) -> NDArray[np.bool_]:
    """Return after which images the mean is known to be larger than ``mean``, (…, n), at level ``alpha``.

    A decision stays: an entry is True if the wealth of :func:`log_wealth` has reached 1/α at this image or before. If
    the mean is at most ``mean``, any entry of a sequence is True with a probability of at most ``alpha``.
    """
    _check(alpha)
    reached = log_wealth(differences, mean, population) >= -math.log(alpha)
    return np.asarray(np.logical_or.accumulate(reached, axis=-1))


def anytime_bounds(differences: Floats, alpha: float, population: int | None = None, parts: int = 1) -> Bounds:
    """Return the bounds of the mean after all ``differences`` (n,), for a gate that looked after every image.

    Each bound holds at all n at once with probability 1 − α. With a ``population`` of N images, it is a bound of the
    mean of all N, which is a multiple of 1/(N·``parts``), as the differences are multiples of 1/``parts``.

    Raises ValueError as :func:`log_wealth` does, and for an α outside (0, 0.5).
    """
    unit = RESOLUTION if population is None else 1 / (population * parts)
    last = round(1 / unit)

    def excluded(values: Floats) -> Callable[[int], bool]:
        return lambda count: bool(exceeds(values, min(count * unit, 1.0), alpha, population)[-1])

    low, high = (_last_true(excluded(values), -last - 1, last) for values in (differences, -differences))
    step = 0 if population is None else 1  # the next possible value is not excluded
    return Bounds(max((low + step) * unit, -1.0), min(-(high + step) * unit, 1.0))


def _last_true(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the largest integer in [low, high) for which a monotone ``holds`` is True. ``low`` counts as True."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _check(alpha: float) -> None:
    if not 0 < alpha < MOST_ALPHA:
        raise ValueError(f"{alpha} is not a level of a one-sided test; it must be between 0 and {MOST_ALPHA}")
