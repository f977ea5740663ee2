"""One cell: an attack on a model's correctly classified images, measured, verified and recorded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import torch
from torch import Tensor

from bench.attacks.corruptions.notes import corruption_notes
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.geometry.norms import random_points
from bench.attacks.registry import backend_version
from bench.auditing.cell_checks import ZeroGradients, check_gradients, check_randomised
from bench.auditing.spread import spread
from bench.chance import chance_notes, majority_of
from bench.core.errors import CellFailure
from bench.core.records import EvalRecord
from bench.core.specs import AttackSpec, EvalSpec
from bench.core.vocabulary import CLEAN
from bench.data.sampling import drawn_notes
from bench.environment import describe
from bench.progress import Progress
from bench.work.adversarials import Adversarials, encode
from bench.work.attacking import attack_all
from bench.work.cell import CellContext, Outcomes, Tally
from bench.work.external import notes_of
from bench.work.memory import SMALLEST_BATCH, free_memory
from bench.work.verify import predict
from bench.work.workshop import failures_as

DTYPE = "float32"
OURSELVES = "collapse-bench"
ASKED_CORRUPTED = 50  # images of a corruption that are asked about twice; the clean cell asks about more


def evaluate_cell(spec: EvalSpec, context: CellContext, progress: Progress) -> tuple[EvalRecord, Outcomes | None]:
    """Run one cell. A failure of the cell is a record with its reason and no outcomes, never an exception."""
    tally = Tally(batch_size=spec.batch_size, say=progress.line)
    start = time.perf_counter()
    try:
        outcomes = _with_smaller_batches(spec, context, progress, tally)
        failure = None
    except CellFailure as error:
        outcomes, failure = None, error
    elapsed = time.perf_counter() - start
    return _record(spec, context, tally, outcomes, failure, elapsed), outcomes


def _with_smaller_batches(spec: EvalSpec, context: CellContext, progress: Progress, tally: Tally) -> Outcomes:
    """Start the cell again with half the batch when memory runs out and the user left the size to us.

    Attacks that batch themselves go on by themselves, see :mod:`bench.work.memory`; this is for all the rest.
    """
    while True:
        try:
            return _outcomes(spec, context, progress, tally)
        except CellFailure as failure:
            smaller = tally.batch_size // 2
            if failure.reason != "out_of_memory" or not context.auto_batch or smaller < SMALLEST_BATCH:
                raise
            tally.batch_size = smaller
            tally.forwards = tally.backwards = tally.n_cut = 0  # the attempt that counts is the next one
            progress.line(f"  out of memory; trying again with batches of {smaller}")
            free_memory(context.device)


def _outcomes(spec: EvalSpec, context: CellContext, progress: Progress, tally: Tally) -> Outcomes:
    outcomes = _clean(context, tally.batch_size)
    every = torch.arange(len(context.images))
    asked = every if spec.corruption is None else spread(every, ASKED_CORRUPTED)
    with failures_as("model_error"):
        tally.findings = check_randomised(context.model, context.images, asked, context.device, tally.batch_size)
    if spec.attack is None:  # clean, or corrupted already
        tally.forwards = len(context.images)
        return outcomes
    _adopt(outcomes, context)
    standing = (outcomes.adv_pred == context.images.labels).nonzero().squeeze(1)
    tally.n_attacked = len(standing)
    if len(standing):
        zero = _zero_gradients(context, spec.attack, standing, tally.batch_size)
        tally.findings += zero.findings
        tally.remarks = tuple(dict.fromkeys((*tally.remarks, *zero.notes)))  # once, also when the cell starts again
        attack_all(spec, spec.attack, context, standing, outcomes, progress, tally)
    if context.save_adversarials != "none":
        outcomes.adversarials = _encoded(spec.attack, context, outcomes, tally.batch_size)
    return outcomes


def _zero_gradients(
    context: CellContext, attack: AttackSpec, standing: Tensor, batch_size: int
) -> ZeroGradients:
    """Count the clean images whose gradient is zero. Attacks without gradients need none.

    Raises CellFailure("no_gradient") where an attack that needs a gradient can have none.
    """
    if context.entry is None or not context.entry.cost(attack.params, context.num_classes).backwards:
        return ZeroGradients()
    with failures_as("model_error"):
        return check_gradients(
            context.model, context.images, standing, context.device, batch_size, partial(_random_points, attack=attack)
        )


def _random_points(inputs: Tensor, ids: Sequence[str], *, attack: AttackSpec) -> Tensor:
    """Points drawn uniformly in the balls of the attack, inside [0, 1]; the same for every attack of one budget."""
    keys = SampleRng(0, "gradient-check", ids, inputs.device).keys()
    return random_points(inputs, keys, attack.norm, attack.eps)


def _encoded(attack: AttackSpec, context: CellContext, outcomes: Outcomes, batch_size: int) -> Adversarials:
    with failures_as("model_error"):
        return encode(
            outcomes.kept,
            context.save_adversarials,
            attack,
            context.model,
            context.images,
            num_classes=context.num_classes,
            device=context.device,
            batch_size=batch_size,
        )


def _clean(context: CellContext, batch_size: int) -> Outcomes:
    with failures_as("model_error"):
        parts = []
        for indices in torch.arange(len(context.images)).split(batch_size):
            inputs = context.images.inputs(indices, context.device)
            parts.append(predict(context.model, inputs, context.num_classes).cpu())
    return Outcomes.unattacked(torch.cat(parts), context.images.labels)


def _adopt(outcomes: Outcomes, context: CellContext) -> None:
    """Images that a filtering attack broke count as broken, at the distance it needed."""
    for i, name in enumerate(context.images.ids):
        earlier = context.broken.get(name)
        if earlier is not None and earlier.distance is not None and outcomes.distance[i].isnan():
            outcomes.adv_pred[i] = earlier.adv_pred
            outcomes.distance[i] = earlier.distance


def _record(
    spec: EvalSpec,
    context: CellContext,
    tally: Tally,
    outcomes: Outcomes | None,
    failure: CellFailure | None,
    elapsed: float,
) -> EvalRecord:
    entry = context.entry
    adversarial = outcomes.distance[outcomes.distance > 0] if outcomes and spec.attack else torch.empty(0)
    departures = entry.notes(spec.attack.params, context.num_classes) if entry and spec.attack else ()
    if spec.corruption is not None:
        side = min(context.images.pixels.shape[2:])
        departures = corruption_notes(spec.corruption, side, published=context.official)
    n_correct = int((outcomes.adv_pred == context.images.labels).sum()) if outcomes else None
    n_majority, n_correct_majority = int(context.images.labels.bincount().max()), None
    if outcomes is not None and n_correct is not None and spec.is_clean:
        majority = majority_of(outcomes.clean_pred.numpy(), context.images.labels.numpy())
        constant = len(outcomes.clean_pred.unique()) == 1
        departures = chance_notes(n_correct, len(context.images), majority, constant=constant)
        n_correct_majority = majority.n_correct
    drawn = drawn_notes(len(context.images), context.n_test)
    bound = spec.attack.max_queries if spec.attack else None
    if bound is not None:
        cut = f"{tally.n_cut} of {tally.n_attacked} images cut, which count as not broken"
        departures = (f"at most {bound} forward passes an image: {cut}", *departures)
    return EvalRecord(
        cell_id=spec.cell_id,
        spec=spec,
        weights_sha=context.weights_sha,
        status="failed" if failure else "ok",
        reason=failure.reason if failure else "",
        message=failure.message if failure else "",
        n=len(context.images),
        n_test=context.n_test,
        n_attacked=tally.n_attacked,
        n_correct=n_correct,
        max_distance=float(adversarial.max()) if len(adversarial) else None,
        n_forwards=tally.forwards,
        n_backwards=tally.backwards,
        batch_size=tally.batch_size,
        time_s=elapsed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        official=context.official,
        dtype=DTYPE,
        backend=entry.backend if entry else CLEAN if spec.is_clean else OURSELVES,
        backend_version=backend_version(entry) if entry else "",
        notes=(
            *drawn,
            *departures,
            *notes_of(context.model),
            *tally.remarks,
            *(finding.note for finding in tally.findings),
        ),
        environment=describe(context.device),
        n_cut=None if bound is None or failure else tally.n_cut,
        n_majority=n_majority,
        n_correct_majority=n_correct_majority,
        flags=tuple(finding.flag for finding in tally.findings),
    )
