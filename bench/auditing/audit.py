"""The audit of one run: checks of the model, attacks of its own beside the suite's, and what both come to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import torch
from torch import nn

from bench.auditing import checks
from bench.auditing.checks import Outcomes
from bench.auditing.findings import Finding
from bench.auditing.gradients import gradient_report
from bench.auditing.levels import LEVELS, Level, LevelName
from bench.auditing.model_checks import check_model
from bench.auditing.probes import Prober, probe
from bench.auditing.suite import (
    Budget,
    by_budget,
    claim,
    gradient_attacks,
    ladder,
    most_telling,
    outcomes_on,
)
from bench.cell import CellContext
from bench.core.errors import CellFailure
from bench.core.specs import AUDIT_VERSION, AuditFinding, AuditRecord, BudgetAudit, EvalRecord, RunRecord
from bench.data.tensors import Images
from bench.environment import describe
from bench.passes import CountingModel
from bench.workshop import Workshop, failures_as


@dataclass(frozen=True, kw_only=True)
class Twin:
    """The frozen baseline of the same backbone, recipe and seed; images made on it are shown to the model."""

    run_id: str
    model: nn.Module


@dataclass
class _Work:
    """What is measured while an audit runs."""

    forwards: int = 0
    backwards: int = 0
    figures: dict[str, float | None] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    budgets: list[BudgetAudit] = field(default_factory=list)


def audit(
    run: RunRecord,
    model: nn.Module,
    workshop: Workshop,
    *,
    num_classes: int,
    batch_size: int,
    twin: Twin | None,
    level: LevelName = "default",
) -> AuditRecord:
    """Audit and store. ``model`` is frozen and in evaluation mode; what goes wrong becomes a failed record."""
    start, work, failure = time.perf_counter(), _Work(), None
    cells = attack_cells(run, workshop)
    try:
        with failures_as("audit_error"):
            _audit(run, model, cells, workshop, work, num_classes, batch_size, twin, LEVELS[level])
    except CellFailure as error:
        failure = error
    record = AuditRecord(
        run_id=run.run_id,
        weights_sha=run.weights_sha,
        version=AUDIT_VERSION,
        level=level,
        cells=tuple(sorted(cell.cell_id for cell in cells)),
        status="failed" if failure else "ok",
        reason=failure.reason if failure else "",
        message=failure.message if failure else "",
        figures=work.figures,
        findings=_stored(work.findings),
        budgets=tuple(work.budgets),
        n_forwards=work.forwards,
        n_backwards=work.backwards,
        time_s=time.perf_counter() - start,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=describe(workshop.device),
    )
    workshop.store.write_audit(record)
    return record


def attack_cells(run: RunRecord, workshop: Workshop) -> list[EvalRecord]:
    """The ok cells of attacks on the run's present weights."""
    cells = workshop.store.cells(run.run_id)
    return [c for c in cells if c.spec.attack and c.status == "ok" and c.weights_sha == run.weights_sha]


def _audit(
    run: RunRecord,
    model: nn.Module,
    cells: Sequence[EvalRecord],
    workshop: Workshop,
    work: _Work,
    num_classes: int,
    batch_size: int,
    twin: Twin | None,
    level: Level,
) -> None:
    budgets = by_budget(cells)
    n = min([level.images, *(cell.n for cell in cells)])
    images = workshop.images("test", n)
    context = CellContext(
        model=model,
        weights_sha=run.weights_sha,
        images=images,
        n_test=len(workshop.dataset.test),
        official=workshop.dataset.official,
        num_classes=num_classes,
        device=workshop.device,
        entry=None,
        auto_batch=workshop.auto_batch,
    )
    _look_at_model(context, workshop.images("test", min(n, level.gradient_images)), work, batch_size)
    prober = Prober(context, run.seed, batch_size, workshop.progress)
    wrong = prober.clean()
    suites = {budget: outcomes_on(workshop.store, found, images.ids) for budget, found in budgets.items()}
    for budget in _chosen(suites, clean=100 * float((~wrong).mean()), level=level):
        suite, found = suites[budget], [c for c in budgets[budget] if c.spec.name in suites[budget]]
        gradients = gradient_attacks(found)
        broken = np.logical_or.reduce([wrong, *(suite[name] for name in gradients)])
        probes = probe(prober, level, budget.norm, budget.eps, wrong, broken, twin.model if twin else None)
        outcomes = Outcomes(suite, gradients, ladder(found), probes)
        work.budgets.append(
            BudgetAudit(
                norm=budget.norm,
                eps=budget.eps,
                n=n,
                n_correct=int((~wrong).sum()),
                suite=tuple(suite),
                twin=twin.run_id if twin else "",
                figures=checks.figures(outcomes),
                findings=_stored(checks.findings(outcomes)),
            )
        )
    work.forwards += prober.forwards
    work.backwards += prober.backwards


def _look_at_model(context: CellContext, images: Images, work: _Work, batch_size: int) -> None:
    counting = CountingModel(context.model).eval()
    inputs = images.inputs(torch.arange(len(images)), context.device)
    work.findings += check_model(counting, inputs, batch_size)
    labels = images.labels.to(context.device)
    report = gradient_report(context.model, inputs, labels, batch_size=batch_size)
    work.figures |= report.values
    work.forwards += counting.forwards + report.n_forwards
    work.backwards += counting.backwards + report.n_backwards


def _chosen(suites: Mapping[Budget, Mapping[str, object]], *, clean: float, level: Level) -> list[Budget]:
    """Of every norm the budget that tells most, or all of them."""
    claims = {budget: claim(suite) for budget, suite in suites.items() if suite}  # type: ignore[arg-type]
    if level.every_budget:
        return sorted(claims)
    norms = sorted({budget.norm for budget in claims})
    return [most_telling({b: c for b, c in claims.items() if b.norm == norm}, clean) for norm in norms]


def _stored(found: Sequence[Finding]) -> tuple[AuditFinding, ...]:
    return tuple(AuditFinding(flag=f.flag, points=f.points, note=f.note) for f in found)
