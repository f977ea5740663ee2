"""What the authors of latent point collapse published, one number a row.

Sbailo and Ghiringhelli, "Latent Point Collapse Induces an Information Bottleneck", manuscript of 2024 (OpenReview
FwlM1k4ODx), Tables 1 and 2: the revision with marked changes that stands in github luigisbailo/latent_point_collapse at
4ae9823. Their widths, epochs and penalties differ from this project's recipes, even where the names correspond.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from importlib import resources

from bench.core.errors import BenchError

FILE = "lpc_published.csv"


@dataclass(frozen=True)
class PublishedRow:
    """One published number and what is known of how it came about.

    ``value`` and ``std`` are as printed, in ``unit``: accuracies in percent, everything else as a plain number.
    """

    source: str
    table: str
    dataset: str  # cifar10, cifar100 or svhn
    backbone: str  # resnet18 or resnet50
    published_name: str
    variant: str  # this project's name for the same idea; empty where it has none
    metric: str
    value: float
    std: float | None  # over 5 repeats; None where none is recorded
    unit: str
    n_images: str  # in words: text and code may disagree; empty where none is known
    protocol: str
    note: str


COLUMNS = tuple(field.name for field in fields(PublishedRow))
_MAY_BE_EMPTY = {"variant", "std", "n_images", "note"}
_IDENTITY = ("source", "table", "dataset", "backbone", "published_name", "metric")  # two rows alike: one is a mistake


def published_lpc() -> tuple[PublishedRow, ...]:
    """All published rows, in the order of the file."""
    content = resources.files("bench.reference").joinpath(FILE).read_text(encoding="utf-8")
    return parse_published(content, where=FILE)


def parse_published(content: str, *, where: str) -> tuple[PublishedRow, ...]:
    """Read a table with exactly the columns ``COLUMNS``. Raises BenchError, naming ``where`` and the line."""
    lines = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        header = next(lines, [])
        _check_header(header, where=f"{where}, line 1")
        return tuple(_rows(lines, header, where))
    except csv.Error as error:
        raise BenchError(f"{where}, line {lines.line_num}: not readable as CSV: {error}.") from error


def _check_header(header: Sequence[str], *, where: str) -> None:
    wrong = {
        "unknown": [name for name in header if name not in COLUMNS],
        "missing": [name for name in COLUMNS if name not in header],
        "repeated": [name for name, count in Counter(header).items() if count > 1],
    }
    for what, names in wrong.items():
        if names:
            raise BenchError(f"{where}: {what} column {', '.join(map(repr, names))}; allowed: {', '.join(COLUMNS)}.")


def _rows(lines: Iterator[list[str]], header: Sequence[str], where: str) -> Iterator[PublishedRow]:
    seen: set[tuple[str, ...]] = set()
    for number, line in enumerate(lines, start=2):  # no field spans lines: _row refuses it
        place = f"{where}, line {number}"
        if len(line) != len(header):
            raise BenchError(f"{place}: {len(line)} fields; the header has {len(header)}.")
        cells = dict(zip(header, line, strict=True))
        identity = tuple(cells[name] for name in _IDENTITY)
        if identity in seen:
            raise BenchError(f"{place}: {cells['metric']} of {cells['published_name']} stands there already.")
        seen.add(identity)
        yield _row(cells, place)


def _row(cells: dict[str, str], place: str) -> PublishedRow:
    for name, cell in cells.items():
        if not cell and name not in _MAY_BE_EMPTY:
            raise BenchError(f"{place}: {name} is empty; only {', '.join(sorted(_MAY_BE_EMPTY))} may be.")
        if cell != cell.strip() or "\n" in cell:
            raise BenchError(f"{place}: {name} is {cell!r}; take the white space away.")
    texts = {name: cell for name, cell in cells.items() if name not in ("value", "std")}
    std = _number(cells["std"], f"{place}: std") if cells["std"] else None
    if std is not None and std < 0:
        raise BenchError(f"{place}: std is {cells['std']}; it cannot be negative.")
    return PublishedRow(**texts, value=_number(cells["value"], f"{place}: value"), std=std)


def _number(cell: str, what: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BenchError(f"{what} is {cell!r}; give a finite number.")
    return number
