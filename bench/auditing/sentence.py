"""The audit in one plain sentence that can be quoted. Pure; no torch."""

from __future__ import annotations

from bench.auditing.marks import all_findings, passes_an_image
from bench.auditing.thresholds import DECISIVE
from bench.chance import CHANCE, at_chance
from bench.core.epsilon import format_eps
from bench.core.specs import AuditRecord, BudgetAudit, RunRecord


def sentence(run: RunRecord, record: AuditRecord) -> str:
    """What the audit of ``run`` comes to, with the figures that it rests on."""
    name = f"{run.model}:{run.variant}:{run.seed} on {run.dataset}"
    if record.status != "ok":
        found = "; ".join(finding.note for finding in all_findings(record))
        before = f" (found before: {found})" if found else ""
        return f"{name} could not be audited: {record.reason}: {record.message}{before}"
    if not record.budgets:
        return f"{name}: there was no attack whose number could be audited; {_model(record)}."
    found = "; ".join(_budget(budget) for budget in record.budgets)
    return f"{name}: {found}; {_model(record)}{_chance(run, record)}{_cost(record)}."


def _chance(run: RunRecord, record: AuditRecord) -> str:
    """A network that has learnt nothing keeps under attack what it guesses."""
    classes = run.spec.data.num_classes if run.spec else None
    if not any(_at_chance(budget, classes) for budget in record.budgets):
        return ""
    return f"; its clean accuracy is {CHANCE}, so that it has nothing to lose"


def _at_chance(budget: BudgetAudit, classes: int | None) -> bool:
    """As :func:`bench.chance.is_at_chance`; of an older audit of a model that was not trained here nothing is known."""
    if budget.n_majority is None:
        return classes is not None and at_chance(budget.n_correct, budget.n, 1 / classes)
    return at_chance(budget.n_correct, budget.n, budget.n_majority / budget.n)


def _budget(budget: BudgetAudit) -> str:
    place = f"{budget.norm} {format_eps(budget.eps)} ({budget.n} images)"
    of = f"robust accuracy of {budget.figures['acc_suite']:.1f} % at {place}"
    transfer = ", transfer from the baseline" if budget.twin else ""
    if not budget.findings:
        tried = f"PGD on plain, rescaled and margin losses, noise, Square{transfer} and a large budget"
        return f"nothing speaks against its {of}, of what was tried: {tried} ({_seen(budget)})"
    return f"its {of} is an upper bound: {'; '.join(finding.note for finding in budget.findings)}"


def _seen(budget: BudgetAudit) -> str:
    """What the absence of flags is worth."""
    least = budget.figures.get("detectable")
    if least is None:
        return "too few right images for any flag, which leaves it undecided"
    if least > DECISIVE:
        return f"it would have taken a fall of {least:.1f} points, which leaves it undecided"
    return f"a fall of {least:.1f} points would have flagged if seen"


def _model(record: AuditRecord) -> str:
    if not record.findings:
        return "the model itself passed every check"
    return f"the model itself did not pass: {'; '.join(finding.note for finding in record.findings)}"


def _cost(record: AuditRecord) -> str:
    return f" ({passes_an_image(record):.0f} passes an image)"
