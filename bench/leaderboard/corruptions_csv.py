"""Accuracies under corruptions as a table in the form of RobustBench's unaggregated_results.csv.

Two header lines, kinds above severities, then one line a model, without a line for the name of the index. What is
missing is empty.

corruptions.csv: every trained model's accuracies under corruptions, in RobustBench's form.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.core.errors import BenchError
from bench.leaderboard.corruption_cells import all_accuracies
from bench.leaderboard.corruption_scores import Accuracies
from bench.leaderboard.rows import BoardRow, row_names

SEVERITIES = (1, 2, 3, 4, 5)

Column = tuple[str, int]


def corruptions_table(rows: Mapping[str, Accuracies], kinds: Sequence[str]) -> pd.DataFrame:
    """Fractions: one row a name, columns (kind, severity as text) in the order of ``kinds``, NaN where missing.

    Cells of other kinds are left out. Raises ValueError for a row of which nothing is left: pandas would take its
    line for the name of the index. Also for a severity or an accuracy that :func:`read_corruptions` would refuse.
    """
    for name, acc in rows.items():
        if not any(kind in kinds for kind, _ in acc):
            raise ValueError(f"{name} has no accuracy under any of {', '.join(kinds)}")
        for (kind, severity), value in acc.items():
            if severity not in SEVERITIES or not 0 <= value <= 1:
                raise ValueError(f"{name}: {value} under {kind} of severity {severity}")
    cells = [[acc.get((kind, s), math.nan) for kind in kinds for s in SEVERITIES] for acc in rows.values()]
    columns = pd.MultiIndex.from_product([list(kinds), [str(s) for s in SEVERITIES]])
    return pd.DataFrame(cells, index=pd.Index(list(rows), dtype=object), columns=columns, dtype="float64")


def to_csv(frame: pd.DataFrame) -> bytes:
    """The file of a :func:`corruptions_table`, to the last digit."""
    return frame.to_csv(lineterminator="\n").encode()


def read_corruptions(path: Path) -> dict[str, Accuracies]:
    """Read what :func:`to_csv` wrote, or RobustBench's file, by the names of the rows.

    Raises BenchError, naming the file, for anything else.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path} is not readable: {error}.") from error
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = _columns(next(lines, []), next(lines, []), where=str(path))
        return dict(_rows(lines, columns, where=str(path)))
    except csv.Error as error:
        raise BenchError(f"{path}, line {lines.line_num}, is not readable as CSV: {error}.") from error


def _columns(kinds: Sequence[str], severities: Sequence[str], *, where: str) -> list[Column]:
    known = {str(severity): severity for severity in SEVERITIES}
    if kinds[:1] != [""] or severities[:1] != [""] or len(kinds) != len(severities) or len(kinds) < 2:
        raise BenchError(
            f"{where} does not begin with a line of kinds and one of severities, as ',snow,snow' and ',1,2'."
        )
    columns: list[Column] = []
    for kind, severity in zip(kinds[1:], severities[1:], strict=True):
        if not kind or severity not in known:
            raise BenchError(
                f"{where}: a column is headed {kind!r}, {severity!r}; give a kind and a severity of 1 to 5."
            )
        if (kind, known[severity]) in columns:
            raise BenchError(f"{where}: {kind} has two columns of severity {severity}; leave one of them.")
        columns.append((kind, known[severity]))
    return columns


def _rows(lines: Iterator[list[str]], columns: Sequence[Column], *, where: str) -> Iterator[tuple[str, Accuracies]]:
    seen: set[str] = set()
    for line in lines:
        if len(line) != len(columns) + 1 or not line[0] or not any(line[1:]):
            first = line[0] if line else ""
            raise BenchError(f"{where}: the row {first!r} must have a name, {len(columns)} fields and a number in one.")
        name, *cells = line
        if name in seen:
            raise BenchError(f"{where} has two rows {name!r}; leave one of them.")
        seen.add(name)
        places = zip(columns, cells, strict=True)
        yield name, {column: _fraction(cell, column, f"{where}, row {name!r}") for column, cell in places if cell}


def _fraction(cell: str, column: Column, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise BenchError(f"{where}: {cell!r} under {column[0]} of severity {column[1]} is no fraction from 0 to 1.")
    return value


def corruptions_csv(rows: Sequence[BoardRow]) -> bytes | None:
    """corruptions.csv: accuracies of every trained model, one row each; None without any corruption.

    A row is called ``model:variant:seed``, and what else tells it from others stands before and after the variant. Its
    cells are those of the board: of a row that was evaluated on several sets of images one set counts.
    """
    found: dict[str, Accuracies] = {}
    for row, name in zip(rows, row_names(rows), strict=True):
        for seed in sorted(row.seeds):
            accuracies = all_accuracies(row, seed)
            if accuracies:
                found[f"{name}:{seed}"] = accuracies
    kinds = {kind for accuracies in found.values() for kind, _ in accuracies}
    return to_csv(corruptions_table(found, sorted(kinds))) if found else None
