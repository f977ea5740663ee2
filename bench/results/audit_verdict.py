"""Thresholds and verdicts of an audit, and the columns it fills. Pure; no torch.

A flag needs a consequence: another attack lowers the robust accuracy by more than ``POINTS``, and by more than chance,
which is to say that the one-sided 95 % bound of the drop lies above it. Diagnostics alone (gradients of exactly zero, a
softmax of exactly one) never flag: a network that has been trained for long on cross-entropy shows them too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from bench.core.columns import AUDIT_COLUMNS, AUDIT_FIGURES
from bench.core.records import AuditRecord, BudgetAudit, EvalRecord, Finding
from bench.core.specs import AttackSpec

#: Name of the audit's attack that tries images made on the paired baseline.
TRANSFER: Final = "transfer"

#: Points of robust accuracy. Carlini et al. 2019 (arXiv 1902.06705, section 5) ask of every one of these comparisons
#: that nothing changes; an interval makes of "nothing" something that can be tested.
POINTS: Final = 1.0

#: Points of the images that the weaker of two attacks may break and the stronger not. The walks are not nested: 0.6 to
#: 1.4 % of what 10 steps of PGD break survive 100 on ordinary networks.
ORDER_ALLOWANCE: Final = 1.5

#: Nats between the two largest logits, in the median, that logits are rescaled to: as ordinary networks have them, and
#: far from the 17 at which float32 begins to lose a cross-entropy's gradient. At a gap of one, where the loss counts
#: all wrong classes alike, PGD breaks fewer images of an ordinary network than without any scaling.
GAP: Final = 8.0

#: At this budget every image can become one and the same grey, so that no network tells them apart, and an attack that
#: leaves more than the grey image does has failed (Carlini et al. 2019, "unbounded attacks reach 100 %").
GREY: Final = 0.5

#: Points. An audit that would not have flagged a fall of so many acquits nobody: of 50 images, the fewest that do, it
#: takes six to raise a flag.
DECISIVE: Final = 12.0


PASSED, FLAGGED, UNDECIDED, FAILED = "passed", "flagged", "undecided", "failed"
AT_CHANCE = "at chance"  # in place of the first three: nothing is concluded of a network that guesses


def all_findings(record: AuditRecord) -> list[Finding]:
    """Return the findings about the model and at every audited budget."""
    return [*record.findings, *(finding for budget in record.budgets for finding in budget.findings)]


def findings_for(record: AuditRecord | None, cell: EvalRecord) -> list[Finding]:
    """Return the findings against one cell: those about the model, and those of the audit's attacks in its norm.

    If the cell's own budget was audited, the findings at that budget count. Otherwise the worst finding per flag over
    the audited budgets of the norm counts, and names its budget. A failed audit may have findings from before it
    failed.
    """
    if record is None:
        return []
    attack = cell.spec.attack
    same = [budget for budget in record.budgets if attack is not None and budget.norm == attack.norm]
    own = [budget for budget in same if attack is not None and budget.eps == attack.eps]
    if own:
        return [*record.findings, *own[0].findings]
    return [*record.findings, *_worst(_placed(finding, budget) for budget in same for finding in budget.findings)]


def _placed(finding: Finding, budget: BudgetAudit) -> Finding:
    return finding if finding.eps is not None else dataclasses.replace(finding, eps=budget.eps)


def _worst(findings: Iterable[Finding]) -> list[Finding]:
    """Return the finding with the most points per flag."""
    worst: dict[str, Finding] = {}
    for finding in findings:
        worst[finding.flag] = max(worst.get(finding.flag, finding), finding, key=lambda f: f.points or 0.0)
    return list(worst.values())


def verdict(record: AuditRecord | None, cell: EvalRecord, *, at_chance: bool = False) -> str | None:
    """One of the words of the column ``audit``; None without an audit. ``at_chance`` is of the run on clean images."""
    if record is None:
        return None
    if record.status != "ok":
        return FAILED
    if at_chance:
        return AT_CHANCE
    if findings_for(record, cell):
        return FLAGGED
    return PASSED if cell.spec.attack is None or _acquitted(record, cell) else UNDECIDED


def _acquitted(record: AuditRecord, cell: EvalRecord) -> bool:
    """Whether a flag would have been raised had there been reason for one.

    The cell was there when its norm was audited, on images that it has, and on enough of them.
    """
    budget = None if cell.spec.attack is None else nearest(record, cell.spec.attack)
    if budget is None or cell.cell_id not in record.cells or cell.n < budget.n:
        return False
    least = budget.figures.get("mde")
    return least is not None and least <= DECISIVE


def word_of(record: AuditRecord, cells: Collection[EvalRecord]) -> str:
    """The verdict on one run, in one word: ``cells`` are those whose numbers stand for it."""
    if record.status != "ok":
        return FAILED
    if all_findings(record):
        return FLAGGED
    attacked = [cell for cell in cells if cell.spec.attack is not None and cell.status == "ok"]
    return PASSED if attacked and all(_acquitted(record, cell) for cell in attacked) else UNDECIDED


def verdict_of(
    audits: Mapping[int, AuditRecord], cells: Mapping[int, Collection[EvalRecord]], *, at_chance: bool = False
) -> str | None:
    """Return the verdict on one row, by the cells behind its number per seed, or its flags with their worst figures.

    None without cells, or unless ``audits`` has exactly their seeds. A row ``at_chance`` only says that its audit
    failed, or that it is at chance.
    """
    if not cells or set(audits) != set(cells):
        return None
    if at_chance:
        return FAILED if any(record.status != "ok" for record in audits.values()) else AT_CHANCE
    words = {word_of(record, cells[seed]) for seed, record in audits.items()}
    worst = _worst(finding for record in audits.values() for finding in all_findings(record))
    said = [FAILED] * (FAILED in words) + sorted(finding.text for finding in worst)
    return ";".join(said) or (PASSED if words == {PASSED} else UNDECIDED)


def audit_values(record: AuditRecord | None, cell: EvalRecord, *, at_chance: bool = False) -> dict[str, Any]:
    """Return AUDIT_COLUMNS for the row of an attack; for any other row only the verdict on the model."""
    values: dict[str, Any] = dict.fromkeys(AUDIT_COLUMNS)
    if record is None:
        return values
    findings = record.findings if at_chance else findings_for(record, cell)
    values |= {
        "audit": verdict(record, cell, at_chance=at_chance),
        "audit_flags": ";".join(finding.text for finding in findings) or None,
        "audit_level": record.level,
        "audit_passes": passes_an_image(record),
    }
    if cell.spec.attack is None:
        return values
    values |= _figures(record.figures)
    return values | _of_budget(nearest(record, cell.spec.attack))


def nearest(record: AuditRecord, attack: AttackSpec) -> BudgetAudit | None:
    """The audited budget of the attack's norm that is nearest to its own."""
    same = [budget for budget in record.budgets if budget.norm == attack.norm]
    return min(same, key=lambda budget: abs(budget.eps - attack.eps), default=None)


def passes_an_image(record: AuditRecord) -> float | None:
    """Return the audit's passes per image of its largest subset; None where nothing was audited."""
    images = max((budget.n for budget in record.budgets), default=0)
    return (record.n_forwards + record.n_backwards) / images if images else None


def _of_budget(budget: BudgetAudit | None) -> dict[str, Any]:
    if budget is None:
        return {}
    place = {"audit_eps": budget.eps, "audit_n": budget.n, "audit_baseline_run": budget.baseline_run or None}
    return place | _figures(budget.figures)


def _figures(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    return {f"audit_{name}": value for name, value in figures.items() if f"audit_{name}" in AUDIT_FIGURES}
