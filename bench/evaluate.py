"""One cell: an attack on a model's correctly classified images, measured, verified and recorded."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

import torch
from torch import Tensor, nn

from attacks.prepared import Prepared
from attacks.queries import Attacked
from attacks.registry import AttackEntry, backend_version, cost_of, load_function
from attacks.rng import SampleRng
from bench.adversarials import Adversarials, Kept, encode
from bench.audit import Finding, check_gradients, check_randomised
from bench.core.errors import CellFailure
from bench.core.specs import AttackSpec, Encoding, EvalRecord, EvalSpec
from bench.core.vocabulary import CLEAN
from bench.data.tensors import Images
from bench.environment import describe
from bench.passes import CountingModel
from bench.progress import Progress, Stage
from bench.remarks import remarks
from bench.samples import Sample
from bench.search_model import SearchModels
from bench.verify import distances, predict, verified
from bench.workshop import failures_as

SMALLEST_BATCH = 8
DTYPE = "float32"


@dataclass
class Outcomes:
    """What became of every image of a cell; all tensors are (N,) on the CPU."""

    clean_pred: Tensor
    adv_pred: Tensor
    distance: Tensor  # float64; NaN where the image survived
    kept: list[Kept] = field(default_factory=list)  # the broken images, while they are asked for
    adversarials: Adversarials | None = None  # the same in the form they are stored in

    @classmethod
    def unattacked(cls, clean_pred: Tensor, labels: Tensor) -> Outcomes:
        """Before any attack: what is wrong already is broken at distance 0."""
        distance = torch.full((len(labels),), torch.nan, dtype=torch.float64)
        distance[clean_pred != labels] = 0.0
        return cls(clean_pred, clean_pred.clone(), distance)


@dataclass(frozen=True)
class CellContext:
    """What a cell needs beside its spec."""

    model: nn.Module  # frozen, on ``device``
    weights_sha: str
    images: Images
    n_test: int
    official: bool
    num_classes: int
    device: torch.device
    entry: AttackEntry | None  # None for the clean cell
    broken: Mapping[str, Sample] = field(default_factory=dict)  # what earlier attacks broke, by sample id
    auto_batch: bool = False  # halve the batch when memory runs out
    save_adversarials: Encoding = "none"
    search_models: SearchModels | None = None  # for attacks that can use one; None: the model under test for all


@dataclass
class _Tally:
    """What is measured while a cell runs."""

    n_attacked: int = 0
    forwards: int = 0
    backwards: int = 0
    batch_size: int = 0
    say: Callable[[str], None] = lambda line: None
    remarks: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    n_cut: int = 0


def evaluate_cell(spec: EvalSpec, context: CellContext, progress: Progress) -> tuple[EvalRecord, Outcomes | None]:
    """Run one cell. A failure of the cell is a record with its reason and no outcomes, never an exception."""
    tally = _Tally(batch_size=spec.batch_size, say=progress.line)
    start = time.perf_counter()
    try:
        outcomes = _with_smaller_batches(spec, context, progress, tally)
        failure = None
    except CellFailure as error:
        outcomes, failure = None, error
    elapsed = time.perf_counter() - start
    return _record(spec, context, tally, outcomes, failure, elapsed), outcomes


def _with_smaller_batches(spec: EvalSpec, context: CellContext, progress: Progress, tally: _Tally) -> Outcomes:
    """Start the cell again with half the batch when memory runs out and the user left the size to us.

    Attacks that batch themselves go on by themselves, see :func:`_shrink`; this is for all the rest.
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
            _free(context.device)


def _shrink(size: int, context: CellContext, tally: _Tally) -> int:
    """Half of the batch ``size`` that memory did not suffice for, noted. Raises CellFailure for the smallest."""
    if size <= SMALLEST_BATCH:
        raise CellFailure("out_of_memory", f"out of memory with batches of {size}.")
    tally.batch_size = max(size // 2, SMALLEST_BATCH)
    tally.say(f"  out of memory; going on with batches of {tally.batch_size}")
    _free(context.device)
    return tally.batch_size


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _outcomes(spec: EvalSpec, context: CellContext, progress: Progress, tally: _Tally) -> Outcomes:
    outcomes = _clean(context, tally.batch_size)
    tally.findings = _audited(context, None, torch.arange(len(context.images)), tally.batch_size)
    if spec.attack is None:
        tally.forwards = len(context.images)
        return outcomes
    _adopt(outcomes, context)
    standing = (outcomes.adv_pred == context.images.labels).nonzero().squeeze(1)
    tally.n_attacked = len(standing)
    if len(standing):
        tally.findings += _audited(context, spec.attack, standing, tally.batch_size)
        _attack_all(spec, spec.attack, context, standing, outcomes, progress, tally)
    if context.save_adversarials != "none":
        outcomes.adversarials = _encoded(spec.attack, context, outcomes, tally.batch_size)
    return outcomes


def _audited(
    context: CellContext, attack: AttackSpec | None, indices: Tensor, batch_size: int
) -> tuple[Finding, ...]:
    """What speaks against the number to come: of the model first, then of an attack that follows its gradients."""
    with failures_as("model_error"):
        if attack is None:
            return check_randomised(context.model, context.images, indices, context.device, batch_size)
        if context.entry is None or not context.entry.cost(attack.params, context.num_classes).backwards:
            return ()
        return check_gradients(context.model, context.images, indices, context.device, batch_size)


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


def _attack_all(
    spec: EvalSpec,
    attack: AttackSpec,
    context: CellContext,
    standing: Tensor,
    outcomes: Outcomes,
    progress: Progress,
    tally: _Tally,
) -> None:
    """Attack the images at ``standing`` batch by batch (all at once if the attack batches itself)."""
    entry = context.entry
    assert entry is not None
    bound = cost_of(entry, attack.params, context.num_classes).forwards * len(standing)
    batches = [standing] if entry.batches_itself else list(standing.split(tally.batch_size))
    title = f"{attack.name} {attack.norm} {attack.eps:.4g}"
    with progress.stage(title, total=bound, unit="passes") as stage:
        for indices in batches:
            _attack_batch(spec, attack, context, indices, outcomes, stage, tally)


def _attack_batch(
    spec: EvalSpec,
    attack: AttackSpec,
    context: CellContext,
    indices: Tensor,
    outcomes: Outcomes,
    stage: Stage,
    tally: _Tally,
) -> None:
    labels = context.images.labels[indices]
    with failures_as("attack_error"):
        inputs = context.images.inputs(indices, context.device)
        adversarials = _run_attack(spec, attack, context, indices, inputs, labels, stage, tally)
        inside = verified(inputs, adversarials, attack.norm, attack.eps)
    with failures_as("model_error"):
        parts = [predict(context.model, part, context.num_classes).cpu() for part in inside.split(tally.batch_size)]
    predicted = torch.cat(parts)
    broken = predicted != labels
    outcomes.adv_pred[indices] = predicted
    outcomes.distance[indices[broken]] = distances(inputs, inside, attack.norm).cpu()[broken]
    if context.save_adversarials != "none":
        images = inside[broken.to(inside.device)].cpu()
        outcomes.kept.append(Kept(indices[broken], images, predicted[broken]))
    stage.advance(0, accuracy=float((outcomes.adv_pred == context.images.labels).float().mean()))


def _run_attack(
    spec: EvalSpec,
    attack: AttackSpec,
    context: CellContext,
    indices: Tensor,
    inputs: Tensor,
    labels: Tensor,
    stage: Stage,
    tally: _Tally,
) -> Tensor:
    """Call the plug-in on copies, with the passes counted and its warnings kept."""
    assert context.entry is not None
    function = load_function(context.entry)
    counting, prepared = _counted(context, attack, stage, tally)
    if context.entry.batches_itself:
        attack = replace(attack, params={**attack.params, "batch_size": tally.batch_size})
    rng = SampleRng(spec.seed, attack.name, [context.images.ids[i] for i in indices.tolist()], context.device)
    before = {name: tensor.clone() for name, tensor in context.model.state_dict().items()}
    with remarks() as heard, _untouched_generators(context.device):
        found = function(prepared, inputs.clone(), labels.to(context.device), spec=attack, rng=rng)
    tally.remarks = tuple(dict.fromkeys((*tally.remarks, *heard)))
    _check_untouched(context.model, before, attack.name)
    tally.forwards += sum(model.forwards for model in counting)
    tally.backwards += sum(model.backwards for model in counting)
    if not isinstance(found, Attacked):
        if attack.max_queries is not None:
            raise CellFailure("attack_error", f"{attack.name} did not say whose search the bound has cut.")
        return found
    tally.n_cut += int(found.cut.sum())
    return found.adversarials


def _counted(
    context: CellContext, attack: AttackSpec, stage: Stage, tally: _Tally
) -> tuple[list[CountingModel], nn.Module]:
    """The models whose passes are counted, and what the attack is given: with a search model if it can use one."""
    assert context.entry is not None
    exact = CountingModel(context.model, stage.advance).eval()
    if "bf16" not in context.entry.precisions:
        return [exact], exact
    shrink = partial(_shrink, context=context, tally=tally) if context.auto_batch else None
    faster = context.search_models.get(attack.precision) if context.search_models else context.model
    if faster is context.model:
        return [exact], Prepared(exact, exact, shrink).eval()
    search = CountingModel(faster, stage.advance).eval()
    return [exact, search], Prepared(exact, search, shrink).eval()


def _check_untouched(model: nn.Module, before: Mapping[str, Tensor], attack: str) -> None:
    """Raises CellFailure, with the model as it was, when an attack has written into it."""
    after = model.state_dict()
    changed = [name for name, tensor in before.items() if not torch.equal(after[name], tensor)]
    if changed:
        model.load_state_dict(dict(before))
        raise CellFailure("model_changed", f"{attack} changed the model's {changed[0]}.")


@contextmanager
def _untouched_generators(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _record(
    spec: EvalSpec,
    context: CellContext,
    tally: _Tally,
    outcomes: Outcomes | None,
    failure: CellFailure | None,
    elapsed: float,
) -> EvalRecord:
    entry = context.entry
    adversarial = outcomes.distance[outcomes.distance > 0] if outcomes and spec.attack else torch.empty(0)
    departures = entry.notes(spec.attack.params, context.num_classes) if entry and spec.attack else ()
    bound = spec.attack.max_queries if spec.attack else None
    if bound is not None:
        cut = f"{tally.n_cut} of {tally.n_attacked} images cut, which count as not broken"
        departures = (f"stopped at {bound} forward passes an image: {cut}", *departures)
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
        n_correct=int((outcomes.adv_pred == context.images.labels).sum()) if outcomes else None,
        max_distance=float(adversarial.max()) if len(adversarial) else None,
        n_forwards=tally.forwards,
        n_backwards=tally.backwards,
        batch_size=tally.batch_size,
        time_s=elapsed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        official=context.official,
        dtype=DTYPE,
        backend=entry.backend if entry else CLEAN,
        backend_version=backend_version(entry) if entry else "",
        notes=(*departures, *tally.remarks, *(finding.note for finding in tally.findings)),
        environment=describe(context.device),
        n_cut=None if bound is None or failure else tally.n_cut,
        flags=tuple(finding.flag for finding in tally.findings),
    )
