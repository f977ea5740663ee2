"""Intervals of a share: pure functions of counts, computed by statsmodels."""

from __future__ import annotations

CONFIDENCE = 0.95
CI_METHOD = "wilson"


def wilson_interval(correct: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share ``correct``/``n``, as fractions (Wilson 1927).

    ``correct`` need not be whole: the mean of several seeds on the same n images has the sampling error of n images.
    Raises ValueError unless 0 ≤ correct ≤ n and n > 0.
    """
    if not 0 <= correct <= n or n <= 0:
        raise ValueError(f"{correct} of {n} is no share")
    from statsmodels.stats.proportion import proportion_confint  # slow to import

    low, high = proportion_confint(correct, n, alpha=1 - CONFIDENCE, method=CI_METHOD)
    return float(low) if correct > 0 else 0.0, float(high) if correct < n else 1.0  # without rounding at the ends
