"""How large a difference would have been found: what "no difference" is worth."""

from __future__ import annotations

import itertools
import math
from functools import cache

from bench.statistics.several import ALPHA

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
    """The same for two classifiers that differ on a share ``discordant`` of n images.

    The differences in {−1, 0, 1} have at most the variance ``discordant``, and that where the mean is 0 (Connor 1987,
    Biometrics 43:207), so this is the cautious end. A share below :func:`fewest_discordant`/n is taken for that: with
    fewer images no p is small, whatever their direction. None where no difference can be found.
    Raises ValueError unless n ≥ 2, discordant is a share and 0 < alpha < 1.
    """
    if not 0 <= discordant <= 1:
        raise ValueError(f"{discordant} is no share")
    if n < 2:
        raise ValueError(f"{n} pairs have no spread")
    if n < fewest_discordant(alpha):
        return None
    return detectable_difference(n, math.sqrt(max(discordant, fewest_discordant(alpha) / n)), alpha)


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
