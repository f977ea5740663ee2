"""Diagnose a trained network once per run: latents, gradients and distances to adversarial images."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from bench.context import RunContext, failures_as
from bench.core.columns import DIAGNOSTIC_COLUMNS, INTERVAL_SUFFIXES, TRAIN_SUFFIX
from bench.core.errors import CellFailure
from bench.core.records import DIAGNOSIS_VERSION, DiagnosisRecord, PluginCode, timestamp
from bench.data.tensors import Images
from bench.diagnostics.deepfool_score import deepfool_scores
from bench.diagnostics.estimates import Estimate
from bench.diagnostics.latents import Latents, Value
from bench.diagnostics.lipschitz import head_lipschitz
from bench.diagnostics.local import local_sensitivity
from bench.diagnostics.nearest_distance import nearest_scores
from bench.diagnostics.registry import DIAGNOSTICS, columns_of, diagnose_latents, plugin_codes
from bench.models.classifier import Classifier
from bench.planning.resume import stale_columns
from bench.runtime.environment import describe
from bench.runtime.torch_state import harness_torch_state

BATCH = 128
LATENT_IMAGES = 5000  # maximum number of images of each split
GRADIENT_IMAGES = 1000  # maximum number of test images
DEEPFOOL_IMAGES = 100  # maximum number of test images, as in the LPC paper


@harness_torch_state()
def diagnose(
    model: Classifier,
    run_id: str,
    weights_sha: str,
    train_limit: int | None,
    context: RunContext,
    *,
    force: bool = False,
) -> DiagnosisRecord:
    """Compute the diagnostics of a run and store the record. ``model`` is in evaluation mode.

    If a diagnosis of these weights without errors is stored, only missing diagnostics of loaded plug-ins, and
    diagnostics whose code has changed, are computed. ``force`` computes all diagnostics again. Values of plug-ins that
    are not loaded are kept.

    An error is stored as a failed record. If a diagnosis of these weights without errors is stored, that diagnosis is
    kept instead, without the values of changed plug-ins.
    """
    start, stored = time.perf_counter(), context.store.read_diagnosis(run_id)
    earlier = stored if stored is not None and stored.status == "ok" else None
    codes, part = plugin_codes(), None if force else earlier
    stale = frozenset(codes) if earlier is None else stale_columns(earlier, codes)
    sizes: dict[str, int] = {}
    values: Mapping[str, Value] = {}
    failure = None
    try:
        with failures_as("diagnosis_error"):
            if part is None:
                values = _measure(model, train_limit, context, sizes)
            else:
                values = _measure_plugins(model, train_limit, context, stale)
    except CellFailure as error:
        failure, sizes = error, {}  # numbers of images are not stored without values
    created = timestamp()
    record = DiagnosisRecord(
        run_id=run_id,
        weights_sha=weights_sha,
        version=DIAGNOSIS_VERSION,
        status="failed" if failure else "ok",
        reason=failure.reason if failure else "",
        message=failure.message if failure else "",
        images=sizes,
        values={column: _number(value) for column, value in values.items()},
        undefined={column: value.reason for column, value in values.items() if value.reason},
        time_s=time.perf_counter() - start,
        created=created,
        environment=describe(context.device),
        plugins={column: PluginCode(code, created) for column, code in codes.items() if column in values},
    )
    reusable = None if earlier is None else _without(earlier, stale)
    if reusable is None:
        context.store.write_diagnosis(record)
    elif failure:
        context.store.write_diagnosis(reusable)
    else:
        record = _merged(reusable, record, whole=part is None)
        context.store.write_diagnosis(record)
    return record


def _without(record: DiagnosisRecord, columns: Collection[str]) -> DiagnosisRecord:
    """Return ``record`` without the values in ``columns``."""
    return replace(
        record,
        values={column: value for column, value in record.values.items() if column not in columns},
        undefined={column: reason for column, reason in record.undefined.items() if column not in columns},
        plugins={column: code for column, code in record.plugins.items() if column not in columns},
    )


def _merged(earlier: DiagnosisRecord, record: DiagnosisRecord, *, whole: bool) -> DiagnosisRecord:
    """Return ``record`` with the values of ``earlier`` that are missing in ``record``.

    If ``record`` is not the ``whole`` diagnosis, the built-in diagnostics come from ``earlier``, together with their
    time, environment and numbers of images.
    """
    values = {**earlier.values, **record.values}
    return replace(
        record if whole else earlier,
        values={column: values[column] for column in _ordered(values)},
        undefined={**_without(earlier, record.values).undefined, **record.undefined},
        plugins={**earlier.plugins, **record.plugins},
    )


def _ordered(values: Collection[str]) -> list[str]:
    """Return the columns of ``values``: first the built-in columns in their order, then columns of plug-ins by name."""
    builtin = [column for column in DIAGNOSTIC_COLUMNS if column in values]
    return [*builtin, *sorted(set(values) - set(builtin))]


def _measure(
    model: Classifier, train_limit: int | None, context: RunContext, sizes: dict[str, int]
) -> Mapping[str, Value]:
    """Compute every diagnostic, by column. The training images are the images of the training, without augmentation."""
    test, train = _latent_images(train_limit, context)
    gradient_images, attacked_images = context.images("test", GRADIENT_IMAGES), context.images("test", DEEPFOOL_IMAGES)
    sizes |= {"collapse_n": len(test), f"collapse_n{TRAIN_SUFFIX}": len(train), "lipschitz_n": len(gradient_images)}
    of_train = latents_of(model, train, context)
    values = _latents(latents_of(model, test, context), "") | _latents(of_train, TRAIN_SUFFIX)
    values["train_acc"] = Value(_accuracy(of_train))
    return values | _sensitivity(model, gradient_images, context) | _distances(model, attacked_images, context, sizes)


def _latent_images(train_limit: int | None, context: RunContext) -> tuple[Images, Images]:
    """Return the test images and the training images for the diagnostics of latents."""
    limit = LATENT_IMAGES if train_limit is None else min(train_limit, LATENT_IMAGES)
    return context.images("test", LATENT_IMAGES), context.images("train", limit)


def _measure_plugins(
    model: Classifier, train_limit: int | None, context: RunContext, columns: Collection[str]
) -> Mapping[str, Value]:
    """Compute the diagnostics of plug-ins that have one of the ``columns``, by column."""
    names = [name for name in DIAGNOSTICS if not set(columns).isdisjoint(columns_of(name))]
    test, train = _latent_images(train_limit, context)
    values = _latents(latents_of(model, test, context), "", names)
    return values | _latents(latents_of(model, train, context), TRAIN_SUFFIX, names)


def _accuracy(latents: Latents) -> float:
    assert latents.predictions is not None
    return float((latents.predictions == latents.labels).mean())


def _latents(latents: Latents, suffix: str, names: Collection[str] | None = None) -> dict[str, Value]:
    return {f"collapse_{name}{suffix}": value for name, value in diagnose_latents(latents, names).items()}


@harness_torch_state()
def latents_of(model: Classifier, images: Images, context: RunContext) -> Latents:
    """Return the latents of ``images`` in float64, with output weights and predictions.

    Raise CellFailure("nan_logits") if a latent is not finite.
    """
    latents, predictions = [], []
    with torch.no_grad():
        for inputs, _ in images.batches(torch.arange(len(images)).split(BATCH), context.device):
            batch = model.features(inputs)
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
    """Return the estimates by column. Each estimate is followed by the lower and upper end of its interval."""
    values = {column: estimate.value for column, estimate in estimates.items()}
    for column, estimate in estimates.items():
        values |= {column + suffix: end for suffix, end in zip(INTERVAL_SUFFIXES, estimate[1:], strict=True)}
    return values


def _inputs(images: Images, context: RunContext) -> tuple[torch.Tensor, torch.Tensor]:
    return images.inputs(torch.arange(len(images)), context.device), images.labels.to(context.device)


def _number(value: Value) -> float | None:
    """Return the number of ``value``; None if it is undefined or infinite, which JSON cannot store."""
    return value.value if math.isfinite(value.value) else None
