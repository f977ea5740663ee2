"""What per-image outcomes of two attacks say of each other: pure functions of boolean vectors over the same images.

``broken`` vectors are (N,), one value an image of the audited subset, True where it is not classified correctly any
more (or never was). No torch.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.auditing.thresholds import POINTS

Broken = NDArray[np.bool_]

CONFIDENCE = 0.95  # one-sided, of every lower bound


class Change(NamedTuple):
    """How far the robust accuracy falls from one attack to another, in points, and the least it falls by."""

    points: float
    lower: float  # one-sided lower confidence bound
    lost: int  # images that only the second breaks
    gained: int  # images that only the first breaks


def change(before: Broken, after: Broken) -> Change:
    """The fall 100·(b − c)/n from the robust accuracy under ``before`` to that under ``after``.

    b images are broken by ``after`` alone and c by ``before`` alone. Given b + c, b is binomial with θ = 1/2 if neither
    is stronger; with θ_L the lower bound of Clopper and Pearson 1934 for θ the fall is at least
    100·(2·θ_L − 1)·(b + c)/n, the conditional exact bound that belongs to McNemar's exact test.
    Raises ValueError for vectors of different images or of none.
    """
    _check(before, after)
    lost, gained = int((after & ~before).sum()), int((before & ~after).sum())
    differing, n = lost + gained, len(before)
    lower = 100 * (2 * _lower(lost, differing) - 1) * differing / n if differing else 0.0
    return Change(100 * (lost - gained) / n, lower, lost, gained)


def detectable(n: int) -> float | None:
    """The smallest fall in points that flags among ``n`` images, if nothing speaks for the first attack.

    None when even the fall of all of them would be no more than chance.
    """
    nothing = np.zeros(n, dtype=bool)
    for lost in range(1, n + 1):
        fall = change(nothing, np.arange(n) < lost)
        if fall.lower > POINTS:
            return fall.points
    return None


class Rate(NamedTuple):
    """A share of the images, in points, and the least that it may be."""

    points: float
    lower: float
    images: int


def only_by(weaker: Broken, stronger: Broken) -> Rate:
    """The share of all images that the weaker attack breaks and the stronger does not, with its lower bound."""
    _check(weaker, stronger)
    count, n = int((weaker & ~stronger).sum()), len(weaker)
    return Rate(100 * count / n, 100 * _lower(count, n), count)


def any_of(*vectors: Broken) -> Broken:
    """The images that one of several attacks breaks: the pointwise worst case. Raises ValueError without a vector."""
    if not vectors:
        raise ValueError("no outcomes")
    return reduce(np.logical_or, vectors)


def robust_accuracy(broken: Broken) -> float:
    """In percent of all images of the subset."""
    return 100 * float((~broken).mean())


def _lower(count: int, n: int) -> float:
    """Clopper and Pearson's one-sided lower bound of count/n."""
    from statsmodels.stats.proportion import proportion_confint  # slow to import

    low: Any = proportion_confint(count, n, alpha=2 * (1 - CONFIDENCE), method="beta")[0]
    return float(low)


def _check(one: Broken, other: Broken) -> None:
    if one.shape != other.shape or one.ndim != 1 or not len(one):
        raise ValueError(f"outcomes of {one.shape} and {other.shape} are not of the same images, or of none")
