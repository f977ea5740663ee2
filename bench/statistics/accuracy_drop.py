"""One-sided bounds on the drop in accuracy between two measurements, each wrong in at most a share α of cases."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_ALPHA = 0.5


class Bounds(NamedTuple):
    """One-sided bounds of a share or of a drop in accuracy, as fractions. A gain is a negative drop.

    Each bound by itself holds with confidence 1 − α.
    """

    low: float
    high: float


def verdict_bounds(n_regressed: int, n_improved: int, n: int, alpha: float) -> Bounds:
    """Bounds of (lost − gained)/n for two looks at the same n images, each right or wrong in either.

    *low* is above 0 exactly where McNemar's exact one-sided test has p < α: with θ the share of losses among the images
    that changed and θ₋ its lower bound by Clopper and Pearson (1934, Biometrika 26:404), it is
    (2θ₋ − 1)(lost + gained)/n, the number of changes taken as it is. *high* is the upper bound of the share that is
    lost less the lower bound of the share that is gained, each at α/2 (Bonferroni), so that it holds for any n and
    for few changes, too. Raises ValueError for what is no count and for an α outside (0, 0.5).
    """
    if min(n_regressed, n_improved) < 0 or n_regressed + n_improved > n or n <= 0:
        raise ValueError(f"{n_regressed} lost and {n_improved} gained of {n} are no counts of pairs")
    _check(alpha)
    changed = n_regressed + n_improved
    low = (2 * _exact(n_regressed, changed, 2 * alpha)[0] - 1) * changed / n if changed else 0.0
    return Bounds(low, _exact(n_regressed, n, alpha)[1] - _exact(n_improved, n, alpha)[0])


def share_bounds(right: float, n: int, alpha: float) -> Bounds:
    """One-sided bounds of a share ``right``/``n``, each at level ``alpha``, by Clopper and Pearson.

    ``right`` need not be whole: the mean of several cells on the same n images spreads no more than one of them.
    """
    if not 0 <= right <= n or n <= 0:
        raise ValueError(f"{right} of {n} is no share")
    _check(alpha)
    return Bounds(*_exact(right, n, 2 * alpha))


def _exact(count: float, n: int, alpha: float) -> tuple[float, float]:
    """The two-sided interval of Clopper and Pearson: α/2 on either side."""
    from statsmodels.stats.proportion import proportion_confint  # slow to import

    low, high = proportion_confint(count, n, alpha=alpha, method="beta")
    return float(low) if count else 0.0, float(high) if count < n else 1.0


def mean_bounds(before: NDArray[np.float64], after: NDArray[np.float64], alpha: float, seeds: int = 0) -> Bounds:
    """Bounds of the drop of a mean over seeds and images: other seeds *and* other images might have been drawn.

    ``before`` (S, n) and ``after`` (T, n) hold shares of right answers for the same n images; the seeds of the two need
    not correspond. The variance of the drop is s²/S of the seeds' means before, the same after, and that of the
    images' mean differences over n; the quantile is Student's with the degrees of freedom of Welch (1947, Biometrika
    34:28) for such a sum. The images' part holds some of the seeds' spread as well, which errs on the side of caution.
    With one seed on either side that side has no spread over seeds: the bounds are then of these weights. ``seeds``
    asks what they would be if there were so many on both sides, with this spread. Where nothing varies at all, Student
    knows no chance; the bounds then reach as far as a share of images can that none of n shows, 1 − α^(1/n).
    Raises ValueError for tables of other shapes, fewer than two images, and an α outside (0, 0.5).
    """
    if before.ndim != 2 or after.ndim != 2 or before.shape[1] != after.shape[1] or before.shape[1] < 2:
        raise ValueError(f"{before.shape} and {after.shape} are no seeds of the same two or more images")
    _check(alpha)
    from scipy import stats  # slow to import

    differences = before.mean(axis=0) - after.mean(axis=0)
    parts = [(float(differences.var(ddof=1)) / len(differences), len(differences) - 1)]
    for table in (before, after):
        count = seeds or len(table)
        if len(table) > 1:
            parts.append((float(table.mean(axis=1).var(ddof=1)) / count, count - 1))
    variance, drop = sum(v for v, _ in parts), float(differences.mean())
    if variance == 0:
        unseen = 1 - alpha ** (1 / len(differences))
        return Bounds(drop - unseen, drop + unseen)
    freedom = variance**2 / sum(v**2 / df for v, df in parts)
    reach = float(stats.t.ppf(1 - alpha, freedom)) * variance**0.5
    return Bounds(drop - reach, drop + reach)


def _check(alpha: float) -> None:
    if not 0 < alpha < MOST_ALPHA:
        raise ValueError(f"{alpha} is no level of a one-sided test; it lies between 0 and {MOST_ALPHA}")
