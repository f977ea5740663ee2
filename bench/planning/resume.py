"""Pending work of a plan, and the counts of finished work.

No torch: a run that finds everything done never imports it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from bench.config import MeasureConfig
from bench.core.records import AuditRecord, EvalRecord, RunRecord
from bench.core.specs import Encoding, EvalSpec
from bench.planning.plan import RunPlan
from bench.results.paired_baseline import paired_baseline
from bench.results.store import Store


@dataclass
class RunSummary:
    """Counts of finished work, for the last line and the exit code."""

    trained: int = 0
    evaluated: int = 0
    diagnosed: int = 0
    audited: int = 0
    cached: int = 0
    bad: list[str] = field(default_factory=list)  # a sentence for each training or cell that is not ok


def is_diagnosed(run: RunPlan, store: Store, columns: Collection[str] = (), *, force: bool = False) -> bool:
    """Whether the run's present weights have a diagnosis that did not fail, with a value for each of ``columns``."""
    record = None if force else store.read_diagnosis(run.train.run_id)
    return record is not None and record.status == "ok" and set(columns) <= record.values.keys()


def is_audited(run_id: str, data_sha: str, store: Store, level: str = "default", *, force: bool = False) -> bool:
    """Whether the run's attacks on that test split, as many as there are, have an audit that did not fail.

    It is of ``level`` or more, and was shown the baseline's images if there is a baseline by now.
    """
    run, record = store.read_run(run_id), store.read_audit(run_id, data_sha)
    attacked = {cell.cell_id for cell in attacked_cells(run_id, store) if cell.spec.data_sha == data_sha}
    if run is None or run.status != "ok" or not attacked:
        return True  # there is nothing to doubt
    if force or record is None or record.status != "ok" or (level, record.level) == ("full", "default"):
        return False
    return set(record.cells) == attacked and not _lacks_baseline(run, record, store)


def _lacks_baseline(run: RunRecord, record: AuditRecord, store: Store) -> bool:
    alone = any(not budget.baseline_run for budget in record.budgets)
    return alone and paired_baseline(run, store) is not None


def attacked_cells(run_id: str, store: Store) -> list[EvalRecord]:
    """The ok cells of attacks on the run's present weights."""
    run = store.read_run(run_id)
    cells = store.cells(run_id) if run is not None else []
    ok = (cell for cell in cells if run is not None and cell.weights_sha == run.weights_sha and cell.status == "ok")
    return [cell for cell in ok if cell.spec.attack is not None]


def pending_cells(run: RunPlan, store: Store, config: MeasureConfig) -> list[EvalSpec]:
    """Return the cells without a result, or without the images that are to be stored; all if there are no weights."""
    if store.finished_run(run.train.run_id) is None:
        return list(run.cells)
    return unfinished(run.cells, store, config)


def unfinished(cells: Sequence[EvalSpec], store: Store, config: MeasureConfig) -> list[EvalSpec]:
    """Return the cells without a result, or without the images that are to be stored; all with ``config.force``."""
    return [cell for cell in cells if config.force or not is_finished(cell, store, config.save_adversarials)]


def is_finished(cell: EvalSpec, store: Store, save_adversarials: Encoding) -> bool:
    """Whether there is nothing left to do: an answer, and beside it the broken images in the form that is wanted."""
    record = store.finished_cell(cell.run_id, cell.cell_id)
    return record is not None and store.keeps(record, save_adversarials)
