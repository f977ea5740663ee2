"""Statistics of the distance to the nearest known adversarial image; survivors lie beyond the largest budget."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import CONFIDENCE


class Distances(NamedTuple):
    """One distance per image, each at most the largest budget; in the norm and unit of the budgets."""

    distance: NDArray[np.float64]  # (images,): of the smallest known perturbation, or that budget
    broken: NDArray[np.bool_]  # (images,): False where no attack broke it: its distance is larger than that
    budget: float  # the largest that was attacked


class Median(NamedTuple):
    """inf is beyond the largest budget."""

    value: float
    low: float
    high: float


def smallest_distances(distances: NDArray[np.float64], budgets: NDArray[np.float64]) -> Distances:
    """The smallest of several attacks' distances, right-censored at the largest budget.

    ``distances`` (attacks, images): NaN where the image survived, 0 where it was wrong from the start; ``budgets``
    (attacks,): each attack's ε. What verification lets pass beyond ε is rounding, and is cut. Every known distance is
    an upper bound: a stronger attack may find a smaller one. Raises ValueError for what is not of this form.
    """
    table, eps = np.asarray(distances, dtype=np.float64), np.asarray(budgets, dtype=np.float64)
    if table.ndim != 2 or not table.size or eps.shape != table.shape[:1]:
        raise ValueError(f"distances of shape {table.shape} do not go with {eps.shape} budgets")
    if not (np.isfinite(eps) & (eps > 0)).all():
        raise ValueError("a budget is a finite number above 0")
    if (table < 0).any() or np.isinf(table).any():
        raise ValueError("a distance is a finite number from 0 on, or NaN")
    cut = np.minimum(table, eps[:, np.newaxis])
    smallest = np.fmin.reduce(cut, axis=0)
    broken = ~np.isnan(smallest)
    return Distances(np.where(broken, smallest, eps.max()), broken, float(eps.max()))


def median_distance(found: Distances) -> Median:
    """The distance within which more than half of the images are broken, with its 95 % interval (sampling of images).

    As all that survived are censored at one point, the largest budget, Kaplan and Meier's median is this order
    statistic; counted in whole images no rounding decides where exactly half survive. The interval, too, is of two
    order statistics, the outermost that the binomial test of a median does not reject (Conover 1999, §3.2): exact for
    any distribution, and from 0 to inf for fewer than six images, which cannot bound a median at this confidence.
    """
    from scipy import stats  # slow to import

    known = np.sort(np.where(found.broken, found.distance, math.inf))
    value = float(known[len(known) // 2])
    low, high = map(float, stats.quantile_test(known, q=0, p=0.5).confidence_interval(CONFIDENCE))
    if math.isnan(low):  # and high as well
        return Median(value, 0.0, math.inf)
    return Median(value, min(low, found.budget), high)


def robust_accuracy(found: Distances, budgets: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of images without a known adversarial image within each budget; at 0 the clean accuracy.

    Raises ValueError for a budget beyond the largest one: nobody knows.
    """
    eps = np.asarray(budgets, dtype=np.float64)
    if eps.ndim != 1 or not ((eps >= 0) & (eps <= found.budget)).all():
        raise ValueError(f"accuracy is known at budgets from 0 to {found.budget:g}")
    return np.asarray([1 - (found.broken & (found.distance <= e)).mean() for e in eps], dtype=np.float64)


def area_under_curve(found: Distances, budgets: NDArray[np.float64]) -> float:
    """The mean robust accuracy over [0, largest budget], a fraction: by trapezoids between 0 and ``budgets``.

    The largest budget is always among them.
    """
    from scipy.integrate import trapezoid  # numpy's has another name before 2.0

    eps = np.unique(np.concatenate([[0.0], np.asarray(budgets, dtype=np.float64), [found.budget]]))
    return float(trapezoid(robust_accuracy(found, eps), eps)) / found.budget
