"""Check that the counts in a record are possible: not negative, and no part larger than its whole."""

from __future__ import annotations

from collections.abc import Iterator

from bench.core.records import AuditRecord, BudgetAudit, DiagnosisRecord, EvalRecord, RunRecord

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
    for name in ("n", "n_test", "n_forwards", "n_backwards", "batch_size", "max_distance"):
        yield name, getattr(cell, name), None
    is_ok = cell.status == "ok"  # a failed cell may have attacked images without having evaluated any
    for name in ("n_attacked", "n_correct", "n_broken_8bit", "n_truncated", "leaked", "n_majority"):
        yield name, getattr(cell, name), cell.n if is_ok else None
    yield "n_correct_majority", cell.n_correct_majority, cell.n_majority if is_ok else None


def _of_budget(budget: BudgetAudit) -> Iterator[Bound]:
    yield "n", budget.n, None
    yield "n_correct", budget.n_correct, budget.n
    if budget.images:
        last = len(budget.images) - 1
        yield from (("standing", index, last) for index in budget.standing)
        yield from (("broken", index, last) for indices in budget.broken.values() for index in indices)
