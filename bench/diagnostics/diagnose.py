"""Diagnose a trained network once per run: latents, gradients and distances to adversarial images."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from bench.context import RunContext, failures_as
from bench.core.columns import DIAGNOSTIC_COLUMNS, INTERVAL_SUFFIXES, TRAIN_SUFFIX
from bench.core.errors import CellFailure
from bench.core.records import DIAGNOSIS_VERSION, DiagnosisRecord, timestamp
from bench.data.tensors import Images
from bench.diagnostics.deepfool_score import deepfool_scores
from bench.diagnostics.estimates import Estimate
from bench.diagnostics.latents import Latents, Value
from bench.diagnostics.lipschitz import head_lipschitz
from bench.diagnostics.local import local_sensitivity
from bench.diagnostics.nearest_distance import nearest_scores
from bench.diagnostics.registry import diagnose_latents
from bench.models.classifier import Classifier
from bench.runtime.environment import describe
from bench.runtime.torch_state import harness_torch_state

BATCH = 128
LATENT_IMAGES = 5000  # maximum number of images of each split
GRADIENT_IMAGES = 1000  # maximum number of test images
DEEPFOOL_IMAGES = 100  # maximum number of test images, as in the LPC paper


@harness_torch_state()
def diagnose(
    model: Classifier, run_id: str, weights_sha: str, train_limit: int | None, context: RunContext
) -> DiagnosisRecord:
    """Compute all diagnostics and store the record. ``model`` is in evaluation mode.

    An error is stored as a failed record, unless the weights have a diagnosis without errors: that one is kept.
    """
    start = time.perf_counter()
    sizes: dict[str, int] = {}
    values: Mapping[str, Value] = {}
    failure = None
    try:
        with failures_as("diagnosis_error"):
            values = _measure(model, train_limit, context, sizes)
    except CellFailure as error:
        failure, sizes = error, {}  # a number of images is meaningless without its value
    record = DiagnosisRecord(
        run_id=run_id,
        weights_sha=weights_sha,
        version=DIAGNOSIS_VERSION,
        status="failed" if failure else "ok",
        reason=failure.reason if failure else "",
        message=failure.message if failure else "",
        images=sizes,
        values={column: _number(values[column]) for column in _ordered(values)},
        undefined={column: value.reason for column, value in values.items() if value.reason},
        time_s=time.perf_counter() - start,
        created=timestamp(),
        environment=describe(context.device),
    )
    stored = context.store.read_diagnosis(run_id)
    if record.status == "ok" or stored is None or stored.status != "ok":
        context.store.write_diagnosis(record)
    return record


def _ordered(values: Mapping[str, Value]) -> list[str]:
    """Return the columns of ``values``: our own in their order, then those of plug-ins by name."""
    own = [column for column in DIAGNOSTIC_COLUMNS if column in values]
    return [*own, *sorted(values.keys() - set(own))]


def _measure(
    model: Classifier, train_limit: int | None, context: RunContext, sizes: dict[str, int]
) -> Mapping[str, Value]:
    """Compute every diagnostic, by column. The training images are those of the training, without augmentation."""
    limit = LATENT_IMAGES if train_limit is None else min(train_limit, LATENT_IMAGES)
    test, train = context.images("test", LATENT_IMAGES), context.images("train", limit)
    gradient_images, attacked_images = context.images("test", GRADIENT_IMAGES), context.images("test", DEEPFOOL_IMAGES)
    sizes |= {"collapse_n": len(test), f"collapse_n{TRAIN_SUFFIX}": len(train), "lipschitz_n": len(gradient_images)}
    of_train = latents_of(model, train, context)
    found = _latents(latents_of(model, test, context), "") | _latents(of_train, TRAIN_SUFFIX)
    found["train_acc"] = Value(_accuracy(of_train))
    return found | _sensitivity(model, gradient_images, context) | _distances(model, attacked_images, context, sizes)


def _accuracy(latents: Latents) -> float:
    assert latents.predictions is not None
    return float((latents.predictions == latents.labels).mean())


def _latents(latents: Latents, suffix: str) -> dict[str, Value]:
    return {f"collapse_{name}{suffix}": value for name, value in diagnose_latents(latents).items()}


@harness_torch_state()
def latents_of(model: Classifier, images: Images, context: RunContext) -> Latents:
    """Return the latents of ``images`` in float64, with output weights and predictions.

    Raise CellFailure("nan_logits") if a latent is not finite.
    """
    latents, predictions = [], []
    with torch.no_grad():
        for indices in torch.arange(len(images)).split(BATCH):
            batch = model.features(images.inputs(indices, context.device))
            latents.append(batch.to("cpu", torch.float64, copy=True))
            predictions.append(model.output(batch).argmax(1).cpu())
    z = torch.cat(latents).numpy()
    if not np.isfinite(z).all():
        raise CellFailure("nan_logits", "the latents are not finite.")
    weights = model.output.weight.detach().double().cpu().numpy() if isinstance(model.output, nn.Linear) else None
    return Latents(
        z=z,
        labels=images.labels.numpy(),
        num_classes=context.dataset.num_classes,
        weights=weights,
        predictions=torch.cat(predictions).numpy(),
    )


def _sensitivity(model: Classifier, images: Images, context: RunContext) -> dict[str, Value]:
    inputs, labels = _inputs(images, context)
    local = local_sensitivity(model, inputs, labels, batch_size=BATCH)
    head = head_lipschitz(model, inputs, labels, batch_size=BATCH)
    return {
        "lipschitz_head_bound": head.bound,
        "lipschitz_head_local_max": head.local_max,
        "lipschitz_head_local_mean": head.local_mean,
        "margin_gradient_norm_max": local.gradient_norm_max,
        "margin_gradient_norm_mean": local.gradient_norm_mean,
        "lipschitz_zero_gradient_share": local.zero_gradient_share,
        "lipschitz_local_radius": local.local_radius_median,
    }


def _distances(model: Classifier, images: Images, context: RunContext, sizes: dict[str, int]) -> dict[str, Value]:
    """Compute DeepFool's distances, and the smallest distance of all attacks, on the same images."""
    inputs, labels = _inputs(images, context)
    deepfool = deepfool_scores(model, inputs, labels, batch_size=BATCH)
    nearest = nearest_scores(model, inputs[deepfool.correct], at_most=deepfool.distances, batch_size=BATCH)
    sizes |= {"deepfool_n": deepfool.n, "deepfool_n_correct": deepfool.n_correct}
    sizes |= {"deepfool_n_fooled": deepfool.n_fooled, "nearest_n_fooled": nearest.n_fooled}
    sizes["nearest_n_unknown"] = nearest.n_unknown
    shares = {"deepfool_fooled_share": deepfool.fooled_share, "nearest_fooled_share": nearest.fooled_share}
    return shares | _with_intervals(
        nearest_median_distance=nearest.median_distance,
        nearest_rho=nearest.rho,
        deepfool_rho_authors=deepfool.rho_authors,
        deepfool_rho_pixels=deepfool.rho_pixels,
        deepfool_rho_boundary=deepfool.rho_boundary,
        deepfool_median_distance=deepfool.median_distance,
    )


def _with_intervals(**estimates: Estimate) -> dict[str, Value]:
    """Return every estimate by column, each followed by the ends of its interval."""
    values = {column: estimate.value for column, estimate in estimates.items()}
    for column, estimate in estimates.items():
        values |= {column + suffix: end for suffix, end in zip(INTERVAL_SUFFIXES, estimate[1:], strict=True)}
    return values


def _inputs(images: Images, context: RunContext) -> tuple[torch.Tensor, torch.Tensor]:
    return images.inputs(torch.arange(len(images)), context.device), images.labels.to(context.device)


def _number(value: Value) -> float | None:
    """Return the number of ``value``; None if it is undefined or infinite, which JSON cannot store."""
    return value.value if math.isfinite(value.value) else None
