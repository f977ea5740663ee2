"""Evaluate and audit a network that was trained elsewhere, as far as that is not done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from bench.audit.audit_run import audit_run, report_audit
from bench.audit.levels import LevelName
from bench.context import Workshop
from bench.core.records import RunRecord
from bench.core.specs import EvalSpec
from bench.evaluation.run_cells import Subject, work_off
from bench.external.load_file import load_external, probe_external
from bench.external.model import Declared, ExternalModel, external_run
from bench.external.options import ExternalOptions
from bench.external.probe import has_problem
from bench.planning.plan import Request, plan_cells
from bench.planning.resume import Tally, is_audited, is_finished


def external_of(asked: ExternalOptions, workshop: Workshop) -> tuple[RunRecord, ExternalModel, bytes | None]:
    """Load a network from its file; return its run, the model to evaluate, and the file to store.

    The preprocessing is probed unless the store has this run and its probe found no problem.
    """
    loaded = load_external(asked, workshop)
    declared = Declared(name=str(asked.name), variant=asked.variant, seed=asked.seed, repeats=True)
    trainable = sum(parameter.numel() for parameter in loaded.model.parameters())
    run, _ = external_run(loaded.model, declared, trainable, workshop, source=loaded.source, content=loaded.content)
    known = workshop.store.finished_run(run.run_id)
    if known is not None and known.source is not None and not workshop.force and not has_problem(known.source.notes):
        workshop.progress.line(f"{asked.title}: already probed, in run {run.run_id}")
        notes = known.source.notes
    else:
        notes = (*loaded.source.notes, *probe_external(asked, loaded, workshop))
    source = replace(loaded.source, notes=notes)
    return replace(run, source=source), ExternalModel(loaded.model, notes).eval(), loaded.content


@dataclass(frozen=True)
class Evaluated:
    """A run and the cells that were asked for."""

    run: RunRecord
    model: nn.Module  # wrapped, frozen and in evaluation mode
    cells: tuple[EvalSpec, ...]


def evaluate_run(
    run: RunRecord, model: ExternalModel, request: Request, workshop: Workshop, tally: Tally, content: bytes | None
) -> Evaluated:
    """Store the run, with its network if ``content`` is given, and evaluate the cells that are not there."""
    cells = plan_cells(request, run.run_id, run.seed)
    todo = pending_of(cells, workshop)
    tally.cached += len(cells) - len(todo)
    workshop.read_images_of(todo)
    workshop.store.write_run(workshop.store.finished_run(run.run_id) or run, content)
    title = f"{run.model}:{run.variant}:{run.seed}"
    work_off(todo, Subject(title, model, run.weights_sha, request.data.num_classes), workshop, tally)
    return Evaluated(run, model, cells)


def pending_of(cells: Sequence[EvalSpec], workshop: Workshop) -> list[EvalSpec]:
    if workshop.force:
        return list(cells)
    return [cell for cell in cells if not is_finished(cell, workshop.store, workshop.save_adversarials)]


def audit_evaluated(
    found: Evaluated, request: Request, workshop: Workshop, tally: Tally, level: LevelName = "default"
) -> None:
    """Audit the attacks on a run, unless that is done."""
    run, split = found.run, workshop.dataset.test.sha
    if is_audited(run.run_id, split, workshop.store, level, force=workshop.force):
        return
    classes, size = request.data.num_classes, request.batch_size
    record = audit_run(run, classes, found.model, workshop, batch_size=size, level=level)
    report_audit(run, record, workshop, tally)
