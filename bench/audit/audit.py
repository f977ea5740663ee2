"""Audit one run: check the model, run additional attacks, and compare their outcomes with the attack suite."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bench.audit import checks
from bench.audit.checks import Misclassified, Outcomes, any_of, mde, robust_accuracy
from bench.audit.figures import Figures, deepfool_figures, gradient_figures, perturbed_figures
from bench.audit.levels import LEVELS, Level, LevelName
from bench.audit.neighbours import candidate_count
from bench.audit.probes import AuditAttacker, probe
from bench.audit.suite import Budget, by_budget, claim, gradient_attacks, ladder, most_informative, outcomes_on
from bench.context import RunContext, failures_as
from bench.core.errors import BenchError, CellFailure
from bench.core.records import AUDIT_VERSION, AuditRecord, BudgetAudit, EvalRecord, Finding, RunRecord, timestamp
from bench.core.specs import Norm
from bench.data.tensors import Images, spread
from bench.evaluation.cell import CellInput
from bench.evaluation.pass_counter import CountingModel
from bench.planning.attack_traits import Traits, plugin_traits
from bench.planning.resume import attacked_cells
from bench.results.precedence import common_size
from bench.results.store import Store
from bench.runtime.environment import describe
from bench.runtime.torch_state import harness_torch_state
from bench.sanity.model_checks import check_model

MIN_FIGURE_IMAGES = 10  # minimum number of images for figures of gradients and distances


@dataclass(frozen=True, kw_only=True)
class PairedModel:
    """Frozen baseline with the same backbone, recipe and seed, used for transfer attacks on the audited model."""

    run_id: str
    model: nn.Module


@dataclass(frozen=True, kw_only=True)
class Audited:
    """Model to audit, frozen and in evaluation mode, with the settings of the audit."""

    run: RunRecord
    model: nn.Module
    num_classes: int
    batch_size: int
    paired: PairedModel | None = None
    level: LevelName = "default"
    traits: Traits = field(default_factory=dict)  # traits of attacks from plug-ins, set by the audit


@dataclass
class _Work:
    """Results of a running audit. They are kept if the audit fails."""

    attackers: list[AuditAttacker] = field(default_factory=list)  # one per set of images; each counts its passes
    figures: Figures = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    budgets: list[BudgetAudit] = field(default_factory=list)


class _Sample(NamedTuple):
    """Indices of a sample of the images, and indices of the correctly classified images in this sample."""

    images: Tensor
    correct: Tensor


@dataclass(frozen=True)
class _Subject:
    """Model with one set of images, and the mask of images that the model misclassifies without attack."""

    attacker: AuditAttacker
    misclassified_clean: Misclassified

    def sample(self, level: Level) -> _Sample:
        """Return the sample of images for figures of gradients and distances."""
        n = len(self.misclassified_clean)
        images = spread(torch.arange(n), max(MIN_FIGURE_IMAGES, int(level.share * n)))
        return _Sample(images, images[torch.from_numpy(~self.misclassified_clean)[images]])


@harness_torch_state()
def audit(audited: Audited, context: RunContext) -> AuditRecord:
    """Audit the stored attacks on the run's current weights and on these test images, and store the record.

    For attacks whose plug-ins are not loaded, the traits stored by an earlier audit are used. An error is stored as a
    failed record.
    """
    start, work, failure = time.perf_counter(), _Work(), None
    split = context.dataset.test.sha
    cells = [cell for cell in attacked_cells(audited.run.run_id, context.store) if cell.spec.data_sha == split]
    earlier = context.store.read_audit(audited.run.run_id, split)
    audited = replace(audited, traits=plugin_traits(cells, earlier.traits if earlier is not None else {}))
    try:
        with failures_as("audit_error"):
            _audit(audited, cells, context, work)
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
        n_forwards=sum(attacker.forwards for attacker in work.attackers),
        n_backwards=sum(attacker.backwards for attacker in work.attackers),
        time_s=time.perf_counter() - start,
        created=timestamp(),
        environment=describe(context.device),
        traits=audited.traits,
    )
    _store(record, context.store)
    return record


def _store(record: AuditRecord, store: Store) -> None:
    """Store ``record``. A failed audit never removes an earlier finding.

    A failed audit is not stored after a successful audit of the same cells with the same traits. After any other
    earlier audit, the failed audit is stored together with the earlier flags and budgets that it lacks.
    """
    earlier = store.read_audit(record.run_id, record.data_sha)
    if record.status == "ok" or earlier is None:
        store.write_audit(record)
    elif (earlier.status, earlier.cells, earlier.traits) != ("ok", record.cells, record.traits):
        flags = {finding.flag for finding in record.findings}
        audited = {(budget.norm, budget.eps) for budget in record.budgets}
        findings = (*record.findings, *(f for f in earlier.findings if f.flag not in flags))
        budgets = (*record.budgets, *(b for b in earlier.budgets if (b.norm, b.eps) not in audited))
        store.write_audit(replace(record, findings=findings, budgets=budgets))


def _audit(audited: Audited, cells: Sequence[EvalRecord], context: RunContext, work: _Work) -> None:
    """Audit each norm on the images that all cells of this norm share.

    A norm with few images does not limit the other norms.
    """
    level, budgets = LEVELS[audited.level], by_budget(cells)
    norms: dict[Norm, dict[Budget, list[EvalRecord]]] = defaultdict(dict)
    for budget, budget_cells in budgets.items():
        norms[budget.norm][budget] = budget_cells
    sizes = {
        norm: common_size([c for budget_cells in of_norm.values() for c in budget_cells], level.images)
        for norm, of_norm in norms.items()
    }
    batch_size = min([audited.batch_size, *(cell.batch_size for cell in cells)])  # batches that fitted in memory
    subjects = {n: _subject(audited, n, batch_size, context, work) for n in {*sizes.values()} or {level.images}}
    _check_model(subjects[max(subjects)], work, level)
    for norm in sorted(norms):
        subject = subjects[sizes[norm]]
        ids = subject.attacker.context.images.ids
        suites = {budget: outcomes_on(context.store, budget_cells, ids) for budget, budget_cells in norms[norm].items()}
        for budget in _chosen(
            suites, context.eps_texts, clean=robust_accuracy(subject.misclassified_clean), level=level
        ):
            budget_cells = [cell for cell in budgets[budget] if cell.spec.name in suites[budget]]
            budget_audit = _audit_budget(subject, audited, budget, budget_cells, suites[budget])
            work.budgets.append(replace(budget_audit, eps_text=context.eps_texts.get(budget, "")))


def _subject(audited: Audited, n: int, batch_size: int, context: RunContext, work: _Work) -> _Subject:
    images = context.images("test", n)
    cell_input = _cell_input(audited, images, context)
    candidates = _candidates(images, context)
    attacker = AuditAttacker(cell_input, audited.run.seed, batch_size, context.progress, candidates)
    work.attackers.append(attacker)
    return _Subject(attacker, attacker.clean())


def _candidates(audited: Images, context: RunContext) -> Images:
    """Return training images. Return the audited images if training images are missing or cannot be read."""
    if not len(context.dataset.train):
        return audited
    try:
        return context.images("train", candidate_count(context.dataset.image_size))
    except BenchError as error:  # the audit is possible without training images
        context.progress.line(f"audit: using the audited images as targets, training images cannot be read: {error}")
        return audited


def _cell_input(audited: Audited, images: Images, context: RunContext) -> CellInput:
    return CellInput(
        model=audited.model,
        weights_sha=audited.run.weights_sha,
        images=images,
        n_test=len(context.dataset.test),
        official=context.dataset.official,
        num_classes=audited.num_classes,
        device=context.device,
        entry=None,
        auto_batch=context.auto_batch,
    )


def _chosen(
    suites: Mapping[Budget, Mapping[str, Misclassified]],
    requested: Collection[tuple[Norm, float]],
    *,
    clean: float,
    level: Level,
) -> list[Budget]:
    """Return the budgets of one norm to audit: all budgets at the full ``level``, else :func:`most_informative`.

    Budgets ``requested`` in this command take precedence over budgets of earlier commands. ``clean`` is the clean
    accuracy in percent.
    """
    claims = {budget: claim(suite) for budget, suite in suites.items() if suite}
    if level.every_budget or not claims:
        return sorted(claims)
    return [most_informative({b: c for b, c in claims.items() if b in requested} or claims, clean)]


def _check_model(subject: _Subject, work: _Work, level: Level) -> None:
    """Check the model on a sample of the images. Compute figures on the correctly classified images in the sample."""
    attacker, (sample, correct) = subject.attacker, subject.sample(level)
    counting = CountingModel(attacker.context.model).eval()
    work.findings += check_model(counting, attacker.inputs(sample), attacker.batch_size)
    attacker.count(counting)
    if not attacker.gives_gradient:
        note = "the model has no finite gradient with respect to its input: only attacks without gradients were run"
        work.findings.append(Finding("no_gradient", f"no_gradient: {note}"))
    work.figures |= gradient_figures(attacker, correct)
    work.figures |= deepfool_figures(attacker, correct, steps=level.ddn_steps)


def _audit_budget(
    subject: _Subject,
    audited: Audited,
    budget: Budget,
    cells: Sequence[EvalRecord],
    suite: Mapping[str, Misclassified],
) -> BudgetAudit:
    attacker, clean_errors, (norm, eps) = subject.attacker, subject.misclassified_clean, budget
    paired, level = audited.paired, LEVELS[audited.level]
    gradients = gradient_attacks(cells, audited.traits)
    misclassified = any_of(clean_errors, *(suite[name] for name in gradients))
    probes = probe(attacker, level, norm, eps, clean_errors, misclassified, paired.model if paired else None)
    outcomes = Outcomes(suite, gradients, ladder(cells, audited.traits), probes.misclassified, probes.reach)
    figures: Figures = {
        **checks.figures(outcomes),
        "broken_8bit": probes.broken_8bit,
        "mde": mde(len(clean_errors), int((~clean_errors).sum())),
        **perturbed_figures(attacker, subject.sample(level).correct, norm=norm, eps=eps, steps=level.transfer_steps),
    }
    remaining = ~any_of(clean_errors, *suite.values())
    return BudgetAudit(
        norm=norm,
        eps=eps,
        n=len(clean_errors),
        n_correct=int((~clean_errors).sum()),
        suite=tuple(suite),
        baseline_run=paired.run_id if paired else "",
        figures=figures,
        findings=tuple(checks.findings(outcomes)),
        images=tuple(attacker.context.images.ids),
        standing=_positions(remaining),
        broken={name: _positions(mask) for name, mask in probes.within(eps).items()},
    )


def _positions(mask: Misclassified) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(mask))
