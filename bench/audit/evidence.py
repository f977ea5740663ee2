"""Comparisons of the per-image outcomes of two attacks: pure functions of boolean vectors over the same images.

``broken`` vectors are (N,), one value per image of the audited subset. True: the image is misclassified after the
attack, or was misclassified before it. No torch.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.results.audit_thresholds import POINTS

Broken = NDArray[np.bool_]

RISK = 0.05  # of every bound, one-sided


class Change(NamedTuple):
    """Fall of the robust accuracy from one attack to another, in points."""

    points: float
    lower: float  # what a flag goes by: a bound that takes b + c for given
    least: float  # what may be said: a one-sided lower bound that covers the true fall in 95 % of cases or more
    lost: int  # images that only the second breaks
    gained: int  # images that only the first breaks


def change(before: Broken, after: Broken) -> Change:
    """The fall 100·(b − c)/n from the robust accuracy under ``before`` to that under ``after``.

    b images are broken by ``after`` alone and c by ``before`` alone. Given b + c, b is binomial with θ = 1/2 if neither
    is stronger; with θ_L the lower bound of Clopper and Pearson 1934 for θ ``lower`` is 100·(2·θ_L − 1)·(b + c)/n, the
    conditional exact bound that belongs to McNemar's exact test. b + c is a draw, too, so that of a true fall of 20
    points it is below in 84 % of cases only; ``least`` takes the bounds of b/n and c/n, each at half the risk.
    Raises ValueError for vectors of different images or of none.
    """
    lost, gained, n = _counted(before, after)
    least = _lower(lost, n, risk=RISK / 2) - _upper(gained, n, risk=RISK / 2)
    return Change(100 * (lost - gained) / n, _conditional(lost, gained, n), 100 * least, lost, gained)


def beyond(before: Broken, more: Broken) -> Change:
    """The fall when attacks that broke ``more`` join those of ``before``: none of its images can come back.

    ``least`` then is Clopper and Pearson's bound of b/n. Raises ValueError for vectors of different images or of none.
    """
    lost, _, n = _counted(before, more)
    return Change(100 * lost / n, _conditional(lost, 0, n), 100 * _lower(lost, n), lost, 0)


def detectable(n: int, n_correct: int) -> float | None:
    """The smallest fall in points that flags among ``n`` images, if nothing speaks for the first attack.

    None when even the fall of all ``n_correct`` that can fall would be no more than chance.
    """
    for lost in range(1, n_correct + 1):
        if _conditional(lost, 0, n) > POINTS:
            return 100 * lost / n
    return None


class Rate(NamedTuple):
    """A share of the images, in points, and the least that it may be."""

    points: float
    lower: float
    images: int


def only_by(weaker: Broken, stronger: Broken) -> Rate:
    """The share of all images that the weaker attack breaks and the stronger does not, with its lower bound."""
    _, count, n = _counted(weaker, stronger)
    return Rate(100 * count / n, 100 * _lower(count, n), count)


def any_of(*vectors: Broken) -> Broken:
    """The images that one of several attacks breaks: the pointwise worst case. Raises ValueError without a vector."""
    if not vectors:
        raise ValueError("no outcomes")
    return reduce(np.logical_or, vectors)


def robust_accuracy(broken: Broken) -> float:
    """Return the robust accuracy in percent of all images of the subset."""
    return 100 * float((~broken).mean())


def _counted(before: Broken, after: Broken) -> tuple[int, int, int]:
    """The images that only the second breaks, those that only the first does, and all."""
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise ValueError(f"outcomes of {before.shape} and {after.shape} are not of the same images, or of none")
    return int((after & ~before).sum()), int((before & ~after).sum()), len(before)


def _conditional(lost: int, gained: int, n: int) -> float:
    differing = lost + gained
    return 100 * (2 * _lower(lost, differing) - 1) * differing / n if differing else 0.0


def _lower(count: int, n: int, risk: float = RISK) -> float:
    """Clopper and Pearson's one-sided lower bound of count/n."""
    from statsmodels.stats.proportion import proportion_confint  # slow to import

    low: Any = proportion_confint(count, n, alpha=2 * risk, method="beta")[0]
    return float(low)


def _upper(count: int, n: int, risk: float) -> float:
    return 1 - _lower(n - count, n, risk)
