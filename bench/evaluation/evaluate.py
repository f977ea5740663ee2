"""Evaluate one cell: attack the correctly classified images, verify the result, and make a record."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from bench.attacks.corruptions.notes import corruption_notes
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.geometry.norms import random_points
from bench.attacks.registry import backend_version
from bench.context import failures_as
from bench.core.errors import CellFailure
from bench.core.records import EvalRecord, timestamp
from bench.core.specs import AttackSpec, EvalSpec
from bench.core.vocabulary import CLEAN
from bench.core.words import pluralize
from bench.data.sampling import drawn_notes
from bench.data.tensors import spread
from bench.evaluation.adversarials import Adversarials, encode
from bench.evaluation.attack_runner import SMALLEST_BATCH, attack_all, free_memory
from bench.evaluation.cell import CellInput, Outcomes
from bench.evaluation.cell_stats import CellStats
from bench.evaluation.verify import predict
from bench.external.model import notes_of
from bench.results.chance_level import chance_notes, majority_of
from bench.runtime.captured_warnings import capture_warnings
from bench.runtime.environment import describe
from bench.runtime.progress import Progress
from bench.sanity.cell_checks import ZeroGradients, check_gradients, check_randomised, check_unchanged, clean_logits

DTYPE = "float32"
OWN_BACKEND = "collapse-bench"  # backend in the records of corruption cells
MOST_NOTES = 20  # maximum number of notes of a computation; a model may warn differently at every call
CHECKED_CORRUPTED = 50  # number of corrupted images to check for randomised logits (the clean cell checks more)


def evaluate_cell(spec: EvalSpec, cell_input: CellInput, progress: Progress) -> tuple[EvalRecord, Outcomes | None]:
    """Evaluate one cell. If it fails, return a record with the reason and no outcomes instead of raising.

    Warnings are in the notes of the record.
    """
    stats = CellStats(batch_size=cell_input.journal.start_size or spec.batch_size, log=progress.line)
    start = time.perf_counter()
    with capture_warnings() as messages:
        try:
            outcomes = _with_smaller_batches(spec, cell_input, progress, stats)
            failure = None
        except CellFailure as error:
            outcomes, failure = None, error
    stats.notes = _shortened(tuple(dict.fromkeys((*stats.notes, *messages))))
    elapsed = time.perf_counter() - start + cell_input.journal.earlier_s
    return _record(spec, cell_input, stats, outcomes, failure, elapsed), outcomes


def _shortened(notes: tuple[str, ...]) -> tuple[str, ...]:
    """Return at most ``MOST_NOTES`` notes of a computation, with the number of those left out."""
    more = len(notes) - MOST_NOTES
    return notes if more <= 0 else (*notes[:MOST_NOTES], f"{more} more warnings or notes")


def _with_smaller_batches(spec: EvalSpec, cell_input: CellInput, progress: Progress, stats: CellStats) -> Outcomes:
    """Evaluate the cell. After an out-of-memory error, repeat it with half the batch size if the size is automatic.

    Attacks on :class:`bench.attacks.engine.fast_model.FastModel` reduce their batches during the attack, see
    :mod:`bench.evaluation.attack_runner`. This function handles out-of-memory errors of all other evaluations.
    """
    while True:
        cell_input.journal.start_size = stats.batch_size
        try:
            return _outcomes(spec, cell_input, progress, stats)
        except CellFailure as failure:
            smaller = stats.batch_size // 2
            if failure.reason != "out_of_memory" or not cell_input.auto_batch or smaller < SMALLEST_BATCH:
                raise
            stats.batch_size = smaller
            stats.forwards = stats.backwards = stats.n_truncated = 0  # report the passes of the last attempt only
            stats.stages = ()
            cell_input.journal.restart()
            progress.line(f"  out of memory; starting the cell again with batches of {smaller}")
            free_memory(cell_input.device)


def _outcomes(spec: EvalSpec, cell_input: CellInput, progress: Progress, stats: CellStats) -> Outcomes:
    outcomes = _clean(cell_input, stats.batch_size)
    all_indices = torch.arange(len(cell_input.images))
    checked = all_indices if spec.corruption is None else spread(all_indices, CHECKED_CORRUPTED)
    with failures_as("model_error"):
        stats.findings = check_randomised(
            cell_input.model, cell_input.images, checked, cell_input.device, stats.batch_size
        )
    if spec.attack is None:  # a cell of clean or corrupted images
        stats.forwards = len(cell_input.images)
        return outcomes
    _copy_filtered(outcomes, cell_input)
    remaining = (outcomes.adv_pred == cell_input.images.labels).nonzero().squeeze(1)
    stats.n_attacked = len(remaining)
    if len(remaining):
        zero = _zero_gradients(cell_input, spec.attack, remaining, stats.batch_size)
        stats.findings += zero.findings
        stats.notes = tuple(dict.fromkeys((*stats.notes, *zero.notes)))  # no duplicates if the cell starts again
        with _logits_compared(cell_input, stats):
            attack_all(spec, spec.attack, cell_input, remaining, outcomes, progress, stats)
    if cell_input.save_adversarials != "none":
        outcomes.adversarials = _encoded(spec.attack, cell_input, outcomes, stats.batch_size)
    return outcomes


@contextmanager
def _logits_compared(cell_input: CellInput, stats: CellStats) -> Iterator[None]:
    """Add a finding if the logits of clean images change during the block, which attacks the model."""
    logits = partial(clean_logits, cell_input.model, cell_input.images, cell_input.device)
    with failures_as("model_error"):
        before = logits(stats.batch_size)
    yield
    if all(finding.flag != "randomised" for finding in stats.findings):
        with failures_as("model_error"):
            stats.findings += check_unchanged(before, logits(stats.batch_size))  # the attack may have reduced it


def _zero_gradients(cell_input: CellInput, attack: AttackSpec, remaining: Tensor, batch_size: int) -> ZeroGradients:
    """Check the gradients at the images to attack. The check is skipped for attacks that use no gradients.

    Raise CellFailure("no_gradient") if the attack needs gradients and the model has none.
    """
    if cell_input.entry is None or not cell_input.entry.cost(attack.params, cell_input.num_classes).backwards:
        return ZeroGradients()
    with failures_as("model_error"):
        return check_gradients(
            cell_input.model,
            cell_input.images,
            remaining,
            cell_input.device,
            batch_size,
            partial(_random_points, attack=attack),
        )


def _random_points(inputs: Tensor, ids: Sequence[str], *, attack: AttackSpec) -> Tensor:
    """Draw points uniformly in the attack's balls and in [0, 1]. All attacks of one budget get the same points."""
    keys = SampleRng(0, "gradient-check", ids, inputs.device).keys()
    return random_points(inputs, keys, attack.norm, attack.eps)


def _encoded(attack: AttackSpec, cell_input: CellInput, outcomes: Outcomes, batch_size: int) -> Adversarials:
    with failures_as("model_error"):
        return encode(
            outcomes.kept,
            cell_input.save_adversarials,
            attack,
            cell_input.model,
            cell_input.images,
            num_classes=cell_input.num_classes,
            device=cell_input.device,
            batch_size=batch_size,
        )


def _clean(cell_input: CellInput, batch_size: int) -> Outcomes:
    with failures_as("model_error"):
        batches = torch.arange(len(cell_input.images)).split(batch_size)
        parts = [
            predict(cell_input.model, inputs, cell_input.num_classes).cpu()
            for inputs, _ in cell_input.images.batches(batches, cell_input.device)
        ]
    return Outcomes.unattacked(torch.cat(parts), cell_input.images.labels)


def _copy_filtered(outcomes: Outcomes, cell_input: CellInput) -> None:
    """Copy prediction and distance of the images that are misclassified under a filtering attack."""
    for i, name in enumerate(cell_input.images.ids):
        earlier = cell_input.misclassified.get(name)
        if earlier is not None and earlier.distance is not None and outcomes.distance[i].isnan():
            outcomes.adv_pred[i] = earlier.adv_pred
            outcomes.distance[i] = earlier.distance


def _record(
    spec: EvalSpec,
    cell_input: CellInput,
    stats: CellStats,
    outcomes: Outcomes | None,
    failure: CellFailure | None,
    elapsed: float,
) -> EvalRecord:
    entry = cell_input.entry
    adversarial = outcomes.distance[outcomes.distance > 0] if outcomes and spec.attack else torch.empty(0)
    departures = entry.notes(spec.attack.params, cell_input.num_classes) if entry and spec.attack else ()
    if spec.corruption is not None:
        side = min(cell_input.images.shape[1:])
        departures = corruption_notes(spec.corruption, side, published=cell_input.official)
    n_correct = int((outcomes.adv_pred == cell_input.images.labels).sum()) if outcomes else None
    n_majority, n_correct_majority = int(cell_input.images.labels.bincount().max()), None
    if outcomes is not None and n_correct is not None and spec.is_clean:
        majority = majority_of(outcomes.clean_pred.numpy(), cell_input.images.labels.numpy())
        constant = len(outcomes.clean_pred.unique()) == 1
        departures = chance_notes(n_correct, len(cell_input.images), majority, constant=constant)
        n_correct_majority = majority.n_correct
    notes_on_sample = drawn_notes(len(cell_input.images), cell_input.n_test)
    bound = spec.attack.max_queries if spec.attack else None
    if bound is not None:
        cut = f"{stats.n_truncated} of {stats.n_attacked} searches truncated and counted as failed attacks"
        departures = (f"at most {pluralize(bound, 'forward pass', 'forward passes')} per image: {cut}", *departures)
    return EvalRecord(
        cell_id=spec.cell_id,
        spec=spec,
        weights_sha=cell_input.weights_sha,
        status="failed" if failure else "ok",
        reason=failure.reason if failure else "",
        message=failure.message if failure else "",
        n=len(cell_input.images),
        n_test=cell_input.n_test,
        n_attacked=stats.n_attacked,
        n_correct=n_correct,
        max_distance=float(adversarial.max()) if len(adversarial) else None,
        n_forwards=stats.forwards,
        n_backwards=stats.backwards,
        batch_size=stats.batch_size,
        time_s=elapsed,
        created=timestamp(),
        official=cell_input.official,
        dtype=DTYPE,
        backend=entry.backend if entry else CLEAN if spec.is_clean else OWN_BACKEND,
        backend_version=backend_version(entry) if entry else "",
        notes=(
            *notes_on_sample,
            *departures,
            *notes_of(cell_input.model),
            *stats.notes,
            *(finding.note for finding in stats.findings),
        ),
        environment=describe(cell_input.device),
        n_truncated=None if bound is None or failure else stats.n_truncated,
        n_majority=n_majority,
        n_correct_majority=n_correct_majority,
        flags=tuple(finding.flag for finding in stats.findings),
        stages=() if failure else stats.stages,
    )
