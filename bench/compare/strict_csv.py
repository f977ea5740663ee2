"""Tables of published numbers as CSV, read strictly: exactly the columns, no white space, no row twice."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from bench.core.errors import BenchError


class Line(NamedTuple):
    """The cells of one line by column, and where it stands, for errors."""

    place: str
    cells: dict[str, str]


class Form(NamedTuple):
    """Required form of a table."""

    columns: Sequence[str]
    may_be_empty: Collection[str]
    identity: Sequence[str]  # columns in which no two rows may agree: one would be a mistake
    called: str  # what a row that stands there twice is called, by its cells


def parse_table(content: str, form: Form, *, where: str) -> Iterator[Line]:
    """The lines below the header. Raises BenchError, naming ``where`` and the line, for anything else."""
    lines = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        header = next(lines, [])
        _check_header(header, form, where=f"{where}, line 1")
        yield from _lines(lines, header, form, where)
    except csv.Error as error:
        raise BenchError(f"{where}, line {lines.line_num}: not readable as CSV: {error}.") from error


def _check_header(header: Sequence[str], form: Form, *, where: str) -> None:
    wrong = {
        "unknown": [name for name in header if name not in form.columns],
        "missing": [name for name in form.columns if name not in header],
        "repeated": [name for name, count in Counter(header).items() if count > 1],
    }
    for what, names in wrong.items():
        if names:
            allowed = ", ".join(form.columns)
            raise BenchError(f"{where}: {what} column {', '.join(map(repr, names))}; allowed: {allowed}.")


def _lines(lines: Iterator[list[str]], header: Sequence[str], form: Form, where: str) -> Iterator[Line]:
    seen: set[tuple[str, ...]] = set()
    for number, line in enumerate(lines, start=2):  # no field spans lines: _check_cells refuses it
        place = f"{where}, line {number}"
        if len(line) != len(header):
            raise BenchError(f"{place}: {len(line)} fields; the header has {len(header)}.")
        cells = dict(zip(header, line, strict=True))
        identity = tuple(cells[name] for name in form.identity)
        if identity in seen:
            raise BenchError(f"{place}: {form.called.format(**cells)} stands there already.")
        seen.add(identity)
        _check_cells(cells, form, place)
        yield Line(place, cells)


def _check_cells(cells: dict[str, str], form: Form, place: str) -> None:
    for name, cell in cells.items():
        if not cell and name not in form.may_be_empty:
            raise BenchError(f"{place}: {name} is empty; only {', '.join(sorted(form.may_be_empty))} may be.")
        if cell != cell.strip() or "\n" in cell:
            raise BenchError(f"{place}: {name} is {cell!r}; take the white space away.")


def number(cell: str, what: str) -> float:
    """Raises BenchError, beginning with ``what``, unless the cell is a finite number."""
    try:
        found = float(cell)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise BenchError(f"{what} is {cell!r}; give a finite number.")
    return found
