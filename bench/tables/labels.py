"""Labels beside the numbers and figures of one run: chance level, collapse, and the lowest known accuracy."""

from __future__ import annotations

from bench.core.records import RunRecord
from bench.store import Store
from bench.tables.board import board_rows
from bench.tables.collapse import row_collapse
from bench.tables.lowest import budgets_of, lowest_known
from bench.tables.outcomes import Outcomes
from bench.tables.results import all_audits, all_cells, all_diagnoses


def labels_of(run: RunRecord, store: Store) -> dict[str, str]:
    """``chance`` and ``collapse`` of one run, where there is anything to say; several test splits are told apart."""
    cells, diagnoses = all_cells(store), all_diagnoses(store)
    rows = board_rows(cells, diagnoses=diagnoses)
    own = board_rows([(r, cell) for r, cell in cells if r.run_id == run.run_id], diagnoses=diagnoses)
    found: dict[str, str] = {}
    for row in own:
        where = f" ({row.data_sha[:12]})" if len(own) > 1 else ""
        if row.chance():
            found[f"chance{where}"] = f"clean accuracy {row.chance()}"
        group = [r for r in rows if (r.run.dataset, r.data_sha) == (row.run.dataset, row.data_sha)]
        status = row_collapse(row, group)
        if status is not None:
            found[f"collapse{where}"] = status.text
    return found


def lowest_of(run: RunRecord, store: Store) -> list[tuple[str, str]]:
    """The lowest known robust accuracy of one run at every budget, and what it rests on."""
    cells = [(r, cell) for r, cell in all_cells(store) if r.run_id == run.run_id]
    rows, outcomes, found = board_rows(cells, all_audits(store)), Outcomes(store), []
    for row in rows:
        for budget in budgets_of([row]):
            lowest = lowest_known(row, budget, outcomes)
            if lowest is not None:
                seen = "" if lowest.n_audited is None else f", {lowest.n_audited} of them seen by the audit"
                by = lowest.broken_by()
                text = f"{lowest.percent:.1f} % of {len(lowest.ids)} images{seen}" + (f"; broken by {by}" if by else "")
                found.append((budget.column.replace("robust_acc_lowest", "lowest known"), text))
    return found
