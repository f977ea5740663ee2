"""Sampling of the images of a cell: numbers on samples of different kinds estimate different quantities.

Version 1 of the sampling drew equally many images per class. On an unbalanced split its accuracy does not estimate that
of the split, and must not be averaged, compared or ranked with others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.core.records import EvalRecord
from bench.leaderboard.rows import BoardRow
from bench.results.outcomes import Outcomes

EQUAL_PER_CLASS = "equally many images per class"


def is_outdated(cell: EvalRecord, outcomes: Outcomes) -> bool:
    """Whether the cell has a limited number of images that the present sampling would not draw."""
    return cell.spec.limit is not None and cell.spec.sampling < outcomes.sampling(cell.spec.data_sha)


def subset_of(cells: Iterable[EvalRecord], outcomes: Outcomes) -> str:
    """Return ``EQUAL_PER_CLASS`` if any cell is on an outdated sample; empty otherwise."""
    return EQUAL_PER_CLASS if any(is_outdated(cell, outcomes) for cell in cells) else ""


def drawn_alike(row: BoardRow, columns: Sequence[str], outcomes: Outcomes) -> list[str]:
    """Return the columns without those on outdated samples; all of them if there are no others."""
    outdated = set(outdated_columns(row, outcomes))
    return [column for column in columns if column not in outdated] or list(columns)


def outdated_columns(row: BoardRow, outcomes: Outcomes) -> list[str]:
    """Return the columns with a cell on an outdated sample on the board."""
    return [column for column, cells in row.cells.items() if subset_of(cells.values(), outcomes)]
