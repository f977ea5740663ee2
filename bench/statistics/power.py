"""Smallest detectable difference of the paired test on images, for rows that say "no difference".

The smallest whole number from which on something holds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache

from bench.statistics.multiple_testing import ALPHA


def smallest(holds: Callable[[int], bool], above: int, most: int) -> int | None:
    """The smallest number > ``above`` at which ``holds``, if it does from some number on; None beyond ``most``.

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
    """The smallest mean difference that n pairs show at ``alpha``, two-sided, in 80 % of cases.

    By the power of the paired t-test (Cohen 1988, §2): the standard deviation ``std`` of the differences, times the
    effect that n pairs can show. In fractions, as ``std``; None where it would exceed 1, which no difference of two
    accuracies can. n may be images or seeds. Raises ValueError unless n ≥ 2, 0 ≤ std < ∞ and
    0 < alpha < 1.
    """
    _check_level(alpha)
    if n < 2:
        raise ValueError(f"{n} pairs have no spread")
    if not 0 <= std < math.inf:
        raise ValueError(f"{std} is no standard deviation")
    found = std * _effect(n, alpha)
    return found if found <= 1 else None


def detectable_by_mcnemar(n: int, discordant: float, alpha: float = ALPHA) -> float | None:
    """The smallest difference that McNemar's exact test finds in 80 % of cases between two classifiers on n images.

    They differ on a share ``discordant`` of the images, and the power is the exact one (:func:`power_of_mcnemar`).
    Where even all of them lost, or all gained, would be too few, more images have to differ: then it is the share δ of
    images, all of one direction, with P(Bin(n, δ) ≥ :func:`fewest_discordant`) = 0.8. None where no difference can be
    found. Raises ValueError unless n ≥ 2, discordant is a share and 0 < alpha < 1.
    """
    if not 0 <= discordant <= 1:
        raise ValueError(f"{discordant} is no share")
    if n < 2:
        raise ValueError(f"{n} pairs have no spread")
    fewest = fewest_discordant(alpha)
    if n < fewest:
        return None
    from scipy import optimize, stats  # slow to import

    if power_of_mcnemar(n, discordant, discordant, alpha) < POWER:
        return float(stats.beta.ppf(POWER, fewest, n - fewest + 1))
    found = optimize.brentq(lambda d: power_of_mcnemar(n, discordant, d, alpha) - POWER, 0, discordant)
    return float(found)


def power_of_mcnemar(n: int, discordant: float, difference: float, alpha: float = ALPHA) -> float:
    """Power of the exact test to find more of n images gained than lost (Connor 1987, Biometrics 43:207).

    The number of discordant images is binomial, and of these so is the number of lost ones: the rejections are summed
    over both, up to a share of 10⁻⁹ of the former. Raises ValueError unless |difference| ≤ discordant ≤ 1.
    """
    if not abs(difference) <= discordant <= 1:
        raise ValueError(f"a difference of {difference} cannot come of a share {discordant} of discordant images")
    import numpy as np
    from scipy import stats  # slow to import

    _check_level(alpha)
    if discordant == 0:
        return 0.0
    ends = stats.binom.ppf([5e-10, 1 - 5e-10], n, discordant).astype(int)
    counts = np.arange(ends[0], ends[1] + 1)
    most = stats.binom.ppf(alpha / 2, counts, 0.5)  # of lost images: the largest that p ≤ alpha allows, or one above
    most -= stats.binom.cdf(most, counts, 0.5) > alpha / 2
    lost = (discordant - difference) / 2 / discordant
    return float(stats.binom.pmf(counts, n, discordant) @ stats.binom.cdf(most, counts, lost))


@cache
def fewest_discordant(alpha: float = ALPHA) -> int:
    """The number of images, all lost or all gained, from which on McNemar's exact p is at most ``alpha``.

    >>> fewest_discordant()
    6
    """
    from scipy import stats  # slow to import

    _check_level(alpha)
    return next(count for count in itertools.count(1) if stats.binomtest(count, count, 0.5).pvalue <= alpha)


def _check_level(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"{alpha} is no level of a test")


@cache
def _effect(n: int, alpha: float) -> float:
    """Cohen's d that n pairs show.

    By the upper tail of the two-sided test alone: at such power the lower one has no part in it, and asked for both
    statsmodels 0.15 takes the lower one's NaN for an answer at small n and alpha.
    """
    import numpy as np
    from statsmodels.stats.power import TTestPower  # slow to import

    found = TTestPower().solve_power(effect_size=None, nobs=n, alpha=alpha / 2, power=POWER, alternative="larger")
    return float(np.asarray(found).item())
