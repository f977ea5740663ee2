"""The audit of one run: checks of the model, attacks of its own beside the suite's, and what both come to."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bench.audit import checks
from bench.audit.checks import Broken, Outcomes, any_of, detectable, robust_accuracy
from bench.audit.figures import Figures, deepfool_figures, gradient_figures, perturbed_figures
from bench.audit.levels import LEVELS, Level, LevelName
from bench.audit.neighbours import candidate_count
from bench.audit.probes import Prober, probe
from bench.audit.suite import Budget, by_budget, claim, gradient_attacks, ladder, most_telling, outcomes_on
from bench.context import Workshop, failures_as
from bench.core.errors import BenchError, CellFailure
from bench.core.records import AUDIT_VERSION, AuditRecord, BudgetAudit, EvalRecord, Finding, RunRecord
from bench.core.specs import Norm
from bench.data.tensors import Images, spread
from bench.evaluation.cell import CellContext
from bench.evaluation.pass_counter import CountingModel
from bench.planning.resume import attacked_cells
from bench.results.precedence import common_size
from bench.results.store import Store
from bench.runtime.environment import describe
from bench.runtime.torch_state import harness_torch_state
from bench.sanity.model_checks import check_model

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
    """Results of a running audit, kept if it fails midway."""

    probers: list[Prober] = field(default_factory=list)  # they count the passes
    figures: Figures = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    budgets: list[BudgetAudit] = field(default_factory=list)


class _Some(NamedTuple):
    """Indices of some of the images, and of those among them that are classified correctly."""

    asked: Tensor
    right: Tensor


@dataclass(frozen=True)
class _Subject:
    """The model on one set of images, and which of them it has wrong from the start."""

    prober: Prober
    wrong: Broken

    def some(self, level: Level) -> _Some:
        n = len(self.wrong)
        asked = spread(torch.arange(n), max(LEAST_FOR_FIGURES, int(level.share * n)))
        return _Some(asked, asked[torch.from_numpy(~self.wrong)[asked]])


@harness_torch_state()
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
    """Store ``record``. A failed audit removes no earlier finding.

    After a successful audit of the same cells it is not stored. After any other earlier audit it is stored together
    with the flags and budgets of that audit that it lacks itself.
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
    """Audit each norm on the images that all of its cells share; a norm with few images does not limit the others."""
    level, budgets = LEVELS[audited.level], by_budget(cells)
    norms: dict[Norm, dict[Budget, list[EvalRecord]]] = defaultdict(dict)
    for budget, found in budgets.items():
        norms[budget.norm][budget] = found
    sizes = {norm: common_size([c for found in of.values() for c in found], level.images) for norm, of in norms.items()}
    batch_size = min([audited.batch_size, *(cell.batch_size for cell in cells)])  # what fitted
    subjects = {n: _subject(audited, n, batch_size, workshop, work) for n in {*sizes.values()} or {level.images}}
    _look_at_model(subjects[max(subjects)], work, level)
    for norm in sorted(norms):
        subject = subjects[sizes[norm]]
        ids = subject.prober.context.images.ids
        suites = {budget: outcomes_on(workshop.store, found, ids) for budget, found in norms[norm].items()}
        for budget in _chosen(suites, workshop.eps_texts, clean=robust_accuracy(subject.wrong), level=level):
            found = [cell for cell in budgets[budget] if cell.spec.name in suites[budget]]
            made = _audit_budget(subject, budget, found, suites[budget], audited.twin, level)
            work.budgets.append(replace(made, eps_text=workshop.eps_texts.get(budget, "")))


def _subject(audited: Audited, n: int, batch_size: int, workshop: Workshop, work: _Work) -> _Subject:
    context = _context(audited, workshop.images("test", n), workshop)
    prober = Prober(context, audited.run.seed, batch_size, workshop.progress, _candidates(context.images, workshop))
    work.probers.append(prober)
    return _Subject(prober, prober.clean())


def _candidates(audited: Images, workshop: Workshop) -> Images:
    """Return training images; the audited ones if there are none, or if one of them cannot be read."""
    if not len(workshop.dataset.train):
        return audited
    try:
        return workshop.images("train", candidate_count(workshop.dataset.image_size))
    except BenchError as error:  # an evaluation does not need the training images
        workshop.progress.line(f"audit: steps towards the audited images, as training images cannot be read: {error}")
        return audited


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


def _chosen(
    suites: Mapping[Budget, Mapping[str, Broken]], asked: Collection[tuple[Norm, float]], *, clean: float, level: Level
) -> list[Budget]:
    """Choose which budgets of one norm to audit: all of them if ``level`` says so, else one by :func:`most_telling`.

    Budgets ``asked`` for in this command take precedence over those of earlier attacks. ``clean`` is the clean
    accuracy in percent.
    """
    claims = {budget: claim(suite) for budget, suite in suites.items() if suite}
    if level.every_budget or not claims:
        return sorted(claims)
    return [most_telling({b: c for b, c in claims.items() if b in asked} or claims, clean)]


def _look_at_model(subject: _Subject, work: _Work, level: Level) -> None:
    """Check the model on some of the images, and compute figures of the correctly classified ones among them."""
    prober, (some, right) = subject.prober, subject.some(level)
    counting = CountingModel(prober.context.model).eval()
    work.findings += check_model(counting, prober.inputs(some), prober.batch_size)
    prober.count(counting)
    if not prober.gives_gradient:
        note = "the model gives no finite gradient with respect to its input: only attacks without gradients were made"
        work.findings.append(Finding("no_gradient", f"no_gradient: {note}"))
    work.figures |= gradient_figures(prober, right)
    work.figures |= deepfool_figures(prober, right, steps=level.ddn_steps)


def _audit_budget(
    subject: _Subject,
    budget: Budget,
    cells: Sequence[EvalRecord],
    suite: Mapping[str, Broken],
    twin: Twin | None,
    level: Level,
) -> BudgetAudit:
    prober, wrong, (norm, eps) = subject.prober, subject.wrong, budget
    gradients = gradient_attacks(cells)
    broken = any_of(wrong, *(suite[name] for name in gradients))
    probes = probe(prober, level, norm, eps, wrong, broken, twin.model if twin else None)
    outcomes = Outcomes(suite, gradients, ladder(cells), probes.broken, probes.reach)
    figures: Figures = {
        **checks.figures(outcomes),
        "broken_8bit": probes.broken_8bit,
        "detectable": detectable(len(wrong), int((~wrong).sum())),
        **perturbed_figures(prober, subject.some(level).right, norm=norm, eps=eps, steps=level.transfer_steps),
    }
    left = ~any_of(wrong, *suite.values())
    return BudgetAudit(
        norm=norm,
        eps=eps,
        n=len(wrong),
        n_correct=int((~wrong).sum()),
        suite=tuple(suite),
        twin=twin.run_id if twin else "",
        figures=figures,
        findings=tuple(checks.findings(outcomes)),
        images=tuple(prober.context.images.ids),
        standing=_positions(left),
        broken={name: _positions(found) for name, found in probes.within(eps).items()},
    )


def _positions(mask: Broken) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(mask))
