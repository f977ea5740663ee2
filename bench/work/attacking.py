"""Run the attack of a cell on copies of its images, count its passes and verify its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from bench.attacks.adapter import call_attack
from bench.attacks.engine.counter_rng import SampleRng, derive
from bench.attacks.engine.fast_model import FastModel
from bench.attacks.engine.query_budget import AttackResult
from bench.attacks.geometry.norms import random_points
from bench.attacks.registry import cost_of
from bench.auditing.spread import spread
from bench.auditing.state import State, changed, put_back, restore, state_of
from bench.core.errors import CellFailure, first_line, ran_out_of_memory
from bench.core.specs import AttackSpec, EvalSpec
from bench.progress import Progress, Stage
from bench.remarks import remarks
from bench.torch_state import harness_torch_state, own_generators
from bench.work.adversarials import Kept
from bench.work.cell import CellContext, Outcomes, Tally
from bench.work.memory import shrink_batch
from bench.work.passes import CountingModel
from bench.work.verify import distances, predict, verified
from bench.work.workshop import failures_as

CHECKED = 16  # images of each kind on which the search model is compared with the model


def attack_all(
    spec: EvalSpec,
    attack: AttackSpec,
    context: CellContext,
    standing: Tensor,
    outcomes: Outcomes,
    progress: Progress,
    tally: Tally,
) -> None:
    """Attack the images with the indices ``standing``, in batches (in one call if the attack batches itself)."""
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
    tally: Tally,
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
    tally: Tally,
) -> Tensor:
    """Call the attack on copies, count its passes and keep its warnings.

    If the attack raises an error on the faster search model, other than out of memory, it is repeated on the model
    itself.
    """
    ids = [context.images.ids[i] for i in indices.tolist()]
    call = _Call(spec, attack, context, ids, inputs, labels, stage, tally)
    models = context.search_models if context.entry and context.entry.takes_fast_model else None
    copied = models is not None and models.get(attack.precision) is not context.model
    try:
        found = call.run()
        points = call.checked_points(found.adversarials) if copied else None
        trouble = "" if models is None or points is None else models.difference(attack.precision, points)
    except Exception as error:
        if models is None or not copied or ran_out_of_memory(error) or _reason(error) == "out_of_memory":
            raise
        trouble = f"the attack raised {type(error).__name__}: {first_line(error)}"
    if trouble and models is not None:
        models.leave_out(attack.precision, trouble)
        found = call.run()
    if models is not None:
        tally.remarks = tuple(dict.fromkeys((*tally.remarks, *models.note(attack.precision))))
    if found.truncated is not None:
        tally.n_cut += int(found.truncated.sum())
    return found.adversarials


@dataclass(frozen=True)
class _Call:
    """One call of an attack function on one batch."""

    spec: EvalSpec
    attack: AttackSpec
    context: CellContext
    ids: Sequence[str]
    inputs: Tensor
    labels: Tensor
    stage: Stage
    tally: Tally

    def run(self) -> AttackResult:
        """Return the attack's output; add its passes to the tally."""
        context, attack, tally = self.context, self.attack, self.tally
        assert context.entry is not None
        counting, prepared = _counted(context, attack, self.stage, tally)
        if context.entry.batches_itself:
            attack = replace(attack, params={**attack.params, "batch_size": tally.batch_size})
        rng = SampleRng(self.spec.seed, attack.name, self.ids, context.device)
        before = state_of(context.model)
        labels = self.labels.to(context.device, copy=True)
        try:
            with remarks() as heard, own_generators(context.device), harness_torch_state():
                found = call_attack(context.entry, prepared, self.inputs.clone(), labels, spec=attack, rng=rng)
        except Exception:
            restore(context.model, before)
            raise
        heard += _check_untouched(context.model, before, attack.name, self.inputs[:1])
        tally.remarks = tuple(dict.fromkeys((*tally.remarks, *heard)))
        tally.forwards += sum(model.forwards for model in counting)
        tally.backwards += sum(model.backwards for model in counting)
        return found

    def checked_points(self, adversarials: Tensor) -> Tensor:
        """Some clean images, random points of their balls, and what the attack made of them, (B, C, H, W).

        There the search model is compared with the model itself.
        """
        some = spread(torch.arange(len(self.inputs)), CHECKED)
        inputs, attack = self.inputs[some], self.attack
        rng = SampleRng(self.spec.seed, attack.name, [self.ids[i] for i in some.tolist()], inputs.device)
        drawn = random_points(inputs, derive(rng.keys(), "search-model"), attack.norm, attack.eps)
        points = [inputs, drawn, adversarials.detach()[some].to(inputs)]
        return torch.cat([part for part in points if part.shape == inputs.shape])


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, CellFailure) else ""


def _counted(
    context: CellContext, attack: AttackSpec, stage: Stage, tally: Tally
) -> tuple[list[CountingModel], nn.Module]:
    """Return the models that count passes, and the model for the attack (with a search model if it takes one)."""
    assert context.entry is not None
    exact = CountingModel(context.model, stage.advance).eval()
    if not context.entry.takes_fast_model:
        return [exact], exact
    shrink = partial(shrink_batch, context=context, tally=tally) if context.auto_batch else None
    faster = context.search_models.get(attack.precision) if context.search_models else context.model
    if faster is context.model:
        return [exact], FastModel(exact, exact, shrink).eval()
    search = CountingModel(faster, stage.advance).eval()
    return [exact, search], FastModel(exact, search, shrink).eval()


def _check_untouched(model: nn.Module, before: State, attack: str, example: Tensor) -> list[str]:
    """Restore the model's state; return a note if its own forward pass writes into it.

    Raises CellFailure("model_changed") if the attack has changed anything else.
    """
    written = changed(model, before)
    if not written:
        return []
    restore(model, before)
    with put_back(model), torch.no_grad():
        model(example.clone())
        own = changed(model, before)
    others = [name for name in written if name not in own]
    if others:
        raise CellFailure("model_changed", f"{attack} changed the model's {others[0]}.")
    return [f"a forward pass in evaluation mode changes the model's {written[0]}; it was restored after the attack"]
