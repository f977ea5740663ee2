"""Smallest detectable difference of two recipes by the sign-flip test over seeds."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.statistics.multiple_testing import ALPHA
from bench.statistics.power import POWER
from bench.statistics.seeds import MOST_EXACT

MOST_DRAWN = 20_000  # tables of seeds
SUMS = 2**25  # looked at in all; about half a second
AT_ONCE = 2**22


def detectable_by_sign_flips(seeds: int, std: float, images: int, alpha: float = ALPHA) -> float | None:
    """The mean difference that :func:`bench.statistics.seeds.sign_flip_p` finds at ``alpha`` in 80 % of cases.

    For normal differences of the standard deviation ``std``, a fraction, over so many seeds; by simulation, the same in
    every call. Seeds that happened to agree do not make it 0: it is never less than what would be found were single
    ones of the ``images`` gained at random, see :func:`_floor`. None where it would exceed 1, and where so many
    seeds find nothing. Raises ValueError unless seeds ≥ 2, 0 ≤ std < ∞, images ≥ 1 and 0 < alpha < 1.
    """
    if seeds < 2 or images < 1:
        raise ValueError(f"{seeds} seeds of {images} images have no spread")
    if not 0 <= std < math.inf:
        raise ValueError(f"{std} is no standard deviation")
    if not 0 < alpha < 1:
        raise ValueError(f"{alpha} is no level of a test")
    orders = _orders(seeds, alpha)
    if not orders:
        return None
    found = max(std * _effect(seeds, orders), _floor(seeds, images, orders))
    return found if found <= 1 else None


def _orders(seeds: int, alpha: float) -> int:
    """Return how many of the 2^S sign choices may reach the observed mean, itself included; p is twice their share."""
    return int(alpha * 2 ** min(seeds, MOST_EXACT) / 2)


def _floor(seeds: int, images: int, orders: int) -> float:
    """The share δ of images that each seed has to gain, one by one, for 80 % power; the floor where no seed varies.

    A seed that gains nothing has difference 0 and two signs that are the same, so that at most k = log₂(orders) of S
    seeds may: a seed gains anything with q = 1 − (1 − δ)ⁿ, and P(Bin(S, q) ≥ S − k) = 0.8.
    """
    from scipy import stats  # slow to import

    idle = min(int(math.log2(orders)), seeds - 1)
    any_image = stats.beta.ppf(POWER, seeds - idle, idle + 1)
    return float(-math.expm1(math.log1p(-any_image) / images))


@cache
def _effect(seeds: int, orders: int) -> float:
    """Mean over standard deviation at which 80 % of simulated tables come to at most ``orders`` choices of signs.

    Choosing the other sign for the seeds A leaves the sum as large or larger exactly where their mean difference is 0
    or less. With normal z and the mean d those are the A whose mean of z is at most −d: each table has its own smallest
    d, minus the mean of z that comes ``orders``-th from below among all A, and 80 % of the tables are content with the
    80th percentile.
    """
    rng = np.random.default_rng(0)
    subsets = _subsets(seeds, rng)
    averages = (subsets / np.maximum(subsets.sum(axis=1, keepdims=True), 1)).T
    drawn, smallest = min(MOST_DRAWN, SUMS // len(subsets)), []
    for start in range(0, drawn, size := max(1, AT_ONCE // len(subsets))):
        means = rng.normal(size=(min(size, drawn - start), seeds)) @ averages
        smallest.append(-np.partition(means, orders - 1, axis=1)[:, orders - 1])
    return float(np.quantile(np.concatenate(smallest), POWER))


def _subsets(seeds: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """All but the empty one as rows of 0 and 1; of more seeds than the test enumerates as many drawn ones."""
    if seeds > MOST_EXACT:
        return rng.integers(2, size=(2**MOST_EXACT - 1, seeds)).astype(np.float64)
    return ((np.arange(1, 2**seeds)[:, np.newaxis] >> np.arange(seeds)) & 1).astype(np.float64)
