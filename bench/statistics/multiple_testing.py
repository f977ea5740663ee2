"""Correction for multiple testing: with many tests in one table, some p-values are small by chance."""

from __future__ import annotations

import math
from collections.abc import Sequence

ALPHA = 0.05


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected by the step-down method of Holm (1979), in the given order.

    If all tests with a corrected p ≤ α are rejected, the probability of any false rejection in the table is at most α.
    None stands for a test that was not computed; it stays None and is not counted. Raises ValueError unless all other
    values are in [0, 1].
    """
    made = [p for p in p_values if p is not None]
    if any(not 0 <= p <= 1 or math.isnan(p) for p in made):
        raise ValueError("a p-value lies in [0, 1], and is not NaN")
    if not made:
        return [None] * len(p_values)
    from statsmodels.stats.multitest import multipletests  # slow to import

    corrected = iter(multipletests(made, alpha=ALPHA, method="holm")[1])
    return [None if p is None else float(next(corrected)) for p in p_values]
