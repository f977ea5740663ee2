"""Execute a plan (train, evaluate, diagnose, audit), or evaluate and audit networks that were trained elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import nn

from bench.audit.audit_run import audit_run, report_audit
from bench.config import NetworkConfig
from bench.context import RunContext
from bench.core.errors import BenchError
from bench.core.records import RunRecord
from bench.core.specs import EvalSpec, TrainSpec
from bench.diagnostics.diagnose import diagnose
from bench.diagnostics.registry import plugin_codes
from bench.evaluation.run_cells import EvaluatedModel, error_message, finish_cells, run_cells, skip
from bench.external.load_file import load_external, probe_external
from bench.external.model import Declared, ExternalModel, external_run, frozen
from bench.external.probe import has_problem
from bench.leaderboard.collapse import row_collapse
from bench.leaderboard.rows import board_rows
from bench.models.build import BuiltModel
from bench.models.classifier import Classifier, freeze
from bench.models.variants import has_collapse_penalty
from bench.planning.plan import Request, RunPlan, plan_cells
from bench.planning.plan_work import PlanWork
from bench.planning.resume import RunSummary, is_audited, unfinished
from bench.results.collapse_status import ADVICE, NOT_COLLAPSED
from bench.results.results_csv import all_cells, all_diagnoses
from bench.runtime.interrupt import Stopped, time_budget
from bench.runtime.torch_state import harness_torch_state, torch_threads
from bench.training.checkpoints import load_run, train_run

HEADLINE = ("nc1", "cov_norm", "binarity_mean")


def execute(plan: Sequence[RunPlan], context: RunContext) -> RunSummary:
    """Train, evaluate, diagnose and audit all runs of a plan. A failure in one run or cell does not stop the others.

    Work that other processes have claimed is left to them, and waited for at the end. If a stop is requested, the
    summary names the reason, and the work so far is stored.
    """
    summary = RunSummary()
    with stoppable(context, summary):
        work = PlanWork(plan, context, plugin_codes())
        summary.cached = sum(len(run.cells) for run in plan) - len(work.cells)
        work.finish(lambda run: _execute_run(run, work, context, summary), work.evaluations)
        add_results_of_others(work.cells, context, summary)
        _warn_of_collapse(plan, context)
        # After all cells, because the audit of a run uses adversarial images of its paired baseline.
        work.finish(lambda run: _audit(run, work, context, summary), work.audits)
    return summary


@contextmanager
def stoppable(context: RunContext, summary: RunSummary) -> Iterator[None]:
    """Set torch's state for a computation, and catch a request to stop, whose reason ``summary`` gets."""
    config = context.config
    try:
        with (
            time_budget(config.time_budget),
            harness_torch_state(),
            torch_threads(config.threads),
            context.work.exclusive(),
        ):
            yield
    except Stopped as stopped:
        summary.stopped = stopped.request


def add_results_of_others(cells: Sequence[EvalSpec], context: RunContext, summary: RunSummary) -> None:
    """Add the ``cells`` that other processes have computed to ``summary``."""
    for cell in cells:
        if context.work.is_mine(context.store.cell_path(cell.run_id, cell.cell_id)):
            continue
        record = context.store.read_cell(cell.run_id, cell.cell_id)
        if record is not None and record.status == "ok":
            summary.elsewhere += 1
        elif record is not None:
            summary.bad.append(error_message(record, cell.run_id))


def _audit(plan: RunPlan, work: PlanWork, context: RunContext, summary: RunSummary) -> None:
    spec, run, level = plan.train, context.store.finished_run(plan.train.run_id), context.config.audit
    if run is None or level == "none":
        return
    path = context.store.audit_path(run.run_id, context.dataset.test.sha)
    with context.work.claimed(path, unless=lambda: not work.audits(plan)) as mine:
        if mine:
            model = freeze(load_run(spec, context).classifier)
            size, classes = plan.cells[0].batch_size, spec.data.num_classes
            record = audit_run(run, classes, model, context, batch_size=size, level=level)
            report_audit(run, record, context, summary)


def _warn_of_collapse(plan: Sequence[RunPlan], context: RunContext) -> None:
    """Warn about each row with a collapse penalty that has not collapsed. Requires all diagnoses of the plan."""
    if not any(has_collapse_penalty(run.train.variant, run.train.variant_spec) for run in plan):
        return
    rows = board_rows(all_cells(context.store), diagnoses=all_diagnoses(context.store))
    group = [row for row in rows if row.data_sha == context.dataset.test.sha]
    requested = {run.train.config_sha for run in plan}
    for row in group:
        status = row_collapse(row, group) if row.run.config_sha in requested else None
        if status is not None and status.word == NOT_COLLAPSED:
            name = f"{row.run.model}:{row.run.variant}"
            measured = " (NC1 on training images)" if "NC1" in status.text else ""
            context.progress.line(f"warning: {name} on {row.run.dataset}: {status.text}{measured}. {ADVICE}")


def _execute_run(run: RunPlan, work: PlanWork, context: RunContext, summary: RunSummary) -> None:
    spec, cells = run.train, work.open_cells(run)
    context.read_images_of(cells)
    built = _load_or_train(spec, cells, context, summary)
    record = context.store.read_run(spec.run_id)
    if built is None or record is None:
        return
    model = freeze(built.classifier)
    run_cells(cells, EvaluatedModel(spec.name, model, record.weights_sha, spec.data.num_classes), context, summary)
    if work.is_undiagnosed(run):
        path = context.store.diagnosis_path(spec.run_id)
        with context.work.claimed(path, unless=lambda: not work.is_undiagnosed(run)) as mine:
            if mine:
                _diagnose(spec, built.classifier, record.weights_sha, context, summary)


def _load_or_train(
    spec: TrainSpec, cells: Sequence[EvalSpec], context: RunContext, summary: RunSummary
) -> BuiltModel | None:
    """Return the trained model. Return None if the training failed, or if another process trains the model."""
    path = context.store.run_path(spec.run_id)
    is_stored = not context.config.force or context.work.is_done(path)
    if is_stored and context.store.finished_run(spec.run_id) is not None:
        return load_run(spec, context)

    def is_complete() -> bool:
        record = context.store.read_run(spec.run_id)
        lacks_weights = record is not None and record.status == "ok" and context.store.finished_run(spec.run_id) is None
        return context.work.is_done(path) and not lacks_weights  # the network file may have been deleted meanwhile

    with context.work.claimed(path, unless=is_complete) as mine:
        if mine:
            return _train(spec, cells, context, summary)
    record = context.store.read_run(spec.run_id)
    if context.work.is_done(path) and record is not None and record.status != "ok":
        _skip(spec, cells, record, context, summary)
    return None


def _diagnose(spec: TrainSpec, model: Classifier, weights_sha: str, context: RunContext, summary: RunSummary) -> None:
    force = context.config.force
    record = diagnose(model, spec.run_id, weights_sha, spec.data.train_limit, context, force=force)
    if record.status == "ok":
        summary.diagnosed += 1
        shown = (f"{name} {_short(record.values[f'collapse_{name}'])}" for name in HEADLINE)
        context.progress.line(f"{spec.name} diagnosis on test images: {', '.join(shown)}, {record.time_s:.1f} s")
    else:
        summary.bad.append(f"{spec.name} diagnosis {record.status}: {record.reason}: {record.message}")
        context.progress.line(summary.bad[-1])


def _short(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"


def _train(spec: TrainSpec, cells: Sequence[EvalSpec], context: RunContext, summary: RunSummary) -> BuiltModel | None:
    """Train a model and return it. If the training fails, record its cells as skipped and return None."""
    record, built = train_run(spec, context)
    if built is None:
        _skip(spec, cells, record, context, summary)
        return None
    summary.trained += 1
    if spec.variant_spec.penalty and not record.gamma:
        context.progress.line(
            f"{spec.name}: the weight of the penalty was 0 in every epoch; its schedule needs more epochs (--epochs)"
        )
    share = f", running training accuracy {record.history[-1].accuracy:.1%}" if record.history else ""
    context.progress.line(f"{spec.name}: trained in {record.time_s:.1f} s{share}")
    return built


def _skip(
    spec: TrainSpec, cells: Sequence[EvalSpec], failed: RunRecord, context: RunContext, summary: RunSummary
) -> None:
    """Report a failed training, of this process or of another one, once. Record its cells as skipped.

    Its diagnosis is not needed.
    """
    sentence = f"{spec.name}: training failed: {failed.reason}: {failed.message}"
    if sentence not in summary.bad:
        summary.bad.append(sentence)
        context.progress.line(sentence)
    skip(cells, "training_failed", f"{failed.reason}: {failed.message}", context)
    context.work.settle(context.store.diagnosis_path(spec.run_id))


def evaluate_networks(
    networks: Sequence[NetworkConfig], request: Request, context: RunContext
) -> tuple[list[Evaluated], RunSummary]:
    """Load, evaluate and audit networks that were trained elsewhere.

    All networks are loaded first, so that an invalid file stops the command before any attack. All networks are
    evaluated before the first audit, because the audit uses adversarial images of the paired baseline. If a stop is
    requested, the networks are returned with all requested cells. They are empty if the stop came before the first one.
    """
    summary = RunSummary()
    evaluations: list[Evaluated] = []
    with stoppable(context, summary):
        loaded = [external_of(network, context) for network in networks]
        evaluations += [store_run(run, model, request, context, content) for run, model, content in loaded]
        evaluate_runs(evaluations, request, context, summary)
    return evaluations, summary


def evaluate_module(
    module: nn.Module, declared: Declared, request: Request, context: RunContext
) -> tuple[list[Evaluated], RunSummary]:
    """Evaluate and audit a module of the caller. The module is frozen meanwhile and restored afterwards.

    Returns a list as :func:`evaluate_networks`.
    """
    summary = RunSummary()
    evaluations: list[Evaluated] = []
    with (
        stoppable(context, summary),
        frozen(module, context.device) as (frozen_module, trainable),
    ):
        run, wrapped = external_run(frozen_module, declared, trainable, context)
        evaluations.append(store_run(run, wrapped, request, context, None))
        evaluate_runs(evaluations, request, context, summary)
    return evaluations, summary


def external_of(requested: NetworkConfig, context: RunContext) -> tuple[RunRecord, ExternalModel, bytes | None]:
    """Load a network from its file; return its run, the model to evaluate, and the content of the file to store.

    The preprocessing is probed, unless the run is stored and its probe found no problem.
    """
    loaded = load_external(requested, context)
    declared = Declared(name=str(requested.name), variant=requested.variant, seed=requested.seed, repeats=True)
    trainable = sum(parameter.numel() for parameter in loaded.model.parameters())
    run, _ = external_run(loaded.model, declared, trainable, context, source=loaded.source, content=loaded.content)
    stored = context.store.finished_run(run.run_id)
    if (
        stored is not None
        and stored.source is not None
        and not context.config.force
        and not has_problem(stored.source.notes)
    ):
        context.progress.line(f"{requested.title}: preprocessing already probed in run {run.run_id}")
        notes = stored.source.notes
    else:
        notes = (*loaded.source.notes, *probe_external(requested, loaded, context))
    source = replace(loaded.source, notes=notes)
    return replace(run, source=source), ExternalModel(loaded.model, notes).eval(), loaded.content


@dataclass(frozen=True)
class Evaluated:
    """Evaluated run with its model and its requested cells."""

    run: RunRecord
    model: nn.Module  # wrapped, frozen and in evaluation mode
    cells: tuple[EvalSpec, ...]


def store_run(
    run: RunRecord, model: ExternalModel, request: Request, context: RunContext, content: bytes | None
) -> Evaluated:
    """Store the run, with its network file if ``content`` is given, and plan its cells."""
    cells = plan_cells(request, run.run_id, run.seed)
    context.read_images_of(unfinished(cells, context.store, context.config))
    context.store.write_run(context.store.finished_run(run.run_id) or run, content)
    return Evaluated(run, model, cells)


def evaluate_runs(evaluations: Sequence[Evaluated], request: Request, context: RunContext, summary: RunSummary) -> None:
    """Evaluate the pending cells of the runs, and audit the runs after all cells.

    Raises BenchError if a run was deleted meanwhile, because no table has the cells of an unknown run.
    """
    classes, work = request.data.num_classes, []
    for evaluated in evaluations:
        run, pending = evaluated.run, unfinished(evaluated.cells, context.store, context.config)
        summary.cached += len(evaluated.cells) - len(pending)
        title = f"{run.model}:{run.variant}:{run.seed}"
        work.append((EvaluatedModel(title, evaluated.model, run.weights_sha, classes), pending))
    finish_cells(work, context, summary)
    for evaluated in evaluations:
        if context.store.read_run(evaluated.run.run_id) is None:
            raise BenchError(
                f"run {evaluated.run.run_id} was deleted from {context.store.root} during this command; repeat it."
            )
    for _, pending in work:
        add_results_of_others(pending, context, summary)
    for evaluated in evaluations:
        audit_evaluated(evaluated, request, context, summary)


def audit_evaluated(found: Evaluated, request: Request, context: RunContext, summary: RunSummary) -> None:
    """Audit the attacks of a run, unless they are already audited or no audit is requested."""
    run, split, level = found.run, context.dataset.test.sha, context.config.audit
    path, force = context.store.audit_path(run.run_id, split), context.config.force

    def is_complete() -> bool:
        return context.work.is_mine(path) or is_audited(run.run_id, split, context.store, level, force=force)

    while level != "none" and not is_complete():
        with context.work.claimed(path, unless=is_complete) as mine:
            if mine:
                classes, size = request.data.num_classes, request.batch_size
                record = audit_run(run, classes, found.model, context, batch_size=size, level=level)
                report_audit(run, record, context, summary)
        if not is_complete():
            context.work.wait([path], context.progress)
