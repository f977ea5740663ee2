"""How large a difference would have been found: what "no difference" is worth."""

from __future__ import annotations

import math
from functools import cache

from bench.statistics.several import ALPHA

POWER = 0.8


def detectable_difference(n: int, std: float) -> float | None:
    """The smallest mean difference that n pairs show at α 0.05, two-sided, in 80 % of cases.

    By the power of the paired t-test (Cohen 1988, §2): the standard deviation ``std`` of the differences, times the
    effect that n pairs can show. In fractions, as ``std``; None where it would exceed 1, which no difference of two
    accuracies can. n may be images or seeds. Raises ValueError unless n ≥ 2 and 0 ≤ std < ∞.
    """
    if n < 2:
        raise ValueError(f"{n} pairs have no spread")
    if not 0 <= std < math.inf:
        raise ValueError(f"{std} is no standard deviation")
    found = std * _effect(n)
    return found if found <= 1 else None


def detectable_by_mcnemar(n: int, discordant: float) -> float | None:
    """The same for two classifiers that differ on a share ``discordant`` of n images.

    The differences in {−1, 0, 1} have at most the variance ``discordant``, and that where the mean is 0 (Connor 1987,
    Biometrics 43:207), so this is the cautious end. A share below :func:`fewest_discordant`/n is taken for that: with
    fewer images no p is small, whatever their direction. None where no difference can be found.
    Raises ValueError unless n ≥ 2 and discordant is a share.
    """
    if not 0 <= discordant <= 1:
        raise ValueError(f"{discordant} is no share")
    if n < 2:
        raise ValueError(f"{n} pairs have no spread")
    if n < fewest_discordant():
        return None
    return detectable_difference(n, math.sqrt(max(discordant, fewest_discordant() / n)))


@cache
def fewest_discordant() -> int:
    """The number of images, all lost or all gained, from which on McNemar's exact p is at most 0.05: 6.

    >>> fewest_discordant()
    6
    """
    from scipy import stats  # slow to import

    return next(count for count in range(1, 100) if stats.binomtest(count, count, 0.5).pvalue <= ALPHA)


@cache
def _effect(n: int) -> float:
    """Cohen's d that n pairs show."""
    from statsmodels.stats.power import TTestPower  # slow to import

    return float(TTestPower().solve_power(effect_size=None, nobs=n, alpha=ALPHA, power=POWER, alternative="two-sided"))
