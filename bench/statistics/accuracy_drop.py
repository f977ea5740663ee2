"""One-sided confidence bounds of the drop in accuracy between two measurements. Each bound has confidence 1 − α."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_ALPHA = 0.5


class Bounds(NamedTuple):
    """One-sided confidence bounds of a share or of a drop in accuracy, as fractions. A gain is a negative drop.

    The confidence 1 − α applies to each bound separately.
    """

    low: float
    high: float


def verdict_bounds(n_regressed: int, n_improved: int, n: int, alpha: float) -> Bounds:
    """Return bounds of the drop (n_regressed − n_improved)/n between two evaluations of the same n images.

    ``n_regressed`` images are correct in the first evaluation only, and ``n_improved`` images in the second only. These
    images are called discordant.

    *low* is above 0 exactly if McNemar's exact one-sided test has p < α. It is (2θ₋ − 1)(n_regressed + n_improved)/n,
    conditional on the number of discordant images. θ is the share of regressed images among the discordant images, and
    θ₋ its lower bound by Clopper and Pearson (1934, Biometrika 26:404). *high* is the upper bound of n_regressed/n
    minus the lower bound of n_improved/n. Both are at level α/2 (Bonferroni), so that *high* is valid for any n and for
    few discordant images.

    Raises ValueError for invalid counts and for an α outside (0, 0.5).
    """
    if min(n_regressed, n_improved) < 0 or n_regressed + n_improved > n or n <= 0:
        raise ValueError(f"{n_regressed} regressed and {n_improved} improved of {n} are not counts of pairs")
    _check(alpha)
    changed = n_regressed + n_improved
    low = (2 * _exact(n_regressed, changed, 2 * alpha)[0] - 1) * changed / n if changed else 0.0
    return Bounds(low, _exact(n_regressed, n, alpha)[1] - _exact(n_improved, n, alpha)[0])


def share_bounds(n_correct: float, n: int, alpha: float) -> Bounds:
    """Return one-sided bounds of the share ``n_correct``/``n``, each at level ``alpha``, by Clopper and Pearson.

    ``n_correct`` may be fractional. The mean of several cells on the same n images has at most the variance of a single
    cell. Raises ValueError unless 0 ≤ n_correct ≤ n, n > 0 and 0 < alpha < 0.5.
    """
    if not 0 <= n_correct <= n or n <= 0:
        raise ValueError(f"{n_correct} of {n} is not a share; 0 ≤ n_correct ≤ n and n > 0 are required")
    _check(alpha)
    return Bounds(*_exact(n_correct, n, 2 * alpha))


def _exact(count: float, n: int, alpha: float) -> tuple[float, float]:
    """Return the two-sided interval of Clopper and Pearson, with α/2 on each side."""
    from statsmodels.stats.proportion import proportion_confint  # slow to import

    low, high = proportion_confint(count, n, alpha=alpha, method="beta")
    return float(low) if count else 0.0, float(high) if count < n else 1.0


def mean_bounds(before: NDArray[np.float64], after: NDArray[np.float64], alpha: float, seeds: int = 0) -> Bounds:
    """Return bounds of the drop of a mean over seeds and images. Both are regarded as random samples.

    ``before`` (S, n) and ``after`` (T, n) are shares of correct predictions, in [0, 1], for the same n images. The
    seeds of ``before`` and ``after`` need not correspond.

    The variance of the drop is the sum of three terms: the variance of the seed means of ``before`` divided by S, the
    variance of the seed means of ``after`` divided by T, and the variance over images of the mean difference divided by
    n. The bounds use Student's quantile with the degrees of freedom of Welch (1947, Biometrika 34:28) for this sum. The
    third term includes a part of the variance over seeds, so that the bounds are conservative.

    If ``before`` or ``after`` has a single seed, its term is omitted, and the bounds apply to these weights only. A
    positive ``seeds`` replaces S and T, to compute the bounds for this number of seeds with the observed variance. If
    the total variance is 0, the bounds are the drop ± (1 − α^(1/n)). This is the largest share of images that may all
    be missing in a sample of n images.

    Raises ValueError for invalid shapes, fewer than two images, and an α outside (0, 0.5).
    """
    if before.ndim != 2 or after.ndim != 2 or before.shape[1] != after.shape[1] or before.shape[1] < 2:
        raise ValueError(
            f"shapes {before.shape} and {after.shape} are not (seeds, images) with the same two or more images"
        )
    _check(alpha)
    from scipy import stats  # slow to import

    differences = before.mean(axis=0) - after.mean(axis=0)
    terms = [(float(differences.var(ddof=1)) / len(differences), len(differences) - 1)]
    for shares in (before, after):
        count = seeds or len(shares)
        if len(shares) > 1:
            terms.append((float(shares.mean(axis=1).var(ddof=1)) / count, count - 1))
    variance, drop = sum(v for v, _ in terms), float(differences.mean())
    if variance == 0:
        unseen = 1 - alpha ** (1 / len(differences))
        return Bounds(drop - unseen, drop + unseen)
    freedom = variance**2 / sum(v**2 / df for v, df in terms)
    margin = float(stats.t.ppf(1 - alpha, freedom)) * variance**0.5
    return Bounds(drop - margin, drop + margin)


def _check(alpha: float) -> None:
    if not 0 < alpha < MOST_ALPHA:
        raise ValueError(f"{alpha} is not a level of a one-sided test; it must be between 0 and {MOST_ALPHA}")
