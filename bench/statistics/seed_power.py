"""Minimum detectable difference between two variants by the sign-flip test over seeds."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.statistics.multiple_testing import ALPHA
from bench.statistics.power import POWER
from bench.statistics.seeds import MOST_EXACT

MOST_DRAWN = 20_000  # maximum number of simulated tables
SUMS = 2**25  # maximum number of computed sums; takes about half a second
AT_ONCE = 2**22  # number of sums computed per batch


def detectable_by_sign_flips(seeds: int, std: float, images: int, alpha: float = ALPHA) -> float | None:
    """Return the mean difference that :func:`bench.statistics.seeds.sign_flip_p` detects with 80 % power, a fraction.

    The differences over ``seeds`` are assumed to be normal with the standard deviation ``std``, a fraction. The power
    is simulated with a fixed random seed. The result is at least the difference that is detectable if images improve
    independently at random (see :func:`_floor`). Therefore it is not 0 if all seeds have the same difference by chance.
    None if the result exceeds 1, or if the number of seeds is too small for any p ≤ ``alpha``. Raises ValueError unless
    seeds ≥ 2, 0 ≤ std < ∞, images ≥ 1 and 0 < alpha < 1.
    """
    if seeds < 2 or images < 1:
        raise ValueError(
            f"{seeds} seeds of {images} images have no standard deviation; at least 2 seeds and 1 image are needed"
        )
    if not 0 <= std < math.inf:
        raise ValueError(f"{std} is not a standard deviation; it must be finite and at least 0")
    if not 0 < alpha < 1:
        raise ValueError(f"{alpha} is not a level of a test; it must be between 0 and 1")
    orders = _orders(seeds, alpha)
    if not orders:
        return None
    difference = max(std * _effect(seeds, orders), _floor(seeds, images, orders))
    return difference if difference <= 1 else None


def _orders(seeds: int, alpha: float) -> int:
    """Return the maximum number of the 2^S sign choices that may reach the observed mean at p ≤ ``alpha``.

    The observed signs are included. p is twice the share of these sign choices.
    """
    return int(alpha * 2 ** min(seeds, MOST_EXACT) / 2)


def _floor(seeds: int, images: int, orders: int) -> float:
    """Return the share δ of independently improved images at which the test has 80 % power, the result for std = 0.

    A seed without an improved image has the difference 0, which does not depend on the sign. At most k = log₂(orders)
    of the S seeds may have the difference 0. A seed has at least one improved image with probability q = 1 − (1 − δ)ⁿ,
    and δ solves P(Bin(S, q) ≥ S − k) = 0.8.
    """
    from scipy import stats  # slow to import

    max_zero_seeds = min(int(math.log2(orders)), seeds - 1)
    any_image = stats.beta.ppf(POWER, seeds - max_zero_seeds, max_zero_seeds + 1)
    return float(-math.expm1(math.log1p(-any_image) / images))


@cache
def _effect(seeds: int, orders: int) -> float:
    """Return the mean, in standard deviations, at which at most ``orders`` sign choices reach the observed mean.

    This must hold for 80 % of the simulated tables. The differences of a table are z + d, where z is standard normal
    and d the mean. If the signs of a subset A of the seeds are flipped, the sum is not smaller exactly if the mean
    difference over A is at most 0, that is, if the mean of z over A is at most −d. The smallest sufficient d of a table
    is therefore minus the ``orders``-th smallest mean of z over all subsets A. The result is the 80th percentile of
    these d over the tables.
    """
    rng = np.random.default_rng(0)
    subsets = _subsets(seeds, rng)
    averages = (subsets / np.maximum(subsets.sum(axis=1, keepdims=True), 1)).T
    n_tables, smallest = min(MOST_DRAWN, SUMS // len(subsets)), []
    for start in range(0, n_tables, size := max(1, AT_ONCE // len(subsets))):
        means = rng.normal(size=(min(size, n_tables - start), seeds)) @ averages
        smallest.append(-np.partition(means, orders - 1, axis=1)[:, orders - 1])
    return float(np.quantile(np.concatenate(smallest), POWER))


def _subsets(seeds: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return all non-empty subsets of the seeds as rows of 0 and 1: (subsets, seeds).

    For more than ``MOST_EXACT`` seeds, return 2^MOST_EXACT − 1 random subsets.
    """
    if seeds > MOST_EXACT:
        return rng.integers(2, size=(2**MOST_EXACT - 1, seeds)).astype(np.float64)
    return ((np.arange(1, 2**seeds)[:, np.newaxis] >> np.arange(seeds)) & 1).astype(np.float64)
