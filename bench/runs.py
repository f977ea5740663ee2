"""From a TrainSpec to weights in the store, and back to a model."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime

from safetensors.torch import load as load_weights
from safetensors.torch import save as dump_weights

from bench.core.errors import BenchError, CellFailure
from bench.core.specs import RunRecord, TrainSpec
from bench.environment import describe
from bench.train import TrainResult, train, training_facts
from bench.workshop import Workshop, failures_as
from models.build import BuiltModel, build_classifier
from models.objective import Objective


def build_run(spec: TrainSpec, workshop: Workshop) -> BuiltModel:
    """The untrained model of ``spec`` on the workshop's device."""
    built = build_classifier(
        spec.model,
        spec.variant_spec,
        image_size=spec.data.image_size,
        num_classes=spec.data.num_classes,
        mean=workshop.dataset.mean,
        std=workshop.dataset.std,
        seed=spec.seed,
        checkpoint_path=workshop.checkpoint_path,
    )
    built.classifier.to(workshop.device)
    return built


def load_run(spec: TrainSpec, workshop: Workshop) -> BuiltModel:
    """The trained model of ``spec``. Raises BenchError when the stored weights are not those of this architecture."""
    built, path = build_run(spec, workshop), workshop.store.weights_path(spec.run_id)
    try:
        built.classifier.load_state_dict(load_weights(path.read_bytes()))
    except RuntimeError as error:
        raise BenchError(
            f"{path} does not fit {spec.name} any more: {str(error).splitlines()[0]} "
            "The architecture has changed since; train again with --force."
        ) from error
    return built


def train_run(spec: TrainSpec, workshop: Workshop) -> tuple[RunRecord, BuiltModel | None]:
    """Train and store one network. What goes wrong becomes a failed record; the model is then None."""
    images = workshop.images("train", spec.data.train_limit)
    workshop.progress.line(f"{spec.name}: training on {len(images)} of {len(workshop.dataset.train)} images")
    start = time.perf_counter()
    built, result, failure = None, TrainResult(None, None, None), None
    try:
        with failures_as("model_error"):
            built = build_run(spec, workshop)
            facts = training_facts(spec, count=len(images), latent_dim=built.latent_dim)
            objective = Objective(spec.variant_spec, facts)
            result = train(built.classifier, images, spec, objective, workshop.device, workshop.progress)
    except CellFailure as error:
        failure = error
    weights = _weights(built) if built is not None and failure is None else None
    elapsed = time.perf_counter() - start
    record = _record(
        spec,
        workshop,
        built,
        result,
        failure,
        weights,
        n_train=len(images) if spec.recipe.epochs else 0,
        elapsed=elapsed,
    )
    workshop.store.write_run(record, weights)
    return record, built if failure is None else None


def _weights(built: BuiltModel) -> bytes:
    return dump_weights({name: tensor.contiguous() for name, tensor in built.classifier.state_dict().items()})


def _record(
    spec: TrainSpec,
    workshop: Workshop,
    built: BuiltModel | None,
    result: TrainResult,
    failure: CellFailure | None,
    weights: bytes | None,
    *,
    n_train: int,
    elapsed: float,
) -> RunRecord:
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
        n_train=n_train,
        epochs=spec.recipe.epochs,
        img_size=built.img_size if built else None,
        native_size=spec.data.image_size,
        stem=built.stem if built else "",
        latent_dim=built.latent_dim if built else None,
        param_count=built.param_count if built else None,
        gamma=result.gamma,
        train_loss=result.loss,
        train_accuracy=result.accuracy,
        time_s=elapsed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=describe(workshop.device),
    )
