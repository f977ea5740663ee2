"""Estimate the time of a plan from its number of passes and the measured seconds per pass of each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from itertools import groupby

from bench.attacks.registry import Cost, cost_of, resolve
from bench.context import RunContext
from bench.core.specs import EvalSpec, Precision, TrainSpec
from bench.diagnostics import nearest_distance
from bench.diagnostics.deepfool_score import CANDIDATES, HALVINGS, STEPS
from bench.diagnostics.diagnose import DEEPFOOL_IMAGES, GRADIENT_IMAGES, LATENT_IMAGES
from bench.evaluation.throughput import Pace, Rates
from bench.planning.plan import RunPlan
from bench.runtime.torch_state import harness_torch_state, torch_threads

FEWEST_STEPS = 2  # minimum number of DeepFool steps on a usual network


@harness_torch_state()
def estimate(
    plan: Sequence[RunPlan], pending: Mapping[str, Sequence[EvalSpec]], undiagnosed: Set[str], context: RunContext
) -> tuple[float, float]:
    """Return the minimum and maximum seconds for all pending cells and diagnoses.

    The minimum assumes that every attack succeeds in its first step. The maximum assumes that no attack succeeds.
    """
    minimum = maximum = 0.0
    pending_runs = [run for run in plan if pending[run.train.run_id] or run.train.run_id in undiagnosed]
    with torch_threads(context.config.threads):
        for _, repeats in groupby(pending_runs, key=lambda run: run.train.config_sha):
            runs = tuple(repeats)
            pace = Pace(runs[0].train, context)  # holds a network in memory: at most one at a time
            for run in runs:
                low, high = _bounds(run, pending[run.train.run_id], run.train.run_id in undiagnosed, pace, context)
                minimum, maximum = minimum + low, maximum + high
    return minimum, maximum


def _bounds(
    run: RunPlan, todo: Sequence[EvalSpec], undiagnosed: bool, pace: Pace, context: RunContext
) -> tuple[float, float]:
    """Return the minimum and maximum seconds for one run, see :func:`estimate`."""
    n_train, n_test = len(context.dataset.train), len(context.dataset.test)
    num_classes = run.train.data.num_classes
    costs = [(cell_cost(c, num_classes), pace.rates(search_precision(c)), c.limit or n_test) for c in todo]
    if undiagnosed:
        costs += [(cost, pace.rates(None), n) for cost, n in diagnosis_costs(run.train, n_train, n_test)]
    trained = not context.config.force and context.store.finished_run(run.train.run_id) is not None
    training = 0.0 if trained else _training_passes(run.train, context) * pace.training
    minimum = sum(n * _seconds(cost.least_forwards, cost.least_backwards, rates) for cost, rates, n in costs)
    maximum = sum(n * _seconds(cost.forwards, cost.backwards, rates) for cost, rates, n in costs)
    return training + minimum, training + maximum


def _seconds(forwards: int, backwards: int, rates: Rates) -> float:
    return forwards * rates.forward + backwards * rates.backward


def search_precision(cell: EvalSpec) -> Precision | None:
    """Return the precision of the search model for the cell's attack; None if it queries the model under test."""
    if cell.attack is None:
        return None
    entry = resolve(cell.attack.name, cell.attack.backend).entry
    return cell.attack.precision if entry.takes_fast_model else None


def diagnosis_costs(spec: TrainSpec, n_train: int, n_test: int) -> list[tuple[Cost, int]]:
    """Return passes per image and number of images for each part of a diagnosis.

    The parts are the latents, the gradients, the two runs of DeepFool and the nearest distance.
    """
    latents = min(spec.data.train_limit or n_train, LATENT_IMAGES) + min(n_test, LATENT_IMAGES)
    backwards = min(CANDIDATES, spec.data.num_classes) - 1
    min_steps, max_steps = 2 * FEWEST_STEPS, 2 * STEPS
    deepfool = Cost(2 * max_steps + HALVINGS, max_steps * backwards, 2 * min_steps + HALVINGS, min_steps * backwards)
    return [
        (Cost(1, 0, 1, 0), latents),
        (Cost(1, 1, 1, 1), min(n_test, GRADIENT_IMAGES)),
        (deepfool, min(n_test, DEEPFOOL_IMAGES)),
        (nearest_distance.cost(spec.data.num_classes), min(n_test, DEEPFOOL_IMAGES)),
    ]


def _training_passes(spec: TrainSpec, context: RunContext) -> int:
    return spec.recipe.epochs * (spec.data.train_limit or len(context.dataset.train))


def cell_cost(cell: EvalSpec, num_classes: int) -> Cost:
    """Return the passes per image of one cell."""
    if cell.attack is None:
        return Cost(1, 0, 1, 0)
    attack = resolve(cell.attack.name, cell.attack.backend)
    return cost_of(attack.entry, cell.attack.params, num_classes)
