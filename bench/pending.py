"""What of a plan is still to do, and how it went. No torch: a run that finds everything done never needs it."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.core.specs import Encoding, EvalSpec
from bench.plan import RunPlan
from bench.store import Store


@dataclass
class Tally:
    """How the work went, for the last line and the exit code."""

    trained: int = 0
    evaluated: int = 0
    diagnosed: int = 0
    cached: int = 0
    bad: list[str] = field(default_factory=list)  # a sentence for each training or cell that is not ok


def is_diagnosed(run: RunPlan, store: Store, *, force: bool = False) -> bool:
    """Whether the run's present weights have a diagnosis that did not fail."""
    record = None if force else store.read_diagnosis(run.train.run_id)
    return record is not None and record.status == "ok"


def pending_cells(
    run: RunPlan, store: Store, *, force: bool = False, save_adversarials: Encoding = "none"
) -> list[EvalSpec]:
    """The cells without an answer, or without the images that are asked for; all when forced or without weights."""
    if force or store.finished_run(run.train.run_id) is None:
        return list(run.cells)
    return [cell for cell in run.cells if not is_finished(cell, store, save_adversarials)]


def is_finished(cell: EvalSpec, store: Store, save_adversarials: Encoding) -> bool:
    """Whether there is nothing left to do: an answer, and beside it the broken images in the form that is wanted."""
    record = store.finished_cell(cell.run_id, cell.cell_id)
    return record is not None and store.keeps(record, save_adversarials)
