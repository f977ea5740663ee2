"""The audit of one run: checks of the model, attacks of its own beside the suite's, and what both come to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import torch
from torch import nn

from bench.auditing import checks
from bench.auditing.checks import Outcomes
from bench.auditing.evidence import Broken, any_of, detectable
from bench.auditing.figures import Figures, deepfool_figures, gradient_figures
from bench.auditing.levels import LEVELS, Level, LevelName
from bench.auditing.model_checks import check_model
from bench.auditing.probes import Prober, probe
from bench.auditing.spread import spread
from bench.auditing.suite import (
    Budget,
    by_budget,
    claim,
    common_size,
    gradient_attacks,
    ladder,
    most_telling,
    outcomes_on,
)
from bench.cell import CellContext
from bench.core.errors import CellFailure
from bench.core.specs import AUDIT_VERSION, AuditRecord, BudgetAudit, EvalRecord, Finding, RunRecord
from bench.data.tensors import Images
from bench.environment import describe
from bench.passes import CountingModel
from bench.pending import attacked_cells
from bench.store import Store
from bench.workshop import Workshop, failures_as

LEAST_FOR_FIGURES = 10  # images, for figures of gradients and distances


@dataclass(frozen=True, kw_only=True)
class Twin:
    """The frozen baseline of the same backbone, recipe and seed; images made on it are shown to the model."""

    run_id: str
    model: nn.Module


@dataclass(frozen=True, kw_only=True)
class Audited:
    """The model that is audited, frozen and in evaluation mode, and what it is audited with."""

    run: RunRecord
    model: nn.Module
    num_classes: int
    batch_size: int
    twin: Twin | None = None
    level: LevelName = "default"


@dataclass
class _Work:
    """What is measured while an audit runs."""

    probers: list[Prober] = field(default_factory=list)  # one, once there are images; it counts the passes
    figures: Figures = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    budgets: list[BudgetAudit] = field(default_factory=list)


def audit(audited: Audited, workshop: Workshop) -> AuditRecord:
    """Audit the attacks that there are on the run's present weights and on these test images, and store it.

    What goes wrong becomes a failed record.
    """
    start, work, failure = time.perf_counter(), _Work(), None
    split = workshop.dataset.test.sha
    cells = [cell for cell in attacked_cells(audited.run.run_id, workshop.store) if cell.spec.data_sha == split]
    try:
        with failures_as("audit_error"):
            _audit(audited, cells, workshop, work)
    except CellFailure as error:
        failure = error
    record = AuditRecord(
        run_id=audited.run.run_id,
        weights_sha=audited.run.weights_sha,
        data_sha=split,
        version=AUDIT_VERSION,
        level=audited.level,
        cells=tuple(sorted(cell.cell_id for cell in cells)),
        status="failed" if failure else "ok",
        reason=failure.reason if failure else "",
        message=failure.message if failure else "",
        figures=work.figures,
        findings=tuple(work.findings),
        budgets=tuple(work.budgets),
        n_forwards=sum(prober.forwards for prober in work.probers),
        n_backwards=sum(prober.backwards for prober in work.probers),
        time_s=time.perf_counter() - start,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=describe(workshop.device),
    )
    _keep(record, workshop.store)
    return record


def _keep(record: AuditRecord, store: Store) -> None:
    """Store it. What fails takes no finding away: beside an answer about the same attacks it leaves no trace, and of
    an earlier audit of others it keeps what it did not come to itself.
    """
    earlier = store.read_audit(record.run_id, record.data_sha)
    if record.status == "ok" or earlier is None:
        store.write_audit(record)
    elif (earlier.status, earlier.cells) != ("ok", record.cells):
        flags = {finding.flag for finding in record.findings}
        places = {(budget.norm, budget.eps) for budget in record.budgets}
        findings = (*record.findings, *(f for f in earlier.findings if f.flag not in flags))
        budgets = (*record.budgets, *(b for b in earlier.budgets if (b.norm, b.eps) not in places))
        store.write_audit(replace(record, findings=findings, budgets=budgets))


def _audit(audited: Audited, cells: Sequence[EvalRecord], workshop: Workshop, work: _Work) -> None:
    level, budgets = LEVELS[audited.level], by_budget(cells)
    images = workshop.images("test", common_size(cells, level.images))
    context = _context(audited, images, workshop)
    prober = Prober(context, audited.run.seed, audited.batch_size, workshop.progress)
    work.probers.append(prober)
    wrong = prober.clean()
    suites = {budget: outcomes_on(workshop.store, found, images.ids) for budget, found in budgets.items()}
    chosen = _chosen(suites, clean=100 * float((~wrong).mean()), level=level)
    _look_at_model(prober, wrong, chosen[0] if chosen else None, work, level)
    for budget in chosen:
        found = [cell for cell in budgets[budget] if cell.spec.name in suites[budget]]
        work.budgets.append(_audit_budget(prober, budget, found, suites[budget], wrong, audited.twin, level))


def _context(audited: Audited, images: Images, workshop: Workshop) -> CellContext:
    return CellContext(
        model=audited.model,
        weights_sha=audited.run.weights_sha,
        images=images,
        n_test=len(workshop.dataset.test),
        official=workshop.dataset.official,
        num_classes=audited.num_classes,
        device=workshop.device,
        entry=None,
        auto_batch=workshop.auto_batch,
    )


def _chosen(suites: Mapping[Budget, Mapping[str, Broken]], *, clean: float, level: Level) -> list[Budget]:
    """Of every norm the budget that tells most, or all of them."""
    claims = {budget: claim(suite) for budget, suite in suites.items() if suite}
    if level.every_budget:
        return sorted(claims)
    norms = sorted({budget.norm for budget in claims})
    return [most_telling({b: c for b, c in claims.items() if b.norm == norm}, clean) for norm in norms]


def _look_at_model(prober: Prober, wrong: Broken, budget: Budget | None, work: _Work, level: Level) -> None:
    """Checks on some of the images, whatever they are, and figures of those among them that are right."""
    some = spread(torch.arange(len(wrong)), max(LEAST_FOR_FIGURES, int(level.share * len(wrong))))
    counting = CountingModel(prober.context.model).eval()
    work.findings += check_model(counting, prober.inputs(some), prober.batch_size)
    prober.count(counting)
    right = some[torch.from_numpy(~wrong)[some]]
    norm, eps = (budget.norm, budget.eps) if budget else (None, 0.0)
    work.figures |= gradient_figures(prober, right, norm=norm, eps=eps, steps=level.transfer_steps)
    work.figures |= deepfool_figures(prober, right, steps=level.ddn_steps)


def _audit_budget(
    prober: Prober,
    budget: Budget,
    cells: Sequence[EvalRecord],
    suite: Mapping[str, Broken],
    wrong: Broken,
    twin: Twin | None,
    level: Level,
) -> BudgetAudit:
    gradients = gradient_attacks(cells)
    broken = any_of(wrong, *(suite[name] for name in gradients))
    probes = probe(prober, level, budget.norm, budget.eps, wrong, broken, twin.model if twin else None)
    outcomes = Outcomes(suite, gradients, ladder(cells), probes.broken, probes.reach)
    figures: Figures = {
        **checks.figures(outcomes),
        "broken_8bit": probes.broken_8bit,
        "detectable": detectable(len(wrong), int((~wrong).sum())),
    }
    return BudgetAudit(
        norm=budget.norm,
        eps=budget.eps,
        n=len(wrong),
        n_correct=int((~wrong).sum()),
        suite=tuple(suite),
        twin=twin.run_id if twin else "",
        figures=figures,
        findings=tuple(checks.findings(outcomes)),
    )
