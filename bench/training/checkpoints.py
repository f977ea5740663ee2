"""Train the model of a TrainSpec, store its weights, and load them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from safetensors.torch import load as load_weights
from safetensors.torch import save as dump_weights

from bench.config import RunConfig
from bench.context import RunContext, failures_as
from bench.core.errors import BenchError, CellFailure
from bench.core.limits import WEIGHTS
from bench.core.records import EpochRecord, RunRecord, timestamp
from bench.core.specs import TrainSpec
from bench.data.tensors import Images
from bench.models.backbones import Layout
from bench.models.build import BuiltModel, build_classifier
from bench.models.objective import Objective
from bench.models.storable import storable
from bench.models.variants import has_collapse_penalty
from bench.results.collapse_status import LEAST_ACCURACY
from bench.results.results_csv import normalization
from bench.results.store import Store
from bench.runtime.environment import describe
from bench.runtime.input_files import read_input
from bench.runtime.interrupt import check_stop, stop_requested
from bench.runtime.torch_state import harness_torch_state
from bench.training.train import begin, train, training_facts
from bench.training.training_state import TrainingState, dump_state, restore_state

SAVE_EVERY_S = 1.0
COST = 20  # time between two saved states, in multiples of the time to save one: at most 5 % of the training
LATE = 0.75  # share of the epochs after which the training accuracy of collapsing variants is checked


def build_run(spec: TrainSpec, context: RunContext, layout: Layout | None = None) -> BuiltModel:
    """Build the untrained model of ``spec`` on the device of ``context``. Raises BenchError if it cannot be built.

    ``layout`` is given for a stored network: its weights replace those of the built one.
    """
    built = build_classifier(
        spec.model,
        spec.variant_spec,
        image_size=spec.data.image_size,
        num_classes=spec.data.num_classes,
        mean=spec.model.mean or context.dataset.mean,
        std=spec.model.std or context.dataset.std,
        seed=spec.seed,
        activation=spec.recipe.activation,
        init=spec.recipe.init,
        checkpoint_path=context.config.checkpoint_path if isinstance(context.config, RunConfig) else None,
        layout=layout,
    )
    built.classifier.to(context.device)
    return built


@harness_torch_state()
def load_run(spec: TrainSpec, context: RunContext) -> BuiltModel:
    """Load the trained model of ``spec`` with the stem and the input size of its record.

    Both may depend on the checkpoint that the training started from. Raises BenchError if the stored weights do not fit
    the architecture.
    """
    record, path = context.store.read_run(spec.run_id), context.store.weights_path(spec.run_id)
    if record is None or record.img_size is None:
        raise BenchError(f"run {spec.run_id} ({spec.name}) is not stored under {context.store.root}; train it first.")
    built = build_run(spec, context, Layout("small" if record.stem == "small" else "native", record.img_size))
    try:
        built.classifier.load_state_dict(load_weights(read_input(path, WEIGHTS)))
    except RuntimeError as error:
        raise BenchError(
            f"{path} no longer fits {spec.name}: {str(error).splitlines()[0]} "
            "The architecture has changed; train again with --force."
        ) from error
    return built


@harness_torch_state()
def train_run(spec: TrainSpec, context: RunContext) -> tuple[RunRecord, BuiltModel | None]:
    """Train and store one network.

    Returns the record and the trained model. If the training fails, the record gives the reason and the model is None.
    """
    check_stop()  # the time budget may have ended before a trial chose the recipe
    images = context.images("train", spec.data.train_limit)
    context.progress.line(f"{spec.name}: training on {len(images)} of {len(context.dataset.train)} images")
    if spec.model.mean is not None:
        context.progress.line(f"{spec.name}: normalising images as for its weights, {normalization(spec.model)}")
    start = time.perf_counter()
    outcome = _Outcome()
    try:
        with failures_as("model_error"):
            _train(spec, images, context, outcome)
            weights = None if outcome.built is None else _weights(outcome.built)
    except CellFailure as error:
        outcome.failure, weights = error, None
    built = outcome.built if outcome.failure is None else None
    record = _record(spec, context, outcome, weights, n_train=len(images), elapsed=time.perf_counter() - start)
    context.store.write_run(record, weights)
    if (
        built is not None
    ):  # keep the saved state of a failed training to resume it, for example after an out-of-memory error
        context.store.drop_training(spec.run_id)
    return record, built


@dataclass
class _Outcome:
    """Results of a complete or failed training."""

    built: BuiltModel | None = None
    history: tuple[EpochRecord, ...] = ()
    per_sample: float | None = None
    earlier_s: float = 0.0  # seconds of training before the last interruption
    failure: CellFailure | None = None


def _train(spec: TrainSpec, images: Images, context: RunContext, outcome: _Outcome) -> None:
    """Build and train the model, and store the results in ``outcome``. A saved training is resumed."""
    built = outcome.built = build_run(spec, context)
    storable(built.classifier.state_dict())  # fails before the training, not after it
    facts = training_facts(spec, count=len(images), latent_dim=built.latent_dim)
    objective = Objective(spec.variant_spec, facts, latent_dim=built.latent_dim)
    state = begin(built.classifier, spec, objective)
    _resume(spec, state, context)
    outcome.earlier_s = state.elapsed_s
    saver = _Saver(spec.run_id, context.store, outcome.earlier_s)

    def after_batch(state: TrainingState) -> None:
        if not state.epoch.steps:  # after an epoch
            _warn_late(spec, state, context)
        saver(state)

    outcome.history = train(
        built.classifier, images, spec, objective, context.device, context.progress, state=state,
        after_batch=after_batch,
    )  # fmt: skip
    if outcome.history:
        outcome.per_sample = objective.per_sample(outcome.history[-1].gamma)


def _resume(spec: TrainSpec, state: TrainingState, context: RunContext) -> None:
    saved = None if context.config.force else context.store.read_training(spec.run_id)
    if saved is not None:
        try:
            restore_state(state, saved)
        except BenchError as error:
            path = context.store.training_path(spec.run_id)
            raise BenchError(f"{path}: {error} Delete it to restart the training.") from error
        batch = f", batch {len(state.epoch.steps) + 1}" if state.epoch.steps else ""
        context.progress.line(f"{spec.name}: resuming at epoch {len(state.history) + 1}/{spec.recipe.epochs}{batch}")


def _warn_late(spec: TrainSpec, state: TrainingState, context: RunContext) -> None:
    """Warn once, after LATE of the epochs, if a variant meant to collapse has a low training accuracy."""
    epoch, last = len(state.history), state.history[-1]
    if epoch != max(1, int(LATE * spec.recipe.epochs)) or not has_collapse_penalty(spec.variant, spec.variant_spec):
        return
    if last.accuracy < LEAST_ACCURACY:
        gamma = f", γ {last.gamma:.3g}" if spec.variant_spec.penalty else ""
        context.progress.line(
            f"{spec.name}: training accuracy {last.accuracy:.1%} in epoch {epoch}/{spec.recipe.epochs}{gamma}: "
            f"collapse requires {LEAST_ACCURACY:.0%} at the end; try more --epochs or another --recipe"
        )


class _Saver:
    """Save the state of a training for resuming it: after a while, and when a stop is requested. Raises Stopped."""

    def __init__(self, run_id: str, store: Store, earlier_s: float) -> None:
        self._run_id, self._store, self._last = run_id, store, time.monotonic()
        self._begun, self._cost = self._last - earlier_s, 0.0

    def __call__(self, state: TrainingState) -> None:
        start = time.monotonic()
        if start - self._last >= max(SAVE_EVERY_S, COST * self._cost) or stop_requested():
            state.elapsed_s = start - self._begun
            self._store.write_training(self._run_id, dump_state(state))
            self._last = time.monotonic()
            self._cost = self._last - start
        check_stop()


def _weights(built: BuiltModel) -> bytes:
    return dump_weights(storable(built.classifier.state_dict()))


def _record(
    spec: TrainSpec,
    context: RunContext,
    outcome: _Outcome,
    weights: bytes | None,
    *,
    n_train: int,
    elapsed: float,
) -> RunRecord:
    built, failure = outcome.built, outcome.failure
    last = outcome.history[-1] if outcome.history else None
    return RunRecord(
        run_id=spec.run_id,
        dataset=spec.data.name,
        model=spec.model.name,
        variant=spec.variant,
        seed=spec.seed,
        spec=spec,
        status="failed" if failure else "ok",
        reason=failure.reason if failure else "",
        message=failure.message if failure else "",
        config_sha=spec.config_sha,
        train_sha=spec.data.train_sha,
        weights_sha=hashlib.sha256(weights).hexdigest() if weights else "",
        n_train=n_train if spec.recipe.epochs else 0,
        epochs=spec.recipe.epochs,
        img_size=built.img_size if built else None,
        native_size=spec.data.image_size,
        stem=built.stem if built else "",
        latent_dim=built.latent_dim if built else None,
        param_count=built.param_count if built else None,
        gamma=last.gamma if last and spec.variant_spec.penalty else None,
        gamma_per_sample=outcome.per_sample,
        history=outcome.history,
        time_s=outcome.earlier_s + elapsed,
        created=timestamp(),
        environment=describe(context.device),
        collapse_penalty=has_collapse_penalty(spec.variant, spec.variant_spec),
    )
