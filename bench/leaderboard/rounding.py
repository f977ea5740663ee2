"""Round numbers for the tables, alike in the files and in printed JSON."""

from __future__ import annotations

import pandas as pd

from bench.core.columns import DECIMALS, DIGITS_COLUMNS, DISTANCE_DECIMALS, P_DIGITS


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Percentages and points to two decimals, distances to five, p-values and ``DIGITS_COLUMNS`` to four digits."""
    by_digits = [column for column in table.columns if column.startswith("p_") or column in DIGITS_COLUMNS]
    kept = table.round({column: _decimals(column) for column in table.columns if column not in by_digits})
    for column in by_digits:
        kept[column] = [None if pd.isna(p) else float(f"{p:.{P_DIGITS}g}") for p in table[column]]
    return kept


def _decimals(column: str) -> int:
    return DISTANCE_DECIMALS if column.startswith("median_distance@") else DECIMALS
