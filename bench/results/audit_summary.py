"""Summarize an audit in one sentence. Pure functions. Does not import torch."""

from __future__ import annotations

from bench.core.epsilon import format_eps
from bench.core.records import AuditRecord, BudgetAudit, RunRecord
from bench.core.words import pluralize
from bench.results.audit_verdict import DECISIVE, all_findings, passes_per_image
from bench.results.chance_level import CHANCE


def audit_sentence(run: RunRecord, record: AuditRecord, *, at_chance: bool) -> str:
    """Return the result of the audit of ``run`` with its figures as one sentence.

    ``at_chance`` is True if the clean accuracy of the run on these images is no better than chance. The sentence then
    draws no conclusion about the robust accuracy.
    """
    name = f"{run.model}:{run.variant}:{run.seed} on {run.dataset}"
    if record.status != "ok":
        findings = "; ".join(finding.note for finding in all_findings(record))
        before = f" (findings before the failure: {findings})" if findings else ""
        return f"{name} could not be audited: {record.reason}: {record.message}{before}"
    if not record.budgets:
        return f"{name}: no attack to audit; {_model(record)}."
    if at_chance:
        return f"{name}: {_at_chance(record)}{_cost(record)}."
    findings = "; ".join(_budget(budget) for budget in record.budgets)
    if record.findings:  # first, because they concern every accuracy of the run
        return f"{name}: {_model(record)}; otherwise {findings}{_cost(record)}."
    return f"{name}: {findings}; {_model(record)}{_cost(record)}."


def _at_chance(record: AuditRecord) -> str:
    """Return the sentence for a model at chance level, whose accuracy no attack can lower below chance."""
    claims = " and ".join(_claim(budget) for budget in record.budgets)
    model_findings = f"; {_model(record)}" if record.findings else ""
    return f"its clean accuracy is {CHANCE}, so no conclusion is drawn from its {claims}{model_findings}"


def _claim(budget: BudgetAudit) -> str:
    """Format the lowest known robust accuracy on the audited images, over all attacks of the run and of the audit."""
    suite, n_more = budget.figures["acc_suite"] or 0.0, broken_beyond_suite(budget)
    budget_name = f"{budget.norm} {budget.eps_text or format_eps(budget.eps)}"
    if not n_more:
        return f"robust accuracy of {suite:.1f} % at {budget_name} ({budget.n} images)"
    lowest, images = suite - 100 * n_more / budget.n, pluralize(n_more, "image")
    return (
        f"robust accuracy of {lowest:.1f} % at {budget_name}, the lowest known on {budget.n} images ({suite:.1f} % "
        f"under the attacks of the run; the attacks of the audit fooled {images} more{_by(budget)})"
    )


def broken_beyond_suite(budget: BudgetAudit) -> int:
    """Count the images misclassified within the budget under the attacks of the audit but under no attack of the suite.

    For an audit that stored no images, the count is computed from its figures.
    """
    if not budget.images:
        return round((budget.figures.get("drop_stronger_attack") or 0.0) * budget.n / 100)
    return len({image for positions in budget.broken.values() for image in positions} & {*budget.standing})


def _by(budget: BudgetAudit) -> str:
    """Format the number of images of :func:`broken_beyond_suite` for each attack of the audit."""
    if not budget.images:
        return "; it stored no images"
    remaining = {*budget.standing}
    counts = {name: len(remaining & {*positions}) for name, positions in budget.broken.items()}
    return ": " + ", ".join(f"{name} {count}" for name, count in counts.items() if count)


def _budget(budget: BudgetAudit) -> str:
    transfer = ", transfer from the baseline" if budget.baseline_run else ""
    if not budget.findings:
        attacks = f"PGD on plain, rescaled and margin losses, noise, Square{transfer} and a large budget"
        return f"the audit found nothing against its {_claim(budget)}; it tried {attacks} ({_seen(budget)})"
    return f"its {_claim(budget)} is an upper bound: {'; '.join(finding.note for finding in budget.findings)}"


def _seen(budget: BudgetAudit) -> str:
    """Format the minimum detectable drop in robust accuracy of the audit, in points."""
    mde = budget.figures.get("mde")
    if mde is None:
        return "undecided: too few correctly classified images for any flag"
    if mde > DECISIVE:
        return f"undecided: only a drop of {mde:.1f} points or more could have been flagged"
    return f"a drop of {mde:.1f} points would have been flagged"


def _model(record: AuditRecord) -> str:
    if not record.findings:
        return "the model itself passed every check"
    return f"the model itself failed checks: {'; '.join(finding.note for finding in record.findings)}"


def _cost(record: AuditRecord) -> str:
    return f" ({passes_per_image(record):.0f} passes per image)"
