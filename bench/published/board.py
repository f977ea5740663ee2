"""From a results folder to lines that can be compared or exported."""

from __future__ import annotations

from bench.core.records import RunRecord
from bench.published.lines import Line
from bench.published.ours import our_lines
from bench.store import Store
from bench.tables.board import BoardRow, board_rows, row_names
from bench.tables.outcomes import Outcomes
from bench.tables.references import same_split
from bench.tables.results import all_audits, all_cells, all_diagnoses


def stored_lines(store: Store, run: RunRecord | None = None) -> list[tuple[str, Line]]:
    """Every line with the hash of its test split; of one run alone if it is given, else averaged over seeds."""
    diagnoses, splits, found = all_diagnoses(store), _by_split(stored_rows(store, run)), []
    outcomes, every = Outcomes(store), stored_rows(store)
    for (_, data_sha), named in splits.items():
        names, rows = list(named), list(named.values())
        group = same_split(rows[0], every)
        found += [(data_sha, line) for line in our_lines(rows, names, diagnoses, outcomes, group)]
    return found


def _by_split(rows: list[BoardRow]) -> dict[tuple[str, str], dict[str, BoardRow]]:
    """The rows by what they are called, and these by data set and hash of the test split."""
    splits: dict[tuple[str, str], dict[str, BoardRow]] = {}
    for row, name in zip(rows, row_names(rows), strict=True):
        splits.setdefault((row.run.dataset, row.data_sha), {})[name] = row
    return splits


def stored_rows(store: Store, run: RunRecord | None = None) -> list[BoardRow]:
    """The rows of the board; of one run, one for every test split that it was evaluated on."""
    cells = [(record, cell) for record, cell in all_cells(store) if run is None or record.run_id == run.run_id]
    return board_rows(cells, all_audits(store), all_diagnoses(store))
