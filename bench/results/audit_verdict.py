"""Thresholds and verdicts of an audit, and its columns in the tables. Pure functions. Does not import torch.

A flag requires a significant drop: another attack lowers the robust accuracy, and the one-sided 95 % lower bound of the
drop is above ``POINTS``. Diagnostics alone (gradients of exactly zero, a softmax of exactly one) do not raise a flag,
because they also occur in ordinary networks after long training with cross-entropy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from bench.core.columns import AUDIT_COLUMNS, AUDIT_FIGURES
from bench.core.records import AuditRecord, BudgetAudit, EvalRecord, Finding
from bench.core.specs import AttackSpec

#: Name of the audit attack that transfers adversarial images from the paired baseline.
TRANSFER: Final = "transfer"

#: Threshold of a drop, in points of robust accuracy. Carlini et al. 2019 (arXiv 1902.06705, section 5) require that
#: these comparisons do not change the robust accuracy. A threshold for the lower bound makes this requirement testable.
POINTS: Final = 1.0

#: Allowed share of images, in points, that are misclassified only under the weaker of two attacks. The images fooled by
#: a weaker attack are not a subset of those fooled by a stronger one. On ordinary networks, 0.6 to 1.4 % of the images
#: that are fooled by 10 steps of PGD are not fooled by 100 steps.
ORDER_ALLOWANCE: Final = 1.5

#: Median gap between the two largest logits, in nats, to which logits are rescaled. Such gaps are common in ordinary
#: networks, and gradients of the cross-entropy underflow in float32 only above a gap of about 17. With a gap of 1, the
#: loss weights all incorrect classes equally, and PGD fools fewer images of an ordinary network than without rescaling.
GAP: Final = 8.0

#: Linf budget at which every image can be changed to the same grey image, so that no network can distinguish them.
#: An attack fails if the accuracy under it is higher than on the grey image (Carlini et al. 2019, "unbounded attacks
#: reach 100 %").
GREY: Final = 0.5

#: Largest minimum detectable drop, in points, for which the verdict of an audit can be ``passed``. This requires at
#: least 50 images, with a flag at a drop of 6 images.
DECISIVE: Final = 12.0


PASSED, FLAGGED, UNDECIDED, FAILED = "passed", "flagged", "undecided", "failed"
AT_CHANCE = "at chance"  # replaces the first three verdicts for a network at chance level


def all_findings(record: AuditRecord) -> list[Finding]:
    """Return all findings: first about the model, then at each audited budget."""
    return [*record.findings, *(finding for budget in record.budgets for finding in budget.findings)]


def findings_for(record: AuditRecord | None, cell: EvalRecord) -> list[Finding]:
    """Return the findings for one cell: findings about the model, and findings at audited budgets of its norm.

    If the budget of the cell was audited, the findings at this budget apply. Otherwise, for each flag, the finding with
    the largest drop over all audited budgets of the norm applies, and its budget is stored in ``eps``. A failed audit
    may contain findings from before the failure.
    """
    if record is None:
        return []
    attack = cell.spec.attack
    same_norm = [budget for budget in record.budgets if attack is not None and budget.norm == attack.norm]
    same_budget = [budget for budget in same_norm if attack is not None and budget.eps == attack.eps]
    if same_budget:
        return [*record.findings, *same_budget[0].findings]
    return [*record.findings, *_worst(_placed(finding, budget) for budget in same_norm for finding in budget.findings)]


def _placed(finding: Finding, budget: BudgetAudit) -> Finding:
    return finding if finding.eps is not None else dataclasses.replace(finding, eps=budget.eps)


def _worst(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding per flag: the finding with the largest drop in points."""
    worst: dict[str, Finding] = {}
    for finding in findings:
        worst[finding.flag] = max(worst.get(finding.flag, finding), finding, key=lambda f: f.points or 0.0)
    return list(worst.values())


def verdict(record: AuditRecord | None, cell: EvalRecord, *, at_chance: bool = False) -> str | None:
    """Return the value of the column ``audit`` for one cell; None without an audit.

    ``at_chance`` is True if the clean accuracy of the run is no better than chance.
    """
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
    """Check whether the audit covered the cell, with enough images to flag a drop of ``DECISIVE`` points.

    The cell must have been stored before the audit of its norm, and cover at least as many images as the audit.
    """
    budget = None if cell.spec.attack is None else nearest(record, cell.spec.attack)
    if budget is None or cell.cell_id not in record.cells or cell.n < budget.n:
        return False
    mde = budget.figures.get("mde")
    return mde is not None and mde <= DECISIVE


def verdict_word(record: AuditRecord, cells: Collection[EvalRecord]) -> str:
    """Return the verdict on one run as one word. ``cells`` are the cells of the run on the leaderboard."""
    if record.status != "ok":
        return FAILED
    if all_findings(record):
        return FLAGGED
    attacked = [cell for cell in cells if cell.spec.attack is not None and cell.status == "ok"]
    return PASSED if attacked and all(_acquitted(record, cell) for cell in attacked) else UNDECIDED


def verdict_of(
    audits: Mapping[int, AuditRecord], cells: Mapping[int, Collection[EvalRecord]], *, at_chance: bool = False
) -> str | None:
    """Return the verdict on one leaderboard row, or its flags, each with the largest drop over seeds and budgets.

    ``audits`` and ``cells`` are by seed. None without cells, or if the seeds of ``audits`` and ``cells`` differ. If
    ``at_chance``, the verdict is ``failed`` if an audit failed, and ``at chance`` otherwise.
    """
    if not cells or set(audits) != set(cells):
        return None
    if at_chance:
        return FAILED if any(record.status != "ok" for record in audits.values()) else AT_CHANCE
    words = {verdict_word(record, cells[seed]) for seed, record in audits.items()}
    worst = _worst(finding for record in audits.values() for finding in all_findings(record))
    parts = [FAILED] * (FAILED in words) + sorted(finding.text for finding in worst)
    return ";".join(parts) or (PASSED if words == {PASSED} else UNDECIDED)


def audit_values(record: AuditRecord | None, cell: EvalRecord, *, at_chance: bool = False) -> dict[str, Any]:
    """Return the AUDIT_COLUMNS of a row of results.csv. The figures are None for a row without an attack."""
    values: dict[str, Any] = dict.fromkeys(AUDIT_COLUMNS)
    if record is None:
        return values
    findings = record.findings if at_chance else findings_for(record, cell)
    values |= {
        "audit": verdict(record, cell, at_chance=at_chance),
        "audit_flags": ";".join(finding.text for finding in findings) or None,
        "audit_level": record.level,
        "audit_passes": passes_per_image(record),
    }
    if cell.spec.attack is None:
        return values
    values |= _figures(record.figures)
    return values | _of_budget(nearest(record, cell.spec.attack))


def nearest(record: AuditRecord, attack: AttackSpec) -> BudgetAudit | None:
    """Return the audited budget in the norm of ``attack`` that is nearest to its eps; None without such a budget."""
    same_norm = [budget for budget in record.budgets if budget.norm == attack.norm]
    return min(same_norm, key=lambda budget: abs(budget.eps - attack.eps), default=None)


def passes_per_image(record: AuditRecord) -> float | None:
    """Return the forward and backward passes per image of the largest audited set; None if no image was audited."""
    images = max((budget.n for budget in record.budgets), default=0)
    return (record.n_forwards + record.n_backwards) / images if images else None


def _of_budget(budget: BudgetAudit | None) -> dict[str, Any]:
    if budget is None:
        return {}
    values = {"audit_eps": budget.eps, "audit_n": budget.n, "audit_baseline_run": budget.baseline_run or None}
    return values | _figures(budget.figures)


def _figures(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    return {f"audit_{name}": value for name, value in figures.items() if f"audit_{name}" in AUDIT_FIGURES}
