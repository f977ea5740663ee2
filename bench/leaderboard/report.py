"""Format the leaderboard with rounded numbers, as a Markdown table or as JSON records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd
from tabulate import tabulate

from bench.core.columns import (
    CORRUPTIONS_ACC,
    DECIMALS,
    DISTANCE_DECIMALS,
    LOWEST,
    METRIC_SUFFIXES,
    NOT_OK,
    P_DIGITS,
    RATIO_COLUMNS,
)
from bench.core.inert import markdown
from bench.core.vocabulary import CLEAN, marks
from bench.leaderboard.registry import Unit
from bench.results.audit_verdict import FAILED
from bench.results.chance_level import CHANCE

Units = Mapping[str, Unit]  # unit by column, for the columns of registered metrics
NO_UNITS: Units = MappingProxyType({})


def rounded(table: pd.DataFrame, units: Units = NO_UNITS) -> pd.DataFrame:
    """Round percentages and points to 2 decimals, distances to 5 decimals, p-values and ratios to 4 significant digits.

    ``units`` contains the units of the columns of registered metrics.
    """
    ratios = [column for column in table.columns if _is_ratio(column, units.get(column))]
    result = table.round({c: _decimals(units.get(c)) for c in table.columns if c not in ratios})
    for column in ratios:
        result[column] = [_round_ratio(value) for value in table[column]]
    return result


def _is_ratio(column: str, unit: Unit | None) -> bool:
    return column.startswith("p_") or column in RATIO_COLUMNS if unit is None else unit == "ratio"


def _decimals(unit: Unit | None) -> int:
    return DISTANCE_DECIMALS if unit == "distance" else DECIMALS


def _round_ratio(value: Any) -> Any:
    """Return a number with ``P_DIGITS`` significant digits, and a text unchanged. Return None for a missing value."""
    return None if pd.isna(value) else value if isinstance(value, str) else float(f"{value:.{P_DIGITS}g}")


ERRORS = ("mce",)  # columns with errors, in percent of the error of the reference
SHOWN = ("rank", "dataset", "model", "variant", "config_sha", "seeds")


def accuracies_of(board: pd.DataFrame) -> list[str]:
    """Return the accuracy columns, without METRIC_SUFFIXES columns. Every accuracy has all METRIC_SUFFIXES columns."""
    names = set(board.columns)
    return [column for column in board.columns if all(column + suffix in names for suffix in METRIC_SUFFIXES)]


def board_markdown(board: pd.DataFrame) -> str:
    """Return the leaderboard as a Markdown table.

    A metric is shown in percent with its 95 % interval, its difference from the reference in points, and its flags. If
    cells of the metric were evaluated but it has no value, "failed" or "no mean" is shown.
    """
    accuracies, errors = accuracies_of(board), [column for column in ERRORS if column in board]
    shown = [*SHOWN, *(["audit"] if _any_audit_failed(board) else []), *(["status"] if _any_at_chance(board) else [])]
    shown += ["collapse"] if board["collapse"].notna().any() else []
    shown += ["leaked"] if (board["leaked"].fillna(0) > 0).any() else []
    lowest = [c for c in map(str, board.columns) if c.startswith(f"{LOWEST}@") and f"{c}_n" in board]
    errors = [*lowest, *errors]
    rows = [
        [markdown(_plain(row[c])) for c in shown]
        + [_metric(row, m) for m in accuracies]
        + [_error(row[e]) for e in errors]
        for _, row in board.iterrows()
    ]
    headers = [*shown, *(_header(board, m) for m in accuracies)]
    headers += [_header(board, e).replace(LOWEST, "lowest known") if e in lowest else e for e in errors]
    table: str = tabulate(rows, headers=list(map(markdown, headers)), tablefmt="pipe", disable_numparse=True)
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
        evaluated = not pd.isna(row[f"{metric}_n"])
        return ("failed" if NOT_OK in row["status"] else "no mean") if evaluated else ""
    flags = [] if pd.isna(row[f"{metric}_flags"]) else row[f"{metric}_flags"].split(";")
    text = f"{bound(metric, flags)}{value:.1f} [{row[f'{metric}_lo']:.1f}, {row[f'{metric}_hi']:.1f}]"
    text = text if pd.isna(difference) else f"{text} {difference:+.1f}"
    return text + markdown(marks(flags))


def bound(metric: str, flags: Sequence[str]) -> str:
    """Return the prefix "≤ " for a flagged accuracy under attack, because it is only an upper bound; otherwise ""."""
    return "≤ " if flags and metric not in (CLEAN, CORRUPTIONS_ACC) else ""


def _error(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.1f}"


def _plain(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def records(table: pd.DataFrame, units: Units = NO_UNITS) -> list[dict[str, Any]]:
    """Return the rows as JSON records, rounded as in the CSV file; missing values are None."""
    rows = rounded(table, units).to_dict("records")
    return [{str(key): None if pd.isna(v) else v for key, v in row.items()} for row in rows]
