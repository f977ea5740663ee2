"""Format tables as Markdown, CSV, HTML, LaTeX and JSON records.

In Markdown, HTML and LaTeX, reasons shared by several incomparable rows are listed once, above the table. In CSV and
JSON, the reasons are repeated in each row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import pandas as pd
from tabulate import tabulate

from bench.compare.rows import DEEPFOOL
from bench.compare.tables import RankedRow, Table
from bench.core.columns import COMPARE_COLUMNS, DECIMALS
from bench.core.inert import html_text, latex, markdown
from bench.core.vocabulary import marks
from bench.results.results_csv import to_csv

SHOWN: Final = ("rank", "model", "clean", "robust", "n", "architecture", "source", "note")
RATIO_DECIMALS: Final = 3


def records(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Return one flat record per row, with the keys ``COMPARE_COLUMNS``. Missing values are None."""
    rows = [{"table": table.title, **_record(placed)} for table in tables for placed in table.placed]
    return [{column: row[column] for column in COMPARE_COLUMNS} for row in rows]


def _record(placed: RankedRow) -> dict[str, Any]:
    line = placed.line
    return {
        "rank": placed.rank,
        "model": line.model,
        "published": line.published,
        "clean": None if line.clean is None else round(line.clean, DECIMALS),
        "bound": line.bound,
        "robust": None if line.robust is None else round(line.robust, _decimals(placed)),
        "flags": ";".join(line.flags),
        "n": line.protocol.n,
        "collapse": line.collapse or None,
        "leaked": line.leaked,
        "architecture": line.architecture,
        "source": line.source,
        "comparable": not placed.reasons,
        "note": placed.note,
    }


def _decimals(placed: RankedRow) -> int:
    return RATIO_DECIMALS if placed.line.protocol.measure == DEEPFOOL else DECIMALS


def _shared(table: Table) -> dict[tuple[str, ...], str]:
    """Return a number such as "(1)" for each combination of reasons; empty if all combinations are different."""
    counts = Counter(placed.reasons for placed in table.placed if placed.reasons)
    has_repeated = any(rows > 1 for rows in counts.values())
    return {reasons: f"({number})" for number, reasons in enumerate(counts, 1)} if has_repeated else {}


def _summary(table: Table) -> str:
    return " ".join([table.summary, *(f"{number} {'; '.join(why)}." for why, number in _shared(table).items())])


def _note(placed: RankedRow, numbers: Mapping[tuple[str, ...], str]) -> str:
    if placed.reasons not in numbers:
        return placed.note
    return ". ".join([f"not comparable {numbers[placed.reasons]}", *placed.notes])


def _cells(placed: RankedRow, numbers: Mapping[tuple[str, ...], str]) -> list[str]:
    """Format the columns ``SHOWN`` of one row."""
    line = placed.line
    robust = "" if line.robust is None else f"{line.robust:.{_decimals(placed)}f}"
    return [
        "" if placed.rank is None else str(placed.rank),
        line.model,
        "" if line.clean is None else f"{line.clean:.{DECIMALS}f}",
        f"{line.bound} {robust}{marks(line.flags)}".strip(),
        "" if line.protocol.n is None else str(line.protocol.n),
        line.architecture,
        f"published: {line.source}" if line.published else line.source,
        _note(placed, numbers),
    ]


def as_markdown(tables: Sequence[Table]) -> str:
    """Return the tables as Markdown, each with a heading and a summary."""
    parts = []
    for table in tables:
        heading = f"### {markdown(table.title)}\n\n{markdown(_summary(table))}"
        parts.append(f"{heading}\n\n{_grid(table, 'pipe', markdown)}")
    return "\n\n".join(parts) + "\n"


def as_html(tables: Sequence[Table]) -> str:
    """Return the tables as an HTML fragment, each with a heading and a summary."""
    parts = []
    for table in tables:
        heading = f"<h3>{html_text(table.title)}</h3>\n<p>{html_text(_summary(table))}</p>"
        parts.append(f"{heading}\n{_grid(table, 'unsafehtml', html_text)}")
    return "\n".join(parts) + "\n"


def as_latex(tables: Sequence[Table]) -> str:
    """Return the tables as LaTeX without extra packages, each with title and summary as text above a tabular."""
    parts = []
    for table in tables:
        heading = rf"\paragraph{{{latex(table.title)}}} {latex(_summary(table))}"
        parts.append(f"{heading}\n\n{_grid(table, 'latex_raw', latex)}")
    return "\n\n".join(parts) + "\n"


def _grid(table: Table, form: str, escape: Callable[[str], str]) -> str:
    numbers = _shared(table)
    rows = [[escape(cell) for cell in _cells(placed, numbers)] for placed in table.placed]
    text: str = tabulate(rows, headers=SHOWN, tablefmt=form, disable_numparse=True)
    return text


def as_csv(tables: Sequence[Table]) -> str:
    """Return all tables as one CSV file; the first column is the title of the table."""
    frame = pd.DataFrame(records(tables)).astype(dict.fromkeys(("rank", "n", "leaked"), "Int64"))
    return to_csv(frame).decode()


FORMATS: Final[Mapping[str, Callable[[Sequence[Table]], str]]] = MappingProxyType(
    {"markdown": as_markdown, "csv": as_csv, "html": as_html, "latex": as_latex}
)
