"""The comparison with the baseline as people read it: a Markdown table below the board."""

from __future__ import annotations

from typing import Any

import pandas as pd
from tabulate import tabulate

from bench.core.vocabulary import marks
from bench.tables.findings import NOT_COMPARED
from bench.tables.report import bound

HEADERS = (
    "variant", "metric", "baseline", "accuracy", "difference", "p (checkpoint)", "p (variant)", "finding", "audit",
)  # fmt: skip
FEW_SEEDS = 8  # below them the smallest p stands beside p
CAPTION = (
    "Against `baseline`, in points, with 95 % intervals over seeds and images, or over images where there is one seed. "
    "The p are single ones; a finding goes by one of them, and holds at 0.05 after Holm's correction for the table."
)


def comparison_markdown(comparison: pd.DataFrame) -> str:
    """The table and what to know of it; empty where nothing is compared."""
    if comparison.empty:
        return ""
    told_apart = _told_apart(comparison)
    rows = [_cells(row, told_apart) for _, row in comparison.iterrows()]
    table: str = tabulate(rows, headers=HEADERS, tablefmt="pipe", disable_numparse=True)
    return f"{table}\n\n{CAPTION}"


def _told_apart(comparison: pd.DataFrame) -> list[str]:
    """What must stand beside model and variant to tell the rows of one metric apart."""
    names = ["model", "variant"]
    for column in ("dataset", "data_sha", "config_sha"):
        if comparison.duplicated([*names, "metric"]).any() and comparison[column].nunique() > 1:
            names.append(column)
    return names


def _cells(row: pd.Series[Any], names: list[str]) -> list[str]:
    return [
        ":".join(str(row[name]) for name in names),
        row["metric"],
        _accuracy(row["acc_baseline"], row["flags_baseline"], row["metric"]),
        _accuracy(row["acc"], row["flags"], row["metric"]),
        "" if pd.isna(row["diff"]) else f"{row['diff']:+.1f} [{row['diff_lo']:+.1f}, {row['diff_hi']:+.1f}]",
        _p(row["p_checkpoint"]),
        _p_variant(row),
        row["finding"] if row["finding"] != NOT_COMPARED else f"{NOT_COMPARED} ({row['note']})",
        "" if pd.isna(row["audit"]) else row["audit"],
    ]


def _accuracy(value: float, flags: Any, metric: str) -> str:
    names = [] if pd.isna(flags) else flags.split(";")
    if pd.isna(value):
        return marks(names).strip()
    return f"{bound(metric, names)}{value:.1f}{marks(names)}"


def _p(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.2g}"


def _p_variant(row: pd.Series[Any]) -> str:
    if pd.isna(row["p_variant"]) or row["seeds"] >= FEW_SEEDS:
        return _p(row["p_variant"])
    return f"{_p(row['p_variant'])} (≥ {_p(row['p_variant_smallest'])})"
