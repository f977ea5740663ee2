"""Works off a plan: trains what has no weights, evaluates what has no answer, records what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from torch import nn

from attacks.registry import AttackEntry, resolve
from bench.core.specs import EvalRecord, EvalSpec
from bench.environment import describe
from bench.evaluate import DTYPE, CellContext, Outcomes, evaluate_cell
from bench.pending import Tally, pending_cells
from bench.plan import RunPlan
from bench.runs import load_run, train_run
from bench.samples import Sample
from bench.store import Store
from bench.train import freeze
from bench.workshop import Workshop


def execute(plan: Sequence[RunPlan], workshop: Workshop) -> Tally:
    """Do the whole plan. What goes wrong in one run or cell never stops the others."""
    tally = Tally()
    for run in plan:
        _execute_run(run, workshop, tally)
    return tally


def _execute_run(run: RunPlan, workshop: Workshop, tally: Tally) -> None:
    todo = pending_cells(run, workshop.store, force=workshop.force)
    tally.cached += len(run.cells) - len(todo)
    if not todo:
        return
    name = run.train.name
    trained = None if workshop.force else workshop.store.finished_run(run.train.run_id)
    if trained is not None:
        built = load_run(run.train, workshop)
    else:
        record, fresh = train_run(run.train, workshop)
        if fresh is None:
            _skip_cells(todo, workshop, tally, name, f"{record.reason}: {record.message}")
            return
        tally.trained += 1
        built = fresh
        workshop.progress.line(
            f"{name}: trained in {record.time_s:.1f} s, {_share(record.train_accuracy)} of training images"
        )
    _evaluate_cells(run, todo, freeze(built.classifier), workshop, tally)


def _share(fraction: float | None) -> str:
    return "unknown share" if fraction is None else f"{fraction:.1%}"


def _skip_cells(todo: Sequence[EvalSpec], workshop: Workshop, tally: Tally, name: str, message: str) -> None:
    tally.bad.append(f"{name} failed to train: {message}")
    workshop.progress.line(tally.bad[-1])
    for spec in todo:
        workshop.store.write_cell(_skipped(spec, workshop, "training_failed", message), None)


def _evaluate_cells(run: RunPlan, todo: Sequence[EvalSpec], model: nn.Module, workshop: Workshop, tally: Tally) -> None:
    for spec in todo:
        record, samples = _evaluate(spec, run, model, workshop)
        workshop.store.write_cell(record, samples)
        title = f"{run.train.name} {spec.name}"
        if record.status == "ok" and record.n_correct is not None:
            tally.evaluated += 1
            share = record.n_correct / record.n
            workshop.progress.line(f"{title}: {share:.1%} ({record.n_correct}/{record.n}), {record.time_s:.1f} s")
        else:
            tally.bad.append(f"{title} {record.status}: {record.reason}: {record.message}")
            workshop.progress.line(tally.bad[-1])


def _evaluate(
    spec: EvalSpec, run: RunPlan, model: nn.Module, workshop: Workshop
) -> tuple[EvalRecord, list[Sample] | None]:
    images = workshop.images("test", spec.limit)
    broken = _filtering_outcomes(spec, workshop.store)
    if broken is None:
        return _skipped(spec, workshop, "prerequisite_failed", "a filtering attack has no result."), None
    entry: AttackEntry | None = resolve(spec.attack.name).entry if spec.attack else None
    context = CellContext(
        model=model,
        images=images,
        n_test=len(workshop.dataset.test),
        official=workshop.dataset.official,
        num_classes=run.train.data.num_classes,
        device=workshop.device,
        entry=entry,
        broken=broken,
        auto_batch=workshop.auto_batch,
    )
    record, outcomes = evaluate_cell(spec, context, workshop.progress)
    return record, None if outcomes is None else _samples(context, outcomes)


def _filtering_outcomes(spec: EvalSpec, store: Store) -> dict[str, Sample] | None:
    """The images that the filtering cells broke, by id; None when one of these cells has no result."""
    broken: dict[str, Sample] = {}
    for cell_id in spec.filters:
        record = store.finished_cell(spec.run_id, cell_id)
        if record is None:
            return None
        for sample in store.read_samples(record):
            if sample.distance is not None:
                broken.setdefault(sample.sample_id, sample)
    return broken


def _samples(context: CellContext, outcomes: Outcomes) -> list[Sample]:
    columns = (context.images.labels, outcomes.clean_pred, outcomes.adv_pred, outcomes.distance)
    rows = zip(context.images.ids, *(column.tolist() for column in columns), strict=True)
    return [Sample(name, y, clean, adv, None if d != d else d) for name, y, clean, adv, d in rows]


def _skipped(spec: EvalSpec, workshop: Workshop, reason: str, message: str) -> EvalRecord:
    return EvalRecord(
        cell_id=spec.cell_id,
        spec=spec,
        status="skipped",
        reason=reason,
        message=message,
        n=spec.limit or len(workshop.dataset.test),
        n_test=len(workshop.dataset.test),
        n_attacked=0,
        n_correct=None,
        max_distance=None,
        n_forwards=0,
        n_backwards=0,
        batch_size=spec.batch_size,
        time_s=0.0,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        official=workshop.dataset.official,
        dtype=DTYPE,
        backend="",
        backend_version="",
        notes=(),
        flags=(),
        environment=describe(workshop.device),
    )
