"""Compare the tables and the per-image outcomes of two results folders, column by column.

Rows are matched by their keys, so that their order does not matter. Every column belongs to one class:

- ``time``: times and durations; they always differ.
- ``setting``: batch size, threads and cost in passes; they may differ if the setting differs.
- ``rounding``: measured floating-point numbers; they may differ by rounding, at most by a relative :data:`ROUNDING`.
- ``verdict``: everything else (predictions, accuracies, counts, statuses, flags, hashes); it must never differ.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.core import columns

Kind = Literal["verdict", "rounding", "setting", "time"]
Row = Mapping[str, str]
Key = tuple[str, ...]

TABLES = ("results.csv", "leaderboard.csv", "comparison.csv", "corruptions.csv")
OUTCOMES = "outcomes of images"
ROUNDING = 1e-3
TIMES = {*columns.TIME_COLUMNS, "audit_time_s"}
#: A given batch size is part of the cell's identity, ``hardware`` names the number of threads, and ``git_sha`` the
#: state of the checkout. An attack that queries ahead discards more queries in larger batches.
SETTINGS = {"batch_size", "cell_id", "git_sha", "hardware", "n_forwards", "n_backwards", "audit_passes", "stages"}
ROUNDED = {
    "distance",
    "max_distance",
    *columns.DIAGNOSTIC_COLUMNS,
    *columns.AUDIT_FIGURES,
}
KEYS = (
    *("sample_id", "run_id", "dataset", "model", "variant", "seed"),
    *("attack", "norm", "eps", "corruption", "severity", "protocol"),
)


@dataclass(frozen=True)
class Difference:
    """How a column differs: number of rows, and the largest relative difference (infinite for texts)."""

    rows: int
    relative: float


def kind_of(column: str) -> Kind:
    """Return the class of a column, by its name without suffixes such as ``_std``."""
    stem = column.partition("@")[0]
    for suffix in ("_std", "_lo", "_hi", "_sd", "_mean", *columns.INTERVAL_SUFFIXES):
        stem = stem.removesuffix(suffix)
    if column in TIMES or stem in TIMES:
        return "time"
    if column in SETTINGS or stem in SETTINGS:
        return "setting"
    return "rounding" if {column, stem} & ROUNDED else "verdict"


def read_folder(folder: Path) -> dict[str, dict[Key, Row]]:
    """Return the rows of every table of a results folder, and of all per-image outcomes, by their keys."""
    tables = {name: _by_key(_rows(folder / name)) for name in TABLES if (folder / name).exists()}
    cells = {row["cell_id"]: row for row in tables["results.csv"].values()}
    outcomes = (
        {**{name: cells[path.name.partition(".")[0]][name] for name in KEYS[1:]}, **row}
        for path in sorted(folder.rglob("*.samples.csv"))
        for row in _rows(path)
    )
    return {**tables, OUTCOMES: _by_key(outcomes)}


def differences(before: Path, after: Path) -> dict[tuple[str, str], Difference]:
    """Return the columns that differ, by table and column. A missing table, row or column counts as a difference."""
    old, new = read_folder(before), read_folder(after)
    found = {}
    for table in sorted({*old, *new}):
        rows, other = old.get(table, {}), new.get(table, {})
        if missing := len(rows.keys() ^ other.keys()):
            found[table, "rows"] = Difference(missing, float("inf"))
        for column in _columns({**rows, **other}):
            pairs = [(rows[key].get(column), other[key].get(column)) for key in rows.keys() & other.keys()]
            relative = [_relative(*pair) for pair in pairs if pair[0] != pair[1]]
            if relative:
                found[table, column] = Difference(len(relative), max(relative))
    return found


def all_columns(folder: Path) -> list[tuple[str, str]]:
    """Return every table and column of a results folder."""
    return [(table, column) for table, rows in read_folder(folder).items() for column in _columns(rows)]


def breaks_promise(column: str, difference: Difference) -> bool:
    """Return whether a column of this class must not differ in this way."""
    kind = kind_of(column)
    return kind == "verdict" or (kind == "rounding" and not difference.relative <= ROUNDING)


def _rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a table. The two header rows of corruptions.csv become one."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    if path.name == "corruptions.csv":
        second, *rows = rows
        header = [f"{above}/{below}" if below else above for above, below in zip(header, second, strict=True)]
    for row in rows:
        yield dict(zip(header, row, strict=True))


def _by_key(rows: Iterator[Row]) -> dict[Key, Row]:
    """Return the rows by the values of their key columns, and by a number if several rows have the same."""
    seen: Counter[Key] = Counter()
    found = {}
    for row in rows:
        key = tuple(row.get(name, "") for name in KEYS)
        seen[key] += 1
        found[(*key, str(seen[key]))] = row
    return found


def _columns(rows: Mapping[Key, Row]) -> list[str]:
    return list(dict.fromkeys(column for row in rows.values() for column in row))


def _relative(before: str | None, after: str | None) -> float:
    """Return the relative difference of two numbers; infinite if one of them is no number."""
    try:
        first, second = float(before or ""), float(after or "")
    except ValueError:
        return float("inf")
    largest = max(abs(first), abs(second))
    return abs(first - second) / largest if largest else 0.0
