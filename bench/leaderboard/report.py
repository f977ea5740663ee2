"""Format the leaderboard with rounded numbers, as a Markdown table or as JSON records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from bench.core.columns import CORRUPTIONS_ACC, DECIMALS, DISTANCE_DECIMALS, LOWEST, NOT_OK, P_DIGITS, RATIO_COLUMNS
from bench.core.vocabulary import CLEAN, marks
from bench.leaderboard.registry import unit_of
from bench.results.audit_verdict import FAILED
from bench.results.chance_level import CHANCE


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Round percentages and points to 2 decimals, distances to 5, p-values and ratios to 4 digits."""
    by_digits = [column for column in table.columns if _is_ratio(column)]
    result = table.round({column: _decimals(column) for column in table.columns if column not in by_digits})
    for column in by_digits:
        result[column] = [None if pd.isna(p) else float(f"{p:.{P_DIGITS}g}") for p in table[column]]
    return result


def _is_ratio(column: str) -> bool:
    return column.startswith("p_") or column in RATIO_COLUMNS or unit_of(column) == "ratio"


def _decimals(column: str) -> int:
    return DISTANCE_DECIMALS if unit_of(column) == "distance" else DECIMALS


ERRORS = ("mce",)  # columns of errors in percent of the error of the reference
SHOWN = ("rank", "dataset", "model", "variant", "config_sha", "seeds")


def accuracies_of(board: pd.DataFrame) -> list[str]:
    """Return the accuracy columns, without METRIC_SUFFIXES columns."""
    return [column for column in board.columns if f"{column}_diff" in board.columns]


def board_markdown(board: pd.DataFrame) -> str:
    """Return the leaderboard as a Markdown table.

    A metric is shown in percent with its 95 % interval, its difference from the reference in points, and its flags. If
    the metric was run without a result, "failed" or "no mean" is shown.
    """
    accuracies, errors = accuracies_of(board), [column for column in ERRORS if column in board]
    shown = [*SHOWN, *(["audit"] if _any_audit_failed(board) else []), *(["status"] if _any_at_chance(board) else [])]
    shown += ["collapse"] if board["collapse"].notna().any() else []
    shown += ["leaked"] if (board["leaked"].fillna(0) > 0).any() else []
    lowest = [c for c in map(str, board.columns) if c.startswith(f"{LOWEST}@") and f"{c}_n" in board]
    errors = [*lowest, *errors]
    rows = [
        [_plain(row[c]) for c in shown] + [_metric(row, m) for m in accuracies] + [_error(row[e]) for e in errors]
        for _, row in board.iterrows()
    ]
    headers = [*shown, *(_header(board, m) for m in accuracies)]
    headers += [_header(board, e).replace(LOWEST, "lowest known") if e in lowest else e for e in errors]
    table: str = tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True)
    return table


def _any_audit_failed(board: pd.DataFrame) -> bool:
    """Check whether any audit failed. The audit column is then shown, to explain the missing rank."""
    return any(FAILED in str(audit).split(";") for audit in board["audit"])


def _any_at_chance(board: pd.DataFrame) -> bool:
    """Check whether any row is at chance level. The status column is then shown, to explain the missing rank."""
    return any(CHANCE in str(status) for status in board["status"])


def _header(board: pd.DataFrame, metric: str) -> str:
    counts = sorted({int(n) for n in board[f"{metric}_n"].dropna()} - {0})
    return metric if not counts else f"{metric} n={'/'.join(map(str, counts))}"


def _metric(row: pd.Series[Any], metric: str) -> str:
    value, difference = row[metric], row[f"{metric}_diff"]
    if pd.isna(value):
        was_run = not pd.isna(row[f"{metric}_n"])
        return ("failed" if NOT_OK in row["status"] else "no mean") if was_run else ""
    flags = [] if pd.isna(row[f"{metric}_flags"]) else row[f"{metric}_flags"].split(";")
    text = f"{bound(metric, flags)}{value:.1f} [{row[f'{metric}_lo']:.1f}, {row[f'{metric}_hi']:.1f}]"
    text = text if pd.isna(difference) else f"{text} {difference:+.1f}"
    return text + marks(flags)


def bound(metric: str, flags: Sequence[str]) -> str:
    """Return the prefix "≤ " for a flagged accuracy under attack, which is only an upper bound; otherwise ""."""
    return "≤ " if flags and metric not in (CLEAN, CORRUPTIONS_ACC) else ""


def _error(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.1f}"


def _plain(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as JSON records, rounded as in the CSV file; missing values are None."""
    rows = rounded(table).to_dict("records")
    return [{str(key): None if pd.isna(v) else v for key, v in row.items()} for row in rows]
