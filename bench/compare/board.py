"""From a results folder to lines that can be compared or exported."""

from __future__ import annotations

from typing import NamedTuple

from bench.compare.own_rows import our_lines
from bench.compare.rows import Line
from bench.core.records import RunRecord
from bench.leaderboard.references import same_split
from bench.leaderboard.rows import BoardRow, board_rows, row_names
from bench.results.outcomes import Outcomes
from bench.results.results_csv import all_audits, all_cells, all_diagnoses
from bench.results.store import Store


class Stored(NamedTuple):
    """The contents of a results folder, read once."""

    rows: list[BoardRow]  # rows to compare or export: all of the board, or those of one run, one per test split
    board: list[BoardRow]  # all rows of the board, among them the references for collapse
    outcomes: Outcomes


def stored_rows(store: Store, run: RunRecord | None = None) -> Stored:
    """Read the rows of the board; with ``run``, also the rows of this run alone, which average over no seeds."""
    cells, audits, diagnoses = all_cells(store), all_audits(store), all_diagnoses(store)
    board = board_rows(cells, audits, diagnoses)
    own = [(record, cell) for record, cell in cells if run is not None and record.run_id == run.run_id]
    return Stored(board if run is None else board_rows(own, audits, diagnoses), board, Outcomes(store, cells))


def stored_lines(store: Store, run: RunRecord | None = None) -> list[tuple[str, Line]]:
    """Return every line with the hash of its test split; only those of ``run`` if it is given, see `stored_rows`."""
    stored, found = stored_rows(store, run), []
    for (_, data_sha), named in _by_split(stored.rows).items():
        names, rows = list(named), list(named.values())
        group = same_split(rows[0], stored.board)
        found += [(data_sha, line) for line in our_lines(rows, names, stored.outcomes, group)]
    return found


def _by_split(rows: list[BoardRow]) -> dict[tuple[str, str], dict[str, BoardRow]]:
    """The rows by what they are called, and these by data set and hash of the test split."""
    splits: dict[tuple[str, str], dict[str, BoardRow]] = {}
    for row, name in zip(rows, row_names(rows), strict=True):
        splits.setdefault((row.run.dataset, row.data_sha), {})[name] = row
    return splits
