"""Works off a plan: trains what has no weights, evaluates what has no answer, records what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from bench.auditing.levels import LevelName
from bench.collapse import ADVICE, NOT_COLLAPSED
from bench.core.specs import EvalSpec, TrainSpec
from bench.diagnostics.registry import plugin_columns
from bench.models.build import BuiltModel
from bench.models.classifier import Classifier, freeze
from bench.models.variants import has_collapse_penalty
from bench.pending import Tally, is_audited, is_diagnosed, pending_cells
from bench.plan import RunPlan
from bench.tables.board import board_rows
from bench.tables.collapse import row_collapse
from bench.tables.results import all_cells, all_diagnoses
from bench.torch_state import harness_torch_state
from bench.work.audits import audit_run, report_audit
from bench.work.cells import Subject, skip, work_off
from bench.work.diagnosis import diagnose
from bench.work.runs import load_run, train_run
from bench.work.workshop import Workshop

HEADLINE = ("nc1", "cov_norm", "binarity_mean")


@harness_torch_state()
def execute(plan: Sequence[RunPlan], workshop: Workshop) -> Tally:
    """Do the whole plan. What goes wrong in one run or cell never stops the others."""
    tally = Tally()
    for run in plan:
        todo = pending_cells(run, workshop.store, force=workshop.force, save_adversarials=workshop.save_adversarials)
        tally.cached += len(run.cells) - len(todo)
        undiagnosed = workshop.diagnose and not is_diagnosed(
            run, workshop.store, plugin_columns(), force=workshop.force
        )
        if todo or undiagnosed:
            _execute_run(run.train, todo, undiagnosed, workshop, tally)
    _warn_of_collapse(plan, workshop)
    if workshop.audit != "none":  # after all, as the audit of one run shows it images that are made on another
        for run in plan:
            _audit(run, workshop, tally)
    return tally


def _audit(plan: RunPlan, workshop: Workshop, tally: Tally) -> None:
    spec, run = plan.train, workshop.store.finished_run(plan.train.run_id)
    split, force = workshop.dataset.test.sha, workshop.force
    if run is None or is_audited(spec.run_id, split, workshop.store, workshop.audit, force=force):
        return
    model = load_run(spec, workshop).classifier
    freeze(model)
    level = cast(LevelName, workshop.audit)
    record = audit_run(run, spec.data.num_classes, model, workshop, batch_size=plan.cells[0].batch_size, level=level)
    report_audit(run, record, workshop, tally)


def _warn_of_collapse(plan: Sequence[RunPlan], workshop: Workshop) -> None:
    """Warn of each row that is meant to collapse and did not, once all runs are diagnosed."""
    if not any(has_collapse_penalty(run.train.variant, run.train.variant_spec) for run in plan):
        return
    rows = board_rows(all_cells(workshop.store), diagnoses=all_diagnoses(workshop.store))
    group = [row for row in rows if row.data_sha == workshop.dataset.test.sha]
    asked = {run.train.config_sha for run in plan}
    for row in group:
        status = row_collapse(row, group) if row.run.config_sha in asked else None
        if status is not None and status.word == NOT_COLLAPSED:
            name = f"{row.run.model}:{row.run.variant}"
            workshop.progress.line(f"warning: {name} on {row.run.dataset}: {status.text}. {ADVICE}")


def _execute_run(
    spec: TrainSpec, todo: Sequence[EvalSpec], undiagnosed: bool, workshop: Workshop, tally: Tally
) -> None:
    workshop.read_images_of(todo)
    kept = None if workshop.force else workshop.store.finished_run(spec.run_id)
    built = load_run(spec, workshop) if kept is not None else _train(spec, todo, workshop, tally)
    record = workshop.store.read_run(spec.run_id)
    if built is None or record is None:
        return
    model = freeze(built.classifier)
    work_off(todo, Subject(spec.name, model, record.weights_sha, spec.data.num_classes), workshop, tally)
    if undiagnosed:
        _diagnose(spec, built.classifier, record.weights_sha, workshop, tally)


def _diagnose(spec: TrainSpec, model: Classifier, weights_sha: str, workshop: Workshop, tally: Tally) -> None:
    record = diagnose(model, spec.run_id, weights_sha, spec.data.train_limit, workshop)
    if record.status == "ok":
        tally.diagnosed += 1
        shown = (f"{name} {_short(record.values[f'collapse_{name}'])}" for name in HEADLINE)
        workshop.progress.line(f"{spec.name} diagnosis: {', '.join(shown)}, {record.time_s:.1f} s")
    else:
        tally.bad.append(f"{spec.name} diagnosis {record.status}: {record.reason}: {record.message}")
        workshop.progress.line(tally.bad[-1])


def _short(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"


def _train(spec: TrainSpec, todo: Sequence[EvalSpec], workshop: Workshop, tally: Tally) -> BuiltModel | None:
    """The freshly trained model; None, with its cells recorded as skipped, when the training failed."""
    record, built = train_run(spec, workshop)
    if built is None:
        tally.bad.append(f"{spec.name} failed to train: {record.reason}: {record.message}")
        workshop.progress.line(tally.bad[-1])
        skip(todo, "training_failed", f"{record.reason}: {record.message}", workshop)
        return None
    tally.trained += 1
    if spec.variant_spec.penalty and not record.gamma:
        workshop.progress.line(f"{spec.name}: the penalty's weight was 0 throughout; its schedule needs more epochs")
    share = f", running training accuracy {record.history[-1].accuracy:.1%}" if record.history else ""
    workshop.progress.line(f"{spec.name}: trained in {record.time_s:.1f} s{share}")
    return built
