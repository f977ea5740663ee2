"""What an audit says in the rows of tables. Pure; no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from bench.core.columns import AUDIT_COLUMNS, AUDIT_FIGURES
from bench.core.specs import AttackSpec, AuditRecord, BudgetAudit, Finding

PASSED, FLAGGED, UNDECIDED, FAILED = "passed", "flagged", "undecided", "failed"


def findings_for(record: AuditRecord | None, attack: AttackSpec | None) -> list[Finding]:
    """What speaks against one number: findings of the model against any, of attacks against those of their norm."""
    if record is None or record.status != "ok":
        return []
    budgets = [budget for budget in record.budgets if attack is not None and attack.norm == budget.norm]
    return [*record.findings, *(finding for budget in budgets for finding in budget.findings)]


def verdict(record: AuditRecord | None, findings: Iterable[Finding]) -> str | None:
    """One of the four words of the column ``audit``; None without an audit."""
    if record is None:
        return None
    if record.status != "ok":
        return FAILED
    if any(True for _ in findings):
        return FLAGGED
    return PASSED if _decided(record) else UNDECIDED


def _decided(record: AuditRecord) -> bool:
    """Whether there were images enough for a flag, had there been reason for one."""
    return bool(record.budgets) and all(budget.figures.get("detectable") is not None for budget in record.budgets)


def verdict_of(audits: Mapping[int, AuditRecord], seeds: Collection[int]) -> str | None:
    """The verdict on all seeds of one row, or its flags with the worst of their figures."""
    if not seeds or set(audits) != set(seeds):
        return None
    if any(record.status != "ok" for record in audits.values()):
        return FAILED
    worst: dict[str, Finding] = {}
    for record in audits.values():
        for finding in (*record.findings, *(f for budget in record.budgets for f in budget.findings)):
            known = worst.setdefault(finding.flag, finding)
            worst[finding.flag] = max(known, finding, key=lambda f: f.points or 0.0)
    decided = PASSED if all(_decided(record) for record in audits.values()) else UNDECIDED
    return ";".join(worst[flag].text for flag in sorted(worst)) or decided


def audit_values(record: AuditRecord | None, attack: AttackSpec | None) -> dict[str, Any]:
    """AUDIT_COLUMNS of the row of an attack; of any other row the verdict on the model alone."""
    values: dict[str, Any] = dict.fromkeys(AUDIT_COLUMNS)
    if record is None:
        return values
    found = findings_for(record, attack)
    values |= {
        "audit": verdict(record, found),
        "audit_flags": ";".join(finding.text for finding in found) or None,
        "audit_level": record.level,
        "audit_passes": passes_an_image(record),
    }
    if attack is None:
        return values
    values |= {f"audit_{name}": value for name, value in record.figures.items() if f"audit_{name}" in AUDIT_FIGURES}
    return values | _of_budget(nearest(record, attack))


def nearest(record: AuditRecord, attack: AttackSpec) -> BudgetAudit | None:
    """The audited budget of the attack's norm that is nearest to its own."""
    same = [budget for budget in record.budgets if budget.norm == attack.norm]
    return min(same, key=lambda budget: abs(budget.eps - attack.eps), default=None)


def passes_an_image(record: AuditRecord) -> float | None:
    """Of the largest subset; None where nothing was audited."""
    images = max((budget.n for budget in record.budgets), default=0)
    return (record.n_forwards + record.n_backwards) / images if images else None


def _of_budget(budget: BudgetAudit | None) -> dict[str, Any]:
    if budget is None:
        return {}
    figures = {f"audit_{name}": value for name, value in budget.figures.items() if f"audit_{name}" in AUDIT_FIGURES}
    return {"audit_eps": budget.eps, "audit_n": budget.n, "audit_twin": budget.twin or None, **figures}
