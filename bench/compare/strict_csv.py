"""Strict parser for CSV tables of published numbers: exact columns, no white space, no duplicate rows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from bench.core.errors import BenchError
from bench.core.number_text import parse_number, quoted


class Line(NamedTuple):
    """Cells of one line by column, and its place (file name and line number) for error messages."""

    place: str
    cells: dict[str, str]


class Form(NamedTuple):
    """Required form of a table."""

    columns: Sequence[str]
    may_be_empty: Collection[str]
    identity: Sequence[str]  # columns that identify a row; rows with equal values in them are an error
    called: str  # format string of a row's name in error messages; its fields are the columns


def parse_table(content: str, form: Form, *, where: str) -> Iterator[Line]:
    """Yield the lines below the header. Raises BenchError with ``where`` and the line number if a line is invalid."""
    lines = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        header = next(lines, [])
        _check_header(header, form, where=f"{where}, line 1")
        yield from _lines(lines, header, form, where)
    except csv.Error as error:
        raise BenchError(f"{where}, line {lines.line_num}: not readable as CSV: {error}.") from error


def _check_header(header: Sequence[str], form: Form, *, where: str) -> None:
    errors = {
        "unknown": [name for name in header if name not in form.columns],
        "missing": [name for name in form.columns if name not in header],
        "repeated": [name for name, count in Counter(header).items() if count > 1],
    }
    for kind, names in errors.items():
        if names:
            allowed = ", ".join(form.columns)
            raise BenchError(f"{where}: {kind} column {', '.join(map(repr, names))}; the columns must be: {allowed}.")


def _lines(lines: Iterator[list[str]], header: Sequence[str], form: Form, where: str) -> Iterator[Line]:
    identities: set[tuple[str, ...]] = set()
    for number, line in enumerate(lines, start=2):  # _check_cells rejects fields that span several lines
        place = f"{where}, line {number}"
        if len(line) != len(header):
            raise BenchError(f"{place}: {len(line)} fields, but the header has {len(header)}; make them equal.")
        cells = dict(zip(header, line, strict=True))
        identity = tuple(cells[name] for name in form.identity)
        if identity in identities:
            raise BenchError(f"{place}: {form.called.format(**cells)} is a duplicate row; remove one of them.")
        identities.add(identity)
        _check_cells(cells, form, place)
        yield Line(place, cells)


def _check_cells(cells: dict[str, str], form: Form, place: str) -> None:
    for name, cell in cells.items():
        if not cell and name not in form.may_be_empty:
            raise BenchError(f"{place}: {name} is empty; only {', '.join(sorted(form.may_be_empty))} may be.")
        if cell != cell.strip() or "\n" in cell:
            raise BenchError(f"{place}: {name} is {cell!r}; remove the white space.")


def number(cell: str, prefix: str) -> float:
    """Parse a number. Raises BenchError unless ``cell`` is a finite number. The message begins with ``prefix``."""
    try:
        return parse_number(cell)
    except ValueError:
        raise BenchError(f"{prefix} is {quoted(cell)}; give a finite number such as 12.5, in digits 0-9.") from None
