"""Correction for multiple testing, because some p-values of a table with many tests are small by chance."""

from __future__ import annotations

import math
from collections.abc import Sequence

ALPHA = 0.05


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected by the step-down method of Holm (1979), in the given order.

    If all null hypotheses with a corrected p ≤ α are rejected, the probability of any false rejection in the table is
    at most α. None stands for a test that was not computed. It stays None and is not counted. Raises ValueError unless
    all other values are in [0, 1].
    """
    computed = [p for p in p_values if p is not None]
    if any(not 0 <= p <= 1 or math.isnan(p) for p in computed):
        raise ValueError("a p-value must be in [0, 1], and must not be NaN")
    if not computed:
        return [None] * len(p_values)
    from statsmodels.stats.multitest import multipletests  # slow to import

    corrected = iter(multipletests(computed, alpha=ALPHA, method="holm")[1])
    return [None if p is None else float(next(corrected)) for p in p_values]
