"""How long a plan would take: passes known from the plan, seconds a pass measured on the model itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attacks.registry import Cost, cost_of, resolve
from bench.core.specs import EvalSpec, TrainSpec
from bench.diagnosis import DEEPFOOL_IMAGES, GRADIENT_IMAGES, LATENT_IMAGES
from bench.diagnostics.deepfool_score import CANDIDATES, HALVINGS, STEPS
from bench.plan import RunPlan
from bench.runs import build_run
from bench.train import freeze
from bench.workshop import Workshop

PROBE_BATCH = 32
PROBES = 4
FEWEST_STEPS = 2  # of DeepFool, on an ordinary network


class Rates(NamedTuple):
    """Seconds an image."""

    forward: float
    backward: float  # to the image, weights frozen
    training: float  # forward and backward to image and weights


def estimate(
    plan: Sequence[RunPlan], pending: Mapping[str, Sequence[EvalSpec]], undiagnosed: Set[str], workshop: Workshop
) -> tuple[float, float]:
    """Seconds for what is to do in every run: if every image breaks at once, and if none ever does."""
    least = most = 0.0
    known: dict[str, Rates] = {}
    for run in plan:
        todo = pending[run.train.run_id]
        if not todo and run.train.run_id not in undiagnosed:
            continue
        key = f"{run.train.model}{run.train.variant_spec}"
        rates = known[key] if key in known else known.setdefault(key, measure(run.train, workshop))
        training = 0.0
        if workshop.force or workshop.store.finished_run(run.train.run_id) is None:
            training = _training_passes(run.train, workshop) * training_seconds(run.train, rates)
        costs = [(_cost(cell, run.train.data.num_classes), cell.limit or len(workshop.dataset.test)) for cell in todo]
        if run.train.run_id in undiagnosed:
            costs += diagnosis_costs(run.train, len(workshop.dataset.train), len(workshop.dataset.test))
        least += training + sum(
            n * (c.least_forwards * rates.forward + c.least_backwards * rates.backward) for c, n in costs
        )
        most += training + sum(n * (c.forwards * rates.forward + c.backwards * rates.backward) for c, n in costs)
    return least, most


def diagnosis_costs(spec: TrainSpec, n_train: int, n_test: int) -> list[tuple[Cost, int]]:
    """Passes an image, and images, of the latents, the gradients and the two walks of DeepFool."""
    latents = min(spec.data.train_limit or n_train, LATENT_IMAGES) + min(n_test, LATENT_IMAGES)
    backwards = min(CANDIDATES, spec.data.num_classes) - 1
    few, many = 2 * FEWEST_STEPS, 2 * STEPS
    walks = Cost(2 * many + HALVINGS, many * backwards, 2 * few + HALVINGS, few * backwards)
    return [
        (Cost(1, 0, 1, 0), latents),
        (Cost(1, 1, 1, 1), min(n_test, GRADIENT_IMAGES)),
        (walks, min(n_test, DEEPFOOL_IMAGES)),
    ]


def measure(spec: TrainSpec, workshop: Workshop) -> Rates:
    """The fastest of a few timed batches; the first ones of a process also pay for warming up."""
    model = build_run(spec, workshop).classifier
    side = spec.data.image_size
    inputs = torch.rand(PROBE_BATCH, 3, side, side, device=workshop.device)
    training = min(_seconds(model, inputs, gradient=True) for _ in range(PROBES))
    freeze(model)
    forward, both = (min(_seconds(model, inputs, gradient) for _ in range(PROBES)) for gradient in (False, True))
    return Rates(forward / PROBE_BATCH, max(both - forward, 0.0) / PROBE_BATCH, training / PROBE_BATCH)


def _seconds(model: nn.Module, inputs: Tensor, gradient: bool) -> float:
    start = time.perf_counter()
    leaf = inputs.clone().requires_grad_(gradient)
    with torch.set_grad_enabled(gradient):
        total = model(leaf).sum()
    if gradient:
        total.backward()
    total.item()  # waits for the device
    return time.perf_counter() - start


def _training_passes(spec: TrainSpec, workshop: Workshop) -> int:
    return spec.recipe.epochs * (spec.data.train_limit or len(workshop.dataset.train))


def training_seconds(spec: TrainSpec, rates: Rates) -> float:
    """Of one image in one epoch: the step, and before it those of an adversary, which differentiate the image only."""
    adversary = spec.variant_spec.adversary
    return rates.training + (adversary.steps if adversary else 0) * (rates.forward + rates.backward)


def _cost(cell: EvalSpec, num_classes: int) -> Cost:
    if cell.attack is None:
        return Cost(1, 0, 1, 0)
    attack = resolve(cell.attack.name, cell.attack.backend)
    return cost_of(attack.entry, cell.attack.params, num_classes)
