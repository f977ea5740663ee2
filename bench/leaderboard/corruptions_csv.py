"""Read and write corruptions.csv: accuracies under corruptions in the format of RobustBench.

The format is the format of unaggregated_results.csv: two header lines with kinds and severities, and one line per
model. There is no line with the name of the index. Missing accuracies are empty.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.core.errors import BenchError
from bench.core.inert import csv_cell, from_csv
from bench.core.limits import TABLE
from bench.core.number_text import parse_number
from bench.leaderboard.corruption_cells import all_accuracies
from bench.leaderboard.corruption_scores import Accuracies
from bench.leaderboard.rows import BoardRow, row_names
from bench.runtime.input_files import read_input

SEVERITIES = (1, 2, 3, 4, 5)

Column = tuple[str, int]


def corruptions_table(rows: Mapping[str, Accuracies], kinds: Sequence[str]) -> pd.DataFrame:
    """Return the accuracies as fractions, with one row per name and columns (kind, severity as text).

    The columns are in the order of ``kinds``. Missing accuracies are NaN. Cells of other kinds are ignored. Raises
    ValueError for a row without any cell, because pandas would read its line as the name of the index. Also raises
    ValueError for a severity or accuracy that :func:`read_corruptions` rejects.
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
    """Format a :func:`corruptions_table` as CSV with all digits, and texts as by :func:`bench.core.inert.csv_cell`."""
    texts = frame.rename(index=csv_cell, columns=csv_cell)
    return texts.to_csv(lineterminator="\n").encode()


def read_corruptions(path: Path) -> dict[str, Accuracies]:
    """Read a file written by :func:`to_csv` or by RobustBench, and return the accuracies by row name.

    Raises BenchError, with the path, for an invalid file.
    """
    try:
        text = read_input(path, TABLE).decode("utf-8-sig")
    except UnicodeDecodeError as error:
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
            f"{where} does not begin with a line of kinds and a line of severities, such as ',snow,snow' and ',1,2'."
        )
    columns: list[Column] = []
    for kind, severity in zip(kinds[1:], severities[1:], strict=True):
        if not kind or severity not in known:
            raise BenchError(
                f"{where}: a column has the header {kind!r}, {severity!r}; give a kind and a severity from 1 to 5."
            )
        if (kind, known[severity]) in columns:
            raise BenchError(f"{where}: {kind} has two columns of severity {severity}; remove one of them.")
        columns.append((from_csv(kind), known[severity]))
    return columns


def _rows(lines: Iterator[list[str]], columns: Sequence[Column], *, where: str) -> Iterator[tuple[str, Accuracies]]:
    names: set[str] = set()
    for line in lines:
        if len(line) != len(columns) + 1 or not line[0] or not any(line[1:]):
            first = line[0] if line else ""
            raise BenchError(
                f"{where}: the row {first!r} must have a name, {len(columns)} fields and a number in at least one."
            )
        name, *cells = from_csv(line[0]), *line[1:]
        if name in names:
            raise BenchError(f"{where} has two rows {name!r}; remove one of them.")
        names.add(name)
        fields = zip(columns, cells, strict=True)
        yield name, {column: _fraction(cell, column, f"{where}, row {name!r}") for column, cell in fields if cell}


def _fraction(cell: str, column: Column, where: str) -> float:
    try:
        value = parse_number(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise BenchError(f"{where}: {cell!r} under {column[0]} of severity {column[1]} is not a fraction from 0 to 1.")
    return value


def corruptions_csv(rows: Sequence[BoardRow]) -> bytes | None:
    """Return corruptions.csv with one row per trained model; None without any corruption.

    The name of a row is ``model:variant:seed``, extended if needed to be unique, see :func:`row_names`. As on the
    leaderboard, one set of corrupted images is selected if a row was evaluated on several sets.
    """
    by_name: dict[str, Accuracies] = {}
    for row, name in zip(rows, row_names(rows), strict=True):
        for seed in sorted(row.seeds):
            accuracies = all_accuracies(row, seed)
            if accuracies:
                by_name[f"{name}:{seed}"] = accuracies
    kinds = {kind for accuracies in by_name.values() for kind, _ in accuracies}
    return to_csv(corruptions_table(by_name, sorted(kinds))) if by_name else None
