"""Minimum detectable difference of paired tests over images, for rows with "no difference found"."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache

from bench.statistics.multiple_testing import ALPHA


def smallest(holds: Callable[[int], bool], above: int, most: int) -> int | None:
    """Return the smallest integer > ``above`` for which ``holds`` is True; None if the search exceeds ``most``.

    ``holds`` must be monotone: if it is True for an integer, it is True for all larger integers.

    >>> smallest(lambda n: n * n > 50, 0, 100), smallest(lambda n: False, 0, 100)
    (8, None)
    """
    low, high = above, above + 1
    while not holds(high):
        low, high = high, 2 * high
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


POWER = 0.8


def detectable_difference(n: int, std: float, alpha: float = ALPHA) -> float | None:
    """Return the smallest mean difference that the two-sided paired t-test on n pairs detects with 80 % power.

    It is the standard deviation ``std`` of the differences times the detectable effect size (Cohen 1988, §2). The
    result and ``std`` are fractions. None if the result exceeds 1, the largest possible difference of two accuracies.
    The pairs may be images or seeds. Raises ValueError unless n ≥ 2, 0 ≤ std < ∞ and 0 < alpha < 1.
    """
    _check_level(alpha)
    if n < 2:
        raise ValueError(f"{n} pairs have no standard deviation; at least 2 pairs are needed")
    if not 0 <= std < math.inf:
        raise ValueError(f"{std} is not a standard deviation; it must be finite and at least 0")
    difference = std * _effect(n, alpha)
    return difference if difference <= 1 else None


def detectable_by_mcnemar(n: int, discordant: float, alpha: float = ALPHA) -> float | None:
    """Return the smallest accuracy difference on n images that McNemar's exact test detects with 80 % power.

    ``discordant`` is the share of images that exactly one of the two classifiers classifies correctly. The power is
    exact (:func:`power_of_mcnemar`). If the power is below 80 % even with all discordant images in one direction, more
    discordant images are needed. The result is then the share δ of images, all in one direction, for which
    P(Bin(n, δ) ≥ :func:`fewest_discordant`) = 0.8. None if no difference is detectable on n images. Raises ValueError
    unless n ≥ 2, 0 ≤ discordant ≤ 1 and 0 < alpha < 1.
    """
    if not 0 <= discordant <= 1:
        raise ValueError(f"{discordant} is not a share; it must be between 0 and 1")
    if n < 2:
        raise ValueError(f"{n} pairs have no standard deviation; at least 2 pairs are needed")
    fewest = fewest_discordant(alpha)
    if n < fewest:
        return None
    from scipy import optimize, stats  # slow to import

    if power_of_mcnemar(n, discordant, discordant, alpha) < POWER:
        return float(stats.beta.ppf(POWER, fewest, n - fewest + 1))
    difference = optimize.brentq(lambda d: power_of_mcnemar(n, discordant, d, alpha) - POWER, 0, discordant)
    return float(difference)


def power_of_mcnemar(n: int, discordant: float, difference: float, alpha: float = ALPHA) -> float:
    """Return the power of McNemar's exact test to detect an improvement on n images (Connor 1987, Biometrics 43:207).

    The number of discordant images is binomial. Given this number, the number of regressed images is binomial, too. The
    probability of rejection is summed over both numbers. Tails of the number of discordant images with a total
    probability of 10⁻⁹ are omitted. Raises ValueError unless |difference| ≤ discordant ≤ 1.
    """
    if not abs(difference) <= discordant <= 1:
        raise ValueError(f"a difference of {difference} is impossible with a share {discordant} of discordant images")
    import numpy as np
    from scipy import stats  # slow to import

    _check_level(alpha)
    if discordant == 0:
        return 0.0
    ends = stats.binom.ppf([5e-10, 1 - 5e-10], n, discordant).astype(int)
    counts = np.arange(ends[0], ends[1] + 1)
    most = stats.binom.ppf(alpha / 2, counts, 0.5)  # maximum number of regressed images with p ≤ alpha, or one more
    most -= stats.binom.cdf(most, counts, 0.5) > alpha / 2
    regressed_share = (discordant - difference) / 2 / discordant
    return float(stats.binom.pmf(counts, n, discordant) @ stats.binom.cdf(most, counts, regressed_share))


@cache
def fewest_discordant(alpha: float = ALPHA) -> int:
    """Return the smallest number of discordant images, all in one direction, at which McNemar's exact p ≤ ``alpha``.

    >>> fewest_discordant()
    6
    """
    from scipy import stats  # slow to import

    _check_level(alpha)
    return next(count for count in itertools.count(1) if stats.binomtest(count, count, 0.5).pvalue <= alpha)


def _check_level(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"{alpha} is not a level of a test; it must be between 0 and 1")


@cache
def _effect(n: int, alpha: float) -> float:
    """Return the Cohen's d that the two-sided paired t-test on n pairs detects with 80 % power.

    Only the upper tail is computed. At this power the lower tail is negligible. For small n and alpha, the lower tail
    is NaN in statsmodels 0.15, and so is its two-sided result.
    """
    import numpy as np
    from statsmodels.stats.power import TTestPower  # slow to import

    effect = TTestPower().solve_power(effect_size=None, nobs=n, alpha=alpha / 2, power=POWER, alternative="larger")
    return float(np.asarray(effect).item())
