"""Statistics of the distance to the nearest known adversarial image, right-censored at the largest budget."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import CONFIDENCE


class Distances(NamedTuple):
    """One distance per image, at most the largest budget, in the norm and unit of the budgets."""

    distance: NDArray[np.float64]  # (images,): norm of the smallest known perturbation; without one, ``budget``
    observed: NDArray[
        np.bool_
    ]  # (images,): False if no attack fooled the image: its distance is larger than ``budget``
    budget: float  # largest attacked budget


class Median(NamedTuple):
    """Median distance with its 95 % interval. The value inf stands for a distance above the largest budget."""

    value: float
    low: float
    high: float


def smallest_distances(distances: NDArray[np.float64], budgets: NDArray[np.float64]) -> Distances:
    """Return the smallest distance per image over several attacks, right-censored at the largest budget.

    ``distances`` (attacks, images) are NaN for an image that is correctly classified under the attack, and 0 for an
    image that is misclassified without an attack. ``budgets`` (attacks,) are the budgets ε of the attacks. Distances
    that exceed ε within the tolerance of the verification are rounding errors, and are clipped to ε. Each distance is
    an upper bound, because a stronger attack may find a smaller perturbation.

    Raises ValueError for other shapes, negative or infinite distances, and budgets that are not positive and finite.
    """
    table, eps = np.asarray(distances, dtype=np.float64), np.asarray(budgets, dtype=np.float64)
    if table.ndim != 2 or not table.size or eps.shape != table.shape[:1]:
        raise ValueError(f"distances of shape {table.shape} do not match budgets of shape {eps.shape}")
    if not (np.isfinite(eps) & (eps > 0)).all():
        raise ValueError("a budget must be a finite number above 0")
    if (table < 0).any() or np.isinf(table).any():
        raise ValueError("a distance must be a finite number from 0 upwards, or NaN")
    cut = np.minimum(table, eps[:, np.newaxis])
    smallest = np.fmin.reduce(cut, axis=0)
    observed = ~np.isnan(smallest)
    return Distances(np.where(observed, smallest, eps.max()), observed, float(eps.max()))


def median_distance(distances: Distances) -> Median:
    """Return the distance within which more than half of the images are misclassified, with its 95 % interval.

    All censored images have the same censoring point, the largest budget. Therefore the Kaplan-Meier median is an order
    statistic. It is computed from counts of images, so that rounding errors have no influence if exactly half of the
    images are correctly classified. The interval accounts for the sampling of images. Its ends are the outermost order
    statistics that the binomial test of a median does not reject (Conover 1999, §3.2). It is exact for any
    distribution. For fewer than six images, no bounded interval has this confidence, and (0, inf) is returned.
    """
    from scipy import stats  # slow to import

    censored = np.sort(np.where(distances.observed, distances.distance, math.inf))
    value = float(censored[len(censored) // 2])
    low, high = map(float, stats.quantile_test(censored, q=0, p=0.5).confidence_interval(CONFIDENCE))
    if math.isnan(low):  # then high is NaN, too
        return Median(value, 0.0, math.inf)
    return Median(value, min(low, distances.budget), high)


def robust_accuracy(distances: Distances, budgets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the robust accuracy at each of ``budgets``, as a fraction. At budget 0 it is the clean accuracy.

    Raises ValueError unless ``budgets`` (budgets,) are between 0 and the largest attacked budget.
    """
    eps = np.asarray(budgets, dtype=np.float64)
    if eps.ndim != 1 or not ((eps >= 0) & (eps <= distances.budget)).all():
        raise ValueError(f"the robust accuracy is known only at budgets from 0 to {distances.budget:g}")
    return np.asarray([1 - (distances.observed & (distances.distance <= e)).mean() for e in eps], dtype=np.float64)


def area_under_curve(distances: Distances, budgets: NDArray[np.float64]) -> float:
    """Return the mean robust accuracy over the budgets from 0 to the largest budget, as a fraction.

    The accuracy is integrated by the trapezoidal rule with nodes at 0, ``budgets`` and the largest budget.
    """
    from scipy.integrate import trapezoid  # has another name in numpy before 2.0

    eps = np.unique(np.concatenate([[0.0], np.asarray(budgets, dtype=np.float64), [distances.budget]]))
    return float(trapezoid(robust_accuracy(distances, eps), eps)) / distances.budget
