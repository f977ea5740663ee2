"""Hand-made rows to compare, and what is expected of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from scipy import stats

from bench.leaderboard.write_tables import write_tables
from bench.results.store import Store

Verdicts = list[bool]


def verdicts(right: int, wrong: int) -> Verdicts:
    return [True] * right + [False] * wrong


def compared(store: Store) -> pd.DataFrame:
    return write_tables(store).comparison.set_index("metric")


def seeds_of(lost_gained: Mapping[int, tuple[int, int]], n: int = 40) -> dict[tuple[str, int], dict[str, Verdicts]]:
    """Clean cells of both variants; the baseline has the first half right."""
    cells = {}
    for seed, (n_regressed, n_improved) in lost_gained.items():
        half = n // 2
        cells["baseline", seed] = {"clean": verdicts(half, half)}
        cells["lpc", seed] = {
            "clean": [False] * n_regressed + [True] * (half - n_regressed + n_improved) + [False] * (half - n_improved)
        }
    return cells


def effect(n: int, alpha: float = 0.05) -> float:
    """Cohen's d of power 0.8, by bisection of the noncentral t."""
    critical, low, high = stats.t.ppf(1 - alpha / 2, n - 1), 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        power = stats.nct.sf(critical, n - 1, middle * math.sqrt(n))
        low, high = (middle, high) if power < 0.8 else (low, middle)
    return low
