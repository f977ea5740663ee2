"""Find the pending work of a plan, and count finished work.

Does not import torch, so that a run without pending work starts fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.config import MeasureConfig
from bench.core.records import AuditRecord, DiagnosisRecord, EvalRecord, RunRecord
from bench.core.specs import Encoding, EvalSpec
from bench.planning.attack_traits import traits_changed
from bench.planning.plan import RunPlan
from bench.results.paired_baseline import paired_baseline
from bench.results.store import Store
from bench.runtime.interrupt import StopRequest


@dataclass
class RunSummary:
    """Counts of finished work, for the last output line and the exit code."""

    trained: int = 0
    evaluated: int = 0
    diagnosed: int = 0
    audited: int = 0
    cached: int = 0
    elsewhere: int = 0  # cells that other processes computed meanwhile
    stopped: StopRequest | None = None  # signal or time budget that stopped the command
    bad: list[str] = field(default_factory=list)  # one message per training or cell that is not ok


def is_diagnosed(run: RunPlan, store: Store, codes: Mapping[str, str], *, force: bool = False) -> bool:
    """Check whether the current weights of a run have a successful diagnosis that includes all loaded plug-ins.

    ``codes`` is the result of :func:`bench.diagnostics.registry.plugin_codes`.
    """
    record = None if force else store.read_diagnosis(run.train.run_id)
    return record is not None and record.status == "ok" and not stale_columns(record, codes)


def stale_columns(record: DiagnosisRecord, codes: Mapping[str, str]) -> frozenset[str]:
    """Return the plug-in columns that are missing in ``record``, or were computed by other code than in ``codes``.

    Columns of code without a hash are always stale, because the code may have changed.
    """
    known = {column: code.sha for column, code in record.plugins.items() if column in record.values}
    return frozenset(column for column, sha in codes.items() if not sha or known.get(column) != sha)


def is_audited(run_id: str, data_sha: str, store: Store, level: str = "default", *, force: bool = False) -> bool:
    """Check whether all stored attacks on the run and test split have a successful audit of at least ``level``.

    If a paired baseline is stored, the audit must have used its adversarial images. It must also have used the traits
    that loaded plug-ins declare for their attacks. True if the run has no stored attacks.
    """
    run, record = store.read_run(run_id), store.read_audit(run_id, data_sha)
    cells = [cell for cell in attacked_cells(run_id, store) if cell.spec.data_sha == data_sha]
    attacked = {cell.cell_id for cell in cells}
    if run is None or run.status != "ok" or not attacked:
        return True  # no attacks to audit
    if force or record is None or record.status != "ok" or (level, record.level) == ("full", "default"):
        return False
    if set(record.cells) != attacked or traits_changed(cells, record):
        return False
    return not _lacks_baseline(run, record, store)


def _lacks_baseline(run: RunRecord, record: AuditRecord, store: Store) -> bool:
    without_baseline = any(not budget.baseline_run for budget in record.budgets)
    return without_baseline and paired_baseline(run, store) is not None


def attacked_cells(run_id: str, store: Store) -> list[EvalRecord]:
    """Return the ok cells of attacks on the current weights of a run."""
    run = store.read_run(run_id)
    cells = store.cells(run_id) if run is not None else []
    ok = (cell for cell in cells if run is not None and cell.weights_sha == run.weights_sha and cell.status == "ok")
    return [cell for cell in ok if cell.spec.attack is not None]


def pending_cells(run: RunPlan, store: Store, config: MeasureConfig) -> list[EvalSpec]:
    """Return the cells without a result or without requested adversarial images; all cells if weights are missing."""
    if store.finished_run(run.train.run_id) is None:
        return list(run.cells)
    return unfinished(run.cells, store, config)


def unfinished(cells: Sequence[EvalSpec], store: Store, config: MeasureConfig) -> list[EvalSpec]:
    """Return the cells without a result or without requested adversarial images; all cells if ``config.force``."""
    return [cell for cell in cells if config.force or not is_finished(cell, store, config.save_adversarials)]


def is_finished(cell: EvalSpec, store: Store, save_adversarials: Encoding) -> bool:
    """Check whether a cell has a result and, if ``save_adversarials`` requests them, its adversarial images."""
    record = store.finished_cell(cell.run_id, cell.cell_id)
    return record is not None and store.keeps(record, save_adversarials)
