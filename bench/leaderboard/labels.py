"""Texts on one run for reports and figures: chance level, collapse status and lowest known robust accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.columns import LOWEST
from bench.core.records import EvalRecord, RunRecord
from bench.leaderboard.collapse import row_collapse
from bench.leaderboard.lowest_known import budgets_of, lowest_known
from bench.leaderboard.references import same_split
from bench.leaderboard.rows import board_rows
from bench.results.collapse_status import is_trained_to_collapse
from bench.results.outcomes import Outcomes
from bench.results.results_csv import all_cells, all_diagnoses
from bench.results.store import Store


def status_texts(run: RunRecord, current_cells: Sequence[EvalRecord], store: Store) -> dict[str, str]:
    """Return texts on chance level and collapse of one run, by ``chance`` and ``collapse``, for each test split.

    ``current_cells`` are the cells of the current weights. Other runs are read only if a collapse reference is needed.
    """
    collapses = is_trained_to_collapse(run)
    diagnoses = all_diagnoses(store) if collapses else {}
    rows = board_rows(all_cells(store), diagnoses=diagnoses) if collapses else []
    own_rows = board_rows([(run, cell) for cell in current_cells], diagnoses=diagnoses)
    texts: dict[str, str] = {}
    for row in own_rows:
        suffix = f" ({row.data_sha[:12]})" if len(own_rows) > 1 else ""
        if row.chance():
            texts[f"chance{suffix}"] = f"clean accuracy {row.chance()}"
        status = row_collapse(row, same_split(row, rows))
        if status is not None:
            texts[f"collapse{suffix}"] = status.text
    return texts


def lowest_accuracy_texts(run: RunRecord, current_cells: Sequence[EvalRecord], store: Store) -> list[tuple[str, str]]:
    """Return pairs (label, text) with the lowest known robust accuracy of one run at each budget, and the attacks.

    ``current_cells`` are the cells of its current weights.
    """
    audits = {(run.run_id, audit.data_sha): audit for audit in store.audits(run.run_id)}
    rows, outcomes, texts = board_rows([(run, cell) for cell in current_cells], audits), Outcomes(store), []
    for row in rows:
        for budget in budgets_of([row]):
            lowest = lowest_known(row, budget, outcomes)
            if lowest is not None:
                audited = "" if lowest.n_audited is None else f", {lowest.n_audited} of them audited"
                by = lowest.broken_by()
                text = f"{lowest.percent:.1f} % of {len(lowest.ids)} images{audited}" + (
                    f"; broken by {by}" if by else ""
                )
                texts.append((budget.column.replace(LOWEST, "lowest known"), text))
    return texts
