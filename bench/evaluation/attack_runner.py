"""Run the attack of a cell on copies of its images, count its passes and verify its results.

After an out-of-memory error, the attack continues with smaller batches.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from bench.attacks.adapter import call_attack
from bench.attacks.engine.counter_rng import SampleRng, derive
from bench.attacks.engine.fast_model import FastModel
from bench.attacks.engine.query_budget import AttackResult
from bench.attacks.engine.untouched import untouched
from bench.attacks.geometry.norms import random_points
from bench.attacks.registry import AttackEntry, cost_of
from bench.context import failures_as
from bench.core.errors import CellFailure, first_line, ran_out_of_memory
from bench.core.records import StageCount
from bench.core.specs import AttackSpec, EvalSpec
from bench.data.tensors import spread
from bench.evaluation.adversarials import AdversarialBatch
from bench.evaluation.cell import CellInput, Outcomes
from bench.evaluation.cell_stats import CellStats
from bench.evaluation.journal import as_result, as_saved
from bench.evaluation.pass_counter import CountingModel
from bench.evaluation.verify import dense_floats, distances, predict, verified
from bench.runtime.captured_warnings import Captured, capture_warnings
from bench.runtime.progress import Progress, Stage
from bench.runtime.torch_state import harness_torch_state, no_modes_left, own_generators
from bench.sanity.model_parts import Parts, changed_parts, changed_values, parts_of, restore_parts
from bench.sanity.model_state import State, changed, preserve_state, restore, state_of

SMALLEST_BATCH = 8
#: Size in bytes of the float32 images of one call of an attack that batches itself. It bounds the memory of an attack.
CALL_BYTES = 2**27


def shrink_batch(size: int, cell_input: CellInput, stats: CellStats) -> int:
    """Return half of the batch ``size`` that ran out of memory, and store it in ``stats``.

    Raise CellFailure("out_of_memory") if ``size`` is at most ``SMALLEST_BATCH``.
    """
    if size <= SMALLEST_BATCH:
        raise CellFailure("out_of_memory", f"out of memory with batches of {size}.")
    stats.batch_size = max(size // 2, SMALLEST_BATCH)
    stats.log(f"  out of memory; continuing with batches of {stats.batch_size}")
    free_memory(cell_input.device)
    return stats.batch_size


def free_memory(device: torch.device) -> None:
    """Collect garbage and empty the CUDA cache."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


CHECKED = 16  # number of images of each kind (clean, random, adversarial) on which the search model is compared


def attack_all(
    spec: EvalSpec,
    attack: AttackSpec,
    cell_input: CellInput,
    remaining: Tensor,
    outcomes: Outcomes,
    progress: Progress,
    stats: CellStats,
) -> None:
    """Attack the ``remaining`` images, int64 indices, in batches. An attack that batches itself gets several."""
    entry = cell_input.entry
    assert entry is not None
    bound = cost_of(entry, attack.params, cell_input.num_classes).forwards * len(remaining)
    per_call = max(1, CALL_BYTES // (4 * math.prod(cell_input.images.shape)))
    batches = remaining.split(per_call if entry.batches_itself else stats.batch_size)
    title = f"{attack.name} {attack.norm} {attack.eps:.4g}"
    with progress.stage(title, total=bound, unit="passes") as stage:
        read = cell_input.images.batches(batches, cell_input.device)
        for indices, (inputs, _) in zip(batches, read, strict=True):
            _attack_batch(spec, attack, cell_input, indices, inputs, outcomes, stage, stats)


def _attack_batch(
    spec: EvalSpec,
    attack: AttackSpec,
    cell_input: CellInput,
    indices: Tensor,
    inputs: Tensor,
    outcomes: Outcomes,
    stage: Stage,
    stats: CellStats,
) -> None:
    labels = cell_input.images.labels[indices]
    with failures_as("attack_error"):
        adversarials = _run_attack(spec, attack, cell_input, indices, inputs, labels, stage, stats)
        inside = verified(inputs, adversarials, attack.norm, attack.eps)
    with failures_as("model_error"):
        parts = [
            predict(cell_input.model, part, cell_input.num_classes).cpu() for part in inside.split(stats.batch_size)
        ]
    predicted = torch.cat(parts)
    misclassified = predicted != labels
    outcomes.adv_pred[indices] = predicted
    outcomes.distance[indices[misclassified]] = distances(inputs, inside, attack.norm).cpu()[misclassified]
    if cell_input.save_adversarials != "none":
        images = inside[misclassified.to(inside.device)].cpu()
        outcomes.kept.append(AdversarialBatch(indices[misclassified], images, predicted[misclassified]))
    stage.advance(0, accuracy=float((outcomes.adv_pred == cell_input.images.labels).float().mean()))


def _run_attack(
    spec: EvalSpec,
    attack: AttackSpec,
    cell_input: CellInput,
    indices: Tensor,
    inputs: Tensor,
    labels: Tensor,
    stage: Stage,
    stats: CellStats,
) -> Tensor:
    """Call the attack on copies of the images, count its passes and store its warnings.

    If the attack raises an error on the faster search model, repeat it on the model under test. An out-of-memory error
    is not repeated.
    """
    ids = [cell_input.images.ids[i] for i in indices.tolist()]
    call = _Call(spec, attack, cell_input, ids, inputs, labels, stage, stats)
    models = cell_input.search_models if cell_input.entry and cell_input.entry.takes_fast_model else None
    copied = models is not None and models.get(attack.precision) is not cell_input.model
    try:
        result = call.run()
        points = call.checked_points(result.adversarials) if copied else None
        problem = "" if models is None or points is None else models.difference(attack.precision, points)
    except Exception as error:
        if models is None or not copied or ran_out_of_memory(error) or _reason(error) == "out_of_memory":
            raise
        problem = f"the attack raised {type(error).__name__}: {first_line(error)}"
    if problem and models is not None:
        models.leave_out(attack.precision, problem)
        result = call.run()
    if models is not None:
        stats.notes = tuple(dict.fromkeys((*stats.notes, *models.note(attack.precision))))
    if result.truncated is not None:
        stats.n_truncated += int(result.truncated.sum())
    stats.add_stages(call.stages)
    return result.adversarials


@dataclass(frozen=True)
class _Call:
    """One call of an attack function on one batch."""

    spec: EvalSpec
    attack: AttackSpec
    cell_input: CellInput
    ids: Sequence[str]
    inputs: Tensor
    labels: Tensor
    stage: Stage
    stats: CellStats
    stages: list[StageCount] = field(default_factory=list)  # of the last run, for an ensemble

    def run(self) -> AttackResult:
        """Return the attack's output, and add its passes to ``stats``.

        Training modes, gradients and ``requires_grad`` of the model are restored afterwards.
        """
        cell_input, stats, entry = self.cell_input, self.stats, self.cell_input.entry
        assert entry is not None
        counting, prepared = _with_counters(cell_input, self.attack, self.stage, stats)
        self.stages.clear()
        if isinstance(prepared, FastModel):
            prepared.on_stage = partial(_count_stage, self.stages, counting)
        journal = cell_input.journal
        journal.counters, journal.stats = counting, stats
        journal.messages, journal.on_resumed = Captured(), self.stage.resume
        own = _has_own_searches(entry)
        stored = None if own else journal.begin()
        if stored is not None and stored.tensors["adversarials"].shape != self.inputs.shape:
            journal.reject()  # of a batch of another size, after running out of memory
            stored = None
        result, messages = self._attacked(prepared) if stored is None else as_result(stored, self.inputs)
        if not own and stored is None and isinstance(result.adversarials, Tensor):
            journal.finish(as_saved(result, messages))
        stats.notes = tuple(dict.fromkeys((*stats.notes, *messages)))
        stats.forwards += sum(model.forwards for model in counting)
        stats.backwards += sum(model.backwards for model in counting)
        return result

    def _attacked(self, prepared: nn.Module) -> tuple[AttackResult, list[str]]:
        """Call the attack function; return its output and its warnings. The state of the model is restored."""
        cell_input, attack = self.cell_input, self.attack
        assert cell_input.entry is not None
        if cell_input.entry.batches_itself:
            attack = replace(attack, params={**attack.params, "batch_size": self.stats.batch_size})
        rng = SampleRng(self.spec.seed, attack.name, self.ids, cell_input.device)
        before, parts = state_of(cell_input.model), parts_of(cell_input.model)
        labels = self.labels.to(cell_input.device, copy=True)
        try:
            with (
                capture_warnings() as messages,
                own_generators(cell_input.device),
                harness_torch_state(),
                no_modes_left(attack.name),
                untouched(prepared),
            ):
                cell_input.journal.messages = messages
                result = call_attack(cell_input.entry, prepared, self.inputs.clone(), labels, spec=attack, rng=rng)
                result = result._replace(adversarials=dense_floats(self.inputs, result.adversarials))
        except BaseException:  # also when a stop is requested
            restore_parts(parts)
            restore(cell_input.model, before)
            raise
        _check_parts(cell_input.model, parts, attack.name, self.inputs)
        return result, [*messages.so_far(), *_check_untouched(cell_input.model, before, attack.name, self.inputs[:1])]

    def checked_points(self, adversarials: Tensor) -> Tensor:
        """Return points at which to compare the search model with the model under test, (B, C, H, W).

        The points are a sample of clean images, random points in the balls around them, and their adversarial images.
        """
        indices = spread(torch.arange(len(self.inputs)), CHECKED)
        inputs, attack = self.inputs[indices], self.attack
        rng = SampleRng(self.spec.seed, attack.name, [self.ids[i] for i in indices.tolist()], inputs.device)
        drawn = random_points(inputs, derive(rng.keys(), "search-model"), attack.norm, attack.eps)
        points = [inputs, drawn, adversarials.detach()[indices].to(inputs)]
        return torch.cat([part for part in points if part.shape == inputs.shape])


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, CellFailure) else ""


def _count_stage(
    finished: list[StageCount], counting: Sequence[CountingModel], name: str, attacked: int, broken: int
) -> None:
    """Add the counts of a stage to those of the ``finished`` ones, with the passes since the last one."""
    forwards = sum(model.forwards for model in counting) - sum(stage.n_forwards for stage in finished)
    backwards = sum(model.backwards for model in counting) - sum(stage.n_backwards for stage in finished)
    finished.append(StageCount(name, attacked, broken, forwards, backwards))


def _has_own_searches(entry: AttackEntry) -> bool:
    """Return whether the searches of the attack use the journal, see :mod:`bench.attacks.engine.checkpoint`.

    Of all other attacks, the journal gets the result of each batch.
    """
    return entry.takes_fast_model and entry.batches_itself


def _with_counters(
    cell_input: CellInput, attack: AttackSpec, stage: Stage, stats: CellStats
) -> tuple[list[CountingModel], nn.Module]:
    """Return the models that count passes, and the model for the attack (a search model if the attack accepts one)."""
    assert cell_input.entry is not None
    exact = CountingModel(cell_input.model, stage.advance).eval()
    if not cell_input.entry.takes_fast_model:
        return [exact], exact
    checkpoint = cell_input.journal if _has_own_searches(cell_input.entry) else None
    shrink = partial(shrink_batch, cell_input=cell_input, stats=stats) if cell_input.auto_batch else None
    faster = cell_input.search_models.get(attack.precision) if cell_input.search_models else cell_input.model
    if faster is cell_input.model:
        return [exact], FastModel(exact, exact, shrink, checkpoint).eval()
    search = CountingModel(faster, stage.advance).eval()
    return [exact, search], FastModel(exact, search, shrink, checkpoint).eval()


def _check_parts(model: nn.Module, parts: Parts, attack: str, inputs: Tensor) -> None:
    """Check the hooks, submodules and attributes of the model for changes.

    Undo the changes and raise CellFailure("model_changed") unless the model's own forward pass makes the same changes,
    or they are values without an effect on the logits, for example a counter. The forward pass is repeated with batches
    of two sizes, because a model may store the size.
    """
    written = changed_parts(parts)
    if not written:
        return
    batches, after, values = [inputs[:1], inputs[:2]], parts_of(model), changed_values(parts)
    changed_logits = [_logits_or_none(model, batch) for batch in batches]
    restore_parts(parts)
    by_forward: set[str] = set()
    same = True
    for batch, before in zip(batches, changed_logits, strict=True):
        with preserve_state(model), torch.no_grad():
            logits = model(batch.clone())
        same &= before is not None and torch.equal(before, logits)
        by_forward.update(changed_parts(parts))
    by_attack = [name for name in written if name not in by_forward]
    if by_attack and not (same and set(by_attack) <= set(values)):
        restore_parts(parts)
        raise CellFailure("model_changed", f"{attack} changed the model's {by_attack[0]} and did not restore it.")
    restore_parts(after)


def _logits_or_none(model: nn.Module, batch: Tensor) -> Tensor | None:
    """Return the logits of a model that an attack has changed; None if it raises an exception."""
    try:
        with preserve_state(model), torch.no_grad():
            logits: Tensor = model(batch.clone())
            return logits
    except Exception:  # noqa: BLE001 - the changed model may do anything
        return None


def _check_untouched(model: nn.Module, before: State, attack: str, example: Tensor) -> list[str]:
    """Restore the model's state. Return a note if the model's own forward pass changes the state.

    Raise CellFailure("model_changed") if the attack has changed any other tensor.
    """
    written = changed(model, before)
    if not written:
        return []
    restore(model, before)
    with preserve_state(model), torch.no_grad():
        model(example.clone())
        by_forward = changed(model, before)
    by_attack = [name for name in written if name not in by_forward]
    if by_attack:
        raise CellFailure("model_changed", f"{attack} changed the model's {by_attack[0]}.")
    return [f"a forward pass in evaluation mode changes the model's {written[0]}; it was restored after the attack"]
