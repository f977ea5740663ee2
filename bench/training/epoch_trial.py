"""Fit the number of epochs to a time per training: ``--train-budget``.

A trial times the first training steps of every requested variant. The number of epochs is the largest with which the
slowest variant keeps the budget, so that all variants of a model are trained by one recipe, and the schedules of the
learning rate and of γ end when the training does. The number is stored in the results folder: a repeated command finds
its runs, and a training that was stopped is resumed with the schedule that it started with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from operator import itemgetter
from statistics import median
from typing import Any

from bench.context import RunContext, failures_as
from bench.core.errors import BenchError, CellFailure
from bench.core.specs import ModelSpec, Recipe, TrainSpec, VariantSpec, short_id
from bench.models.objective import Objective
from bench.planning.plan import Request, recipe_of, train_spec
from bench.runtime.progress import Progress
from bench.runtime.torch_state import harness_torch_state, torch_threads
from bench.training.checkpoints import build_run
from bench.training.stored_trial import stored_trial
from bench.training.train import begin, steps_per_epoch, train, training_facts
from bench.training.training_state import TrainingState

SHARE = 0.9  # of the budget that the steps may take: the rest is for saving states and for slower minutes
WARM_UP, FEWEST_STEPS, MOST_STEPS = 2, 3, 20  # steps that are not timed, and the numbers of timed ones
ENOUGH_S = 3.0  # seconds of timed steps after which a trial ends


@dataclass(frozen=True)
class Case:
    """The properties that the number of epochs depends on."""

    model: ModelSpec
    variants: tuple[tuple[str, VariantSpec], ...]
    recipe: Recipe
    data_sha: str
    n_train: int
    budget_s: float


class _Enough(Exception):
    """Enough steps are timed."""


def fit_epochs(request: Request, budget_s: float, context: RunContext, *, store: bool = True) -> Mapping[str, int]:
    """Return the number of epochs that fit into ``budget_s`` seconds per training, by name of the model.

    It is at least 1 and at most that of the recipe. Without ``store``, the choice is not written. Raises BenchError for
    a damaged file in the results folder.
    """
    return {model.name: _fit(model, request, budget_s, context, store=store) for model in request.models}


def _fit(model: ModelSpec, request: Request, budget_s: float, context: RunContext, *, store: bool) -> int:
    recipe, variants = recipe_of(request, model), tuple(sorted(request.variants.items(), key=itemgetter(0)))
    n_train = request.data.train_limit or len(context.dataset.train)
    case = Case(
        model=model,
        variants=variants,
        recipe=recipe,
        data_sha=request.data.train_sha,
        n_train=n_train,
        budget_s=budget_s,
    )
    specs = [train_spec(request, model, name, request.seeds[0]) for name, _ in variants]
    key, root = short_id(case), context.store.root
    path = root / "epochs" / f"{key}.json"
    trial = partial(_try, specs, n_train, budget_s, context)
    outcome = stored_trial(path, root, {"case": key}, trial, store=store)
    if outcome is None:
        return recipe.epochs
    epochs = outcome.get("epochs")
    if type(epochs) is not int or not 1 <= epochs <= recipe.epochs:
        raise BenchError(f"{path} is no choice of epochs for {model.name}; delete it to repeat the trial.")
    return epochs


def _try(specs: list[TrainSpec], n_train: int, budget_s: float, context: RunContext) -> dict[str, Any] | None:
    """Return the number of epochs with the seconds per epoch of each variant, or None if no variant can be trained."""
    recipe = specs[0].recipe
    with torch_threads(context.config.threads):
        steps = {spec.variant: _seconds_per_step(spec, context) for spec in specs}
    seconds = {
        variant: step * steps_per_epoch(n_train, recipe.batch_size)
        for variant, step in steps.items()
        if step is not None
    }
    if not seconds:
        return None
    slowest = max(seconds, key=lambda variant: seconds[variant])
    fitting = int(SHARE * budget_s / seconds[slowest])
    epochs = min(max(fitting, 1), recipe.epochs)
    name, estimate = specs[0].model.name, f"{slowest} takes about {seconds[slowest]:.3g} s per epoch"
    if fitting < 1:
        context.progress.line(f"{name}: one epoch, which does not fit into --train-budget: {estimate}")
    else:
        context.progress.line(f"{name}: {epochs} of {recipe.epochs} epochs fit into --train-budget: {estimate}")
    return {"epochs": epochs, "seconds_per_epoch": seconds, "recipe": asdict(recipe), "budget_s": budget_s}


@harness_torch_state()
def _seconds_per_step(spec: TrainSpec, context: RunContext) -> float | None:
    """Return the median seconds of a training step, or None if the variant cannot be trained."""
    images = context.images("train", spec.data.train_limit)
    times: list[float] = []
    last = time.perf_counter()

    def after_batch(state: TrainingState) -> None:
        nonlocal last
        if state.epoch.steps:  # else an epoch has just ended, whose record has waited for the device
            state.epoch.steps[-1].sum().item()
        now = time.perf_counter()
        times.append(now - last)
        last = now
        timed = times[WARM_UP:]
        if len(timed) >= MOST_STEPS or (len(timed) >= FEWEST_STEPS and sum(timed) > ENOUGH_S):
            raise _Enough

    try:
        with failures_as("model_error"), suppress(_Enough):
            built = build_run(spec, context)
            facts = training_facts(spec, count=len(images), latent_dim=built.latent_dim)
            objective = Objective(spec.variant_spec, facts, latent_dim=built.latent_dim)
            state, device = begin(built.classifier, spec, objective), context.device
            train(
                built.classifier, images, spec, objective, device, Progress(), state=state, after_batch=after_batch
            )  # fmt: skip
    except (BenchError, CellFailure):  # the training fails for the same reason, and reports it
        return None
    return median(times[WARM_UP:] or times) if times else None
