"""The audit in one plain sentence that can be quoted. Pure; no torch."""

from __future__ import annotations

from bench.core.epsilon import format_eps
from bench.core.records import AuditRecord, BudgetAudit, RunRecord
from bench.core.words import pluralize
from bench.results.audit_verdict import DECISIVE, all_findings, passes_an_image
from bench.results.chance_level import CHANCE


def sentence(run: RunRecord, record: AuditRecord, *, at_chance: bool) -> str:
    """State the result of the audit of ``run``, with the figures that it rests on.

    ``at_chance``: the clean accuracy of the run on these images is no better than chance, so that nothing is concluded
    about its robust accuracy.
    """
    name = f"{run.model}:{run.variant}:{run.seed} on {run.dataset}"
    if record.status != "ok":
        found = "; ".join(finding.note for finding in all_findings(record))
        before = f" (found before: {found})" if found else ""
        return f"{name} could not be audited: {record.reason}: {record.message}{before}"
    if not record.budgets:
        return f"{name}: there was no attack whose number could be audited; {_model(record)}."
    if at_chance:
        return f"{name}: {_guesses(record)}{_cost(record)}."
    found = "; ".join(_budget(budget) for budget in record.budgets)
    return f"{name}: {found}; {_model(record)}{_cost(record)}."


def _guesses(record: AuditRecord) -> str:
    """A network that has learnt nothing keeps the accuracy of guessing under any attack."""
    claims = " and ".join(_claim(budget) for budget in record.budgets)
    own = f"; {_model(record)}" if record.findings else ""
    return f"its clean accuracy is {CHANCE}, so that it has nothing to lose: nothing follows from its {claims}{own}"


def _claim(budget: BudgetAudit) -> str:
    """The robust accuracy that is shown: the lowest known on the audited images, with what the audit broke itself."""
    suite, more = budget.figures["acc_suite"] or 0.0, broken_beyond_suite(budget)
    place = f"{budget.norm} {budget.eps_text or format_eps(budget.eps)}"
    if not more:
        return f"robust accuracy of {suite:.1f} % at {place} ({budget.n} images)"
    lowest, images = suite - 100 * more / budget.n, pluralize(more, "image")
    return (
        f"robust accuracy of {lowest:.1f} % at {place}, the lowest known on {budget.n} images (the run's attacks leave "
        f"{suite:.1f} %, and the audit broke {images} more{_by(budget)})"
    )


def broken_beyond_suite(budget: BudgetAudit) -> int:
    """Count the images that the audit's own attacks broke within the budget and that no attack of the suite broke.

    For audits that stored no images the number comes from their figures.
    """
    if not budget.images:
        return round((budget.figures.get("drop_stronger_attack") or 0.0) * budget.n / 100)
    return len({image for broken in budget.broken.values() for image in broken} & {*budget.standing})


def _by(budget: BudgetAudit) -> str:
    """List how many images of :func:`broken_beyond_suite` each attack of the audit broke."""
    if not budget.images:
        return "; it stored no images"
    standing = {*budget.standing}
    counts = {name: len(standing & {*broken}) for name, broken in budget.broken.items()}
    return ": " + ", ".join(f"{name} {count}" for name, count in counts.items() if count)


def _budget(budget: BudgetAudit) -> str:
    transfer = ", transfer from the baseline" if budget.baseline_run else ""
    if not budget.findings:
        tried = f"PGD on plain, rescaled and margin losses, noise, Square{transfer} and a large budget"
        return f"nothing speaks against its {_claim(budget)}, of what was tried: {tried} ({_seen(budget)})"
    return f"its {_claim(budget)} is an upper bound: {'; '.join(finding.note for finding in budget.findings)}"


def _seen(budget: BudgetAudit) -> str:
    """State the smallest fall in robust accuracy that would have raised a flag, or that none would have."""
    least = budget.figures.get("mde")
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
    return f" ({passes_an_image(record):.0f} passes per image)"
