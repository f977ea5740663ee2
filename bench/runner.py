"""Works off a plan: trains what has no weights, evaluates what has no answer, records what went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from bench.cells import Subject, skip, work_off
from bench.core.specs import EvalSpec, TrainSpec
from bench.pending import Tally, pending_cells
from bench.plan import RunPlan
from bench.runs import load_run, train_run
from bench.train import freeze
from bench.workshop import Workshop
from models.build import BuiltModel


def execute(plan: Sequence[RunPlan], workshop: Workshop) -> Tally:
    """Do the whole plan. What goes wrong in one run or cell never stops the others."""
    tally = Tally()
    for run in plan:
        todo = pending_cells(run, workshop.store, force=workshop.force)
        tally.cached += len(run.cells) - len(todo)
        if todo:
            _execute_run(run.train, todo, workshop, tally)
    return tally


def _execute_run(spec: TrainSpec, todo: Sequence[EvalSpec], workshop: Workshop, tally: Tally) -> None:
    kept = None if workshop.force else workshop.store.finished_run(spec.run_id)
    built = load_run(spec, workshop) if kept is not None else _train(spec, todo, workshop, tally)
    record = workshop.store.read_run(spec.run_id)
    if built is None or record is None:
        return
    subject = Subject(spec.name, freeze(built.classifier), record.weights_sha, spec.data.num_classes)
    work_off(todo, subject, workshop, tally)


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
    share = "" if record.train_accuracy is None else f", running training accuracy {record.train_accuracy:.1%}"
    workshop.progress.line(f"{spec.name}: trained in {record.time_s:.1f} s{share}")
    return built
