"""Many tests in one table: the more there are, the more of them are small by chance."""

from __future__ import annotations

import math
from collections.abc import Sequence

ALPHA = 0.05


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) step-down correction: with it, ≤ α marks a false difference in at most a share α of such tables.

    A test that was not made (None) stays None and does not count. Raises ValueError for what is no probability.
    """
    made = [p for p in p_values if p is not None]
    if any(not 0 <= p <= 1 or math.isnan(p) for p in made):
        raise ValueError("a p-value lies in [0, 1]")
    if not made:
        return [None] * len(p_values)
    from statsmodels.stats.multitest import multipletests  # slow to import

    corrected = iter(multipletests(made, alpha=ALPHA, method="holm")[1])
    return [None if p is None else float(next(corrected)) for p in p_values]
