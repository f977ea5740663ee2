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
    if not workshop.force and workshop.store.finished_run(spec.run_id) is not None:
        built = load_run(spec, workshop)
    else:
        fresh = _train(spec, todo, workshop, tally)
        if fresh is None:
            return
        built = fresh
    work_off(todo, Subject(spec.name, freeze(built.classifier), spec.data.num_classes), workshop, tally)


def _train(spec: TrainSpec, todo: Sequence[EvalSpec], workshop: Workshop, tally: Tally) -> BuiltModel | None:
    """The freshly trained model; None, with its cells recorded as skipped, when the training failed."""
    record, built = train_run(spec, workshop)
    if built is None:
        tally.bad.append(f"{spec.name} failed to train: {record.reason}: {record.message}")
        workshop.progress.line(tally.bad[-1])
        skip(todo, "training_failed", f"{record.reason}: {record.message}", workshop)
        return None
    tally.trained += 1
    share = "" if record.train_accuracy is None else f", {record.train_accuracy:.1%} of training images correct"
    workshop.progress.line(f"{spec.name}: trained in {record.time_s:.1f} s{share}")
    return built
