"""Check that the counts in a record are possible, and that they agree with the outcomes per image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bench.core.records import AuditRecord, BudgetAudit, DiagnosisRecord, EvalRecord, RunRecord
from bench.results.chance_level import majority_of
from bench.results.per_image import Sample

Bound = tuple[str, float | None, float | None]  # name, value, maximum; None: unknown, no maximum


def counts_problem(record: RunRecord | EvalRecord | DiagnosisRecord | AuditRecord) -> str:
    """Return the first impossible count or duration of a record as a clause; empty if all are possible."""
    for name, value, maximum in _bounds(record):
        if value is not None and value < 0:
            return f"its field {name} is {value}, below 0"
        if value is not None and maximum is not None and value > maximum:
            return f"its field {name} is {value}, above {maximum}"
    if isinstance(record, EvalRecord) and record.status == "ok" and (record.n < 1 or record.n_correct is None):
        return "it has status ok but no images"
    return ""


def outcomes_problem(record: EvalRecord, samples: Sequence[Sample]) -> str:
    """Return the first contradiction between an ok record and its outcomes as a clause; empty if there is none.

    The numbers of images and of correct images are not compared here.
    """
    if any(sample.clean_pred != sample.label == sample.adv_pred for sample in samples):
        return "an image that is misclassified without an attack is counted as robust"
    if record.n_majority is None:
        return ""
    predicted, labels = (np.array(values) for values in zip(*((s.clean_pred, s.label) for s in samples), strict=True))
    found = majority_of(predicted, labels)
    if (record.n_majority, record.n_correct_majority) not in ((found.n, found.n_correct), (found.n, None)):
        return (
            f"{found.n} images are of the most frequent class, {found.n_correct} of them correct, but the record says "
            f"{record.n_majority} and {record.n_correct_majority}"
        )
    return ""


def _bounds(record: RunRecord | EvalRecord | DiagnosisRecord | AuditRecord) -> Iterator[Bound]:
    yield "time_s", record.time_s, None
    if isinstance(record, EvalRecord):
        yield from _of_cell(record)
    elif isinstance(record, RunRecord):
        for name in ("n_train", "epochs", "img_size", "native_size", "latent_dim", "param_count"):
            yield name, getattr(record, name), None
    elif isinstance(record, DiagnosisRecord):
        yield from ((f"images.{name}", count, None) for name, count in record.images.items())
    else:
        yield "n_forwards", record.n_forwards, None
        yield "n_backwards", record.n_backwards, None
        for budget in record.budgets:
            yield from _of_budget(budget)


def _of_cell(cell: EvalRecord) -> Iterator[Bound]:
    yield "n", cell.n, cell.n_test
    for name in ("n_test", "n_forwards", "n_backwards", "batch_size", "max_distance"):
        yield name, getattr(cell, name), None
    is_ok = cell.status == "ok"  # a failed cell may have attacked images without having evaluated any
    for name in ("n_attacked", "n_correct", "n_broken_8bit", "n_truncated", "leaked", "n_majority"):
        yield name, getattr(cell, name), cell.n if is_ok else None
    for stage in cell.stages:
        yield "stages.n_attacked", stage.n_attacked, cell.n_attacked
        yield "stages.n_broken", stage.n_broken, stage.n_attacked
        yield "stages.n_forwards", stage.n_forwards, cell.n_forwards
        yield "stages.n_backwards", stage.n_backwards, cell.n_backwards
    yield "n_correct_majority", cell.n_correct_majority, cell.n_majority if is_ok else None


def _of_budget(budget: BudgetAudit) -> Iterator[Bound]:
    yield "n", budget.n, None
    yield "n_correct", budget.n_correct, budget.n
    if budget.images:
        last = len(budget.images) - 1
        yield from (("standing", index, last) for index in budget.standing)
        yield from (("broken", index, last) for indices in budget.broken.values() for index in indices)
