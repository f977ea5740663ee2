"""Evaluate the cells of one model. Each cell is stored and reported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import groupby

from torch import nn

from bench.attacks.registry import resolve
from bench.context import RunContext
from bench.core.errors import CellFailure
from bench.core.records import EvalRecord, Status, timestamp
from bench.core.specs import Encoding, EvalSpec
from bench.core.vocabulary import marks
from bench.evaluation.adversarials import dump_adversarials
from bench.evaluation.cell import CellInput, Outcomes
from bench.evaluation.evaluate import DTYPE, evaluate_cell
from bench.evaluation.fast_model import SearchModels
from bench.evaluation.journal import CellJournal
from bench.planning.resume import RunSummary
from bench.results.chance_level import of_chance
from bench.results.per_image import Sample
from bench.results.store import Store
from bench.runtime.environment import describe
from bench.runtime.interrupt import check_stop
from bench.runtime.torch_state import harness_torch_state


def line_of(spec: EvalSpec) -> str:
    """Return a key to group cells by progress message: all severities of one corruption have the same key."""
    return spec.corruption.kind if spec.corruption else spec.cell_id


def is_good(record: EvalRecord) -> bool:
    """Return whether the cell is ok and has an accuracy."""
    return record.status == "ok" and record.n_correct is not None


def ok_message(records: Sequence[EvalRecord], subject: str) -> str:
    """Format one message for ok cells: accuracies, number of images, flags, a note on chance level, and seconds."""
    last, seconds = records[-1], sum(record.time_s for record in records)
    shares = " ".join(f"{(record.n_correct or 0) / record.n:.1%}" for record in records)
    counts = f"({last.n_correct}/{last.n})" if len(records) == 1 else f"n={last.n}"
    flags = dict.fromkeys(flag for record in records for flag in record.flags)
    chance = "".join(f", {note}" for note in of_chance(last.notes))
    return f"{subject} {_title(records)}: {shares} {counts}{marks(flags)}{chance}, {seconds:.1f} s"


def _title(records: Sequence[EvalRecord]) -> str:
    """Return the name of the cells, such as ``fog@severity-1,2,3`` for several severities."""
    severities = [str(r.spec.corruption.severity) for r in records[1:] if r.spec.corruption]
    return ",".join([records[0].spec.name, *severities])


def error_message(record: EvalRecord, subject: str) -> str:
    """Format a failed cell: status, reason and message."""
    return f"{subject} {record.spec.name} {record.status}: {record.reason}: {record.message}"


@dataclass(frozen=True)
class EvaluatedModel:
    """Model under test: frozen, in evaluation mode, on the device of the run context."""

    name: str  # name in messages
    model: nn.Module
    weights_sha: str
    num_classes: int


@harness_torch_state()
def run_cells(cells: Sequence[EvalSpec], subject: EvaluatedModel, context: RunContext, summary: RunSummary) -> None:
    """Evaluate and store every cell that no other process has claimed.

    A failed cell is also stored and does not stop the other cells. Raises Stopped between two cells if a stop was
    requested. Returns early if another process has stored other weights for the run.
    """
    size = context.dataset.image_size
    search_models = SearchModels(subject.model, (3, size, size), context.device)
    for _, group in groupby(cells, key=line_of):
        records: list[EvalRecord] = []
        try:
            for spec in group:
                check_stop()
                if _has_other_weights(spec, subject, context):
                    return
                records += _claim_and_store(spec, subject, search_models, context)
        finally:
            _report(records, subject, context, summary)


def finish_cells(
    work: Sequence[tuple[EvaluatedModel, Sequence[EvalSpec]]], context: RunContext, summary: RunSummary
) -> None:
    """Evaluate the cells of several models, and wait at the end for those that other processes have claimed."""
    for _, cells in work:
        context.work.plan_cells(cells)
    while before := _open_cells(work, context):
        for subject, cells in work:
            run_cells([cell for cell in cells if context.work.is_open(cell)], subject, context, summary)
        remaining = _open_cells(work, context)
        if remaining and len(remaining) == len(before):
            paths = [context.store.cell_path(cell.run_id, cell.cell_id) for cell in remaining]
            context.work.wait(paths, context.progress)


def _open_cells(work: Sequence[tuple[EvaluatedModel, Sequence[EvalSpec]]], context: RunContext) -> list[EvalSpec]:
    return [cell for _, cells in work for cell in cells if context.work.is_open(cell)]


def _has_other_weights(spec: EvalSpec, subject: EvaluatedModel, context: RunContext) -> bool:
    run = context.store.read_run(spec.run_id)
    return run is not None and run.weights_sha != subject.weights_sha


def _claim_and_store(
    spec: EvalSpec, subject: EvaluatedModel, search_models: SearchModels, context: RunContext
) -> list[EvalRecord]:
    """Evaluate one cell and return its record; empty if another process has the cell, or one of its filters."""
    if context.work.waits(spec):
        return []
    path, work = context.store.cell_path(spec.run_id, spec.cell_id), context.work
    with work.claimed(path, unless=lambda: work.is_cell_done(spec)) as mine:
        if not mine:
            return []
        journal = _journal(spec, subject, context)
        search_models.begin_cell()
        evaluated, samples, adversarials = _evaluate(spec, subject, search_models, context, journal)
        record = _with_data_notes(evaluated, context)
        context.store.write_cell(record, samples, adversarials)
        journal.drop()
        return [record]


def _report(records: Sequence[EvalRecord], subject: EvaluatedModel, context: RunContext, summary: RunSummary) -> None:
    """Print the cells of one group, and add them to ``summary``."""
    ok_records, other_records = [r for r in records if is_good(r)], [r for r in records if not is_good(r)]
    sentences = [error_message(record, subject.name) for record in other_records]
    summary.evaluated += len(ok_records)
    summary.bad += sentences
    for line in ([ok_message(ok_records, subject.name)] if ok_records else []) + sentences:
        context.progress.line(line)


def skip(cells: Sequence[EvalSpec], reason: str, message: str, context: RunContext) -> None:
    """Store ``cells`` as skipped, with a reason and a message."""
    for spec in cells:
        with context.work.claimed(context.store.cell_path(spec.run_id, spec.cell_id)) as mine:
            if mine:
                record = _without_result(spec, context, "", "skipped", reason, message)
                context.store.write_cell(_with_data_notes(record, context), None)


def _with_data_notes(record: EvalRecord, context: RunContext) -> EvalRecord:
    """Return the record with the notes of the data set and, if images were evaluated, notes on duplicate images."""
    record = replace(record, notes=(*record.notes, *context.dataset.notes))
    if not record.n:
        return record
    ids, copies = context.images("test", record.spec.limit).ids, context.duplicates
    return replace(record, notes=(*record.notes, *copies.notes(ids)), leaked=copies.leaked(ids))


Evaluated = tuple[EvalRecord, list[Sample] | None, bytes | None]  # record, outcomes per image, stored images


def _evaluate(
    spec: EvalSpec, subject: EvaluatedModel, search_models: SearchModels, context: RunContext, journal: CellJournal
) -> Evaluated:
    misclassified = _filtering_outcomes(spec, context.store)
    if misclassified is None:
        reason = "a filtering attack has no result."
        return _without_result(spec, context, subject.weights_sha, "skipped", "prerequisite_failed", reason), None, None
    try:
        images = context.corrupted(spec.corruption, spec.limit) if spec.corruption else None
    except CellFailure as failure:
        sha = subject.weights_sha
        return _without_result(spec, context, sha, "failed", failure.reason, failure.message), None, None
    cell_input = CellInput(
        model=subject.model,
        weights_sha=subject.weights_sha,
        images=images or context.images("test", spec.limit),
        n_test=len(context.dataset.test),
        official=context.is_official(spec.corruption, spec.limit),
        num_classes=subject.num_classes,
        device=context.device,
        entry=resolve(spec.attack.name, spec.attack.backend).entry if spec.attack else None,
        misclassified=misclassified,
        auto_batch=context.auto_batch,
        save_adversarials=context.config.save_adversarials,
        search_models=search_models,
        journal=journal,
    )
    record, outcomes = evaluate_cell(spec, cell_input, context.progress)
    if outcomes is None:
        return record, None, None
    samples, stored = _samples(cell_input, outcomes), outcomes.adversarials
    if stored is None:
        return record, samples, None
    content = dump_adversarials(stored, record.cell_id, record.weights_sha)
    return _with_hash(record, content, context.config.save_adversarials, stored.n_broken_8bit), samples, content


def _journal(spec: EvalSpec, subject: EvaluatedModel, context: RunContext) -> CellJournal:
    """Open the journal of a cell.

    Entries of other weights, of other outcomes of the filters, of another device or of other versions are not used.
    """
    environment, options = describe(context.device), context.config
    facts = [spec.cell_id, subject.weights_sha, environment.device, environment.torch, environment.bench]
    filters = (context.store.finished_cell(spec.run_id, cell_id) for cell_id in spec.filters)
    facts += [cell.samples_sha for cell in filters if cell is not None]  # their outcomes select the images
    key = sha256(json.dumps([*facts, spec.batch_size, options.limit]).encode()).hexdigest()
    path = context.store.cell_path(spec.run_id, spec.cell_id).with_suffix("")
    if options.force:
        CellJournal(path).drop()
    journal = CellJournal(path, key)
    if journal.resumed:
        context.progress.line(f"{subject.name} {spec.name}: continuing after {journal.earlier_s:.0f} s of earlier work")
    return journal


def _with_hash(record: EvalRecord, content: bytes, encoding: Encoding, n_broken_8bit: int | None) -> EvalRecord:
    """Return the record with encoding and hash of its stored adversarial images."""
    sha = sha256(content).hexdigest()
    return replace(record, adversarials=encoding, adversarials_sha=sha, n_broken_8bit=n_broken_8bit)


def _filtering_outcomes(spec: EvalSpec, store: Store) -> dict[str, Sample] | None:
    """Return the images misclassified under the filtering attacks, by id; None if one of these cells has no result."""
    misclassified: dict[str, Sample] = {}
    for cell_id in spec.filters:
        record = store.finished_cell(spec.run_id, cell_id)
        if record is None:
            return None
        for sample in store.read_samples(record):
            if sample.distance is not None:
                misclassified.setdefault(sample.sample_id, sample)
    return misclassified


def _samples(cell_input: CellInput, outcomes: Outcomes) -> list[Sample]:
    columns = (cell_input.images.labels, outcomes.clean_pred, outcomes.adv_pred, outcomes.distance)
    rows = zip(cell_input.images.ids, *(column.tolist() for column in columns), strict=True)
    return [Sample(name, y, clean, adv, None if d != d else d) for name, y, clean, adv, d in rows]


def _without_result(
    spec: EvalSpec, context: RunContext, weights_sha: str, status: Status, reason: str, message: str
) -> EvalRecord:
    return EvalRecord(
        cell_id=spec.cell_id,
        spec=spec,
        weights_sha=weights_sha,
        status=status,
        reason=reason,
        message=message,
        n=0,
        n_test=len(context.dataset.test),
        n_attacked=0,
        n_correct=None,
        max_distance=None,
        n_forwards=0,
        n_backwards=0,
        batch_size=spec.batch_size,
        time_s=0.0,
        created=timestamp(),
        official=context.dataset.official,
        dtype=DTYPE,
        backend="",
        backend_version="",
        notes=(),
        environment=describe(context.device),
    )
