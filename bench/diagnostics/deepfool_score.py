"""The score by which latent point collapse was called robust, ρ = mean ‖r‖₂/‖x‖₂ (arXiv 1511.04599), in three forms.

DeepFool finds an r that is large enough, not the smallest: where the gradient is small its step flies past the
boundary, and the raw ‖r‖ rewards a model for its plateau. A published ρ can be set beside ``rho_authors`` only. What
an adversary needs is nearer to ``rho_boundary``, and a ratio of the two far below one says the score is inflated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from attacks.deepfool import deepfool
from bench.diagnostics.latents import Floats, Value, undefined
from models.classifier import Classifier

STEPS = 50
OVERSHOOT = 0.02
CANDIDATES = 10
EXTRA = 1e-4  # what the LPC authors add to the length of every step; in the box a walk may not arrive without it
HALVINGS = 20


@dataclass(frozen=True)
class DeepFoolScores:
    """ρ in the published form and in two that mean something; NaN with a reason where no image counts.

    ``rho_authors`` is the LPC authors' own (arXiv 2310.08224): r and x in the normalised input space, where the box is
    not known, over all images, wrong ones too, and whether DeepFool succeeded or not. Their program gives NaN to an
    image without a gradient; here its r is 0.
    """

    n: int
    n_correct: int
    n_fooled: int  # of the correct ones, in pixels
    rho_authors: Value
    rho_pixels: Value  # r and x in [0, 1] pixels, r kept in the box; over the correct images that were fooled
    fooled_share: Value  # n_fooled / n_correct
    rho_boundary: Value  # as rho_pixels, with every r shortened to the boundary it crosses
    median_distance: Value  # pixel L2 of the shortened r over all correct images, not fooled is infinitely far


@dataclass(frozen=True)
class Lengths:
    """Of the images that were fooled in pixel space; all (M,), float64."""

    inputs: Floats
    raw: Floats
    boundary: Floats


def deepfool_scores(model: Classifier, images: Tensor, labels: Tensor, *, batch_size: int) -> DeepFoolScores:
    """Both runs of DeepFool, in normalised and in pixel space; the latter serves all values but ``rho_authors``.

    ``images`` is (N, 3, H, W), in [0, 1], on the device and in the type of the model, which is put in evaluation mode;
    ``labels`` is (N,), int64.
    """
    model.eval()
    ratios, parts, n_correct = [], [], 0
    for batch, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        ratios.append(_authors_ratios(model, batch))
        correct = batch[_predict(model, batch) == truth]
        n_correct += len(correct)
        parts.append(pixel_lengths(model, correct))
    found = Lengths(*(np.concatenate([getattr(part, name) for part in parts]) for name in Lengths.__annotations__))
    nobody = "no image is classified correctly" if not n_correct else "no image was fooled"
    return DeepFoolScores(
        n=len(images),
        n_correct=n_correct,
        n_fooled=len(found.raw),
        rho_authors=_mean(np.concatenate(ratios), "there are no images"),
        rho_pixels=_mean(_ratios(found.raw, found.inputs), nobody),
        fooled_share=Value(len(found.raw) / n_correct) if n_correct else undefined(nobody),
        rho_boundary=_mean(_ratios(found.boundary, found.inputs), nobody),
        median_distance=_median(found.boundary, n_correct),
    )


def _median(distances: Floats, n_correct: int) -> Value:
    """Over all correct images: one that was not fooled is further away than any that was."""
    if not n_correct:
        return undefined("no image is classified correctly")
    median = float(np.median(np.append(distances, np.full(n_correct - len(distances), np.inf))))
    return Value(median) if np.isfinite(median) else undefined("half of the correct images or more were not fooled")


def _authors_ratios(model: Classifier, images: Tensor) -> Floats:
    """‖r‖/‖x‖ of every image, (N,), both of the normalised image: what the backbone sees is DeepFool's input."""
    behind = nn.Sequential(model.backbone, model.head, model.output)
    with torch.no_grad():
        inputs = model.normalize(images)
    moved = _walk(behind, inputs, box=None)
    return _ratios(_lengths(moved - inputs), _lengths(inputs))


def pixel_lengths(model: nn.Module, images: Tensor) -> Lengths:
    """Run DeepFool on correctly classified ``images`` and measure those that it fooled.

    DeepFool starts from the prediction, which is the label here. Whether it was fooled is asked again, of the image
    that is returned.
    """
    if not len(images):
        return Lengths(*(np.empty(0) for _ in range(3)))
    moved = _walk(model, images, box=(0.0, 1.0))
    classes = _predict(model, images)
    fooled = _predict(model, moved) != classes
    images, moved, classes = images[fooled], moved[fooled], classes[fooled]
    raw = _lengths(moved - images)
    return Lengths(_lengths(images), raw, raw * _smallest_fraction(model, images, moved, classes))


def _walk(model: nn.Module, inputs: Tensor, *, box: tuple[float, float] | None) -> Tensor:
    return deepfool(
        model, inputs, steps=STEPS, overshoot=OVERSHOOT, candidates=CANDIDATES, extra=EXTRA, box=box
    ).adversarial


def _smallest_fraction(model: nn.Module, images: Tensor, moved: Tensor, classes: Tensor) -> Floats:
    """The least t in (0, 1] found by bisection with x + t·(moved − x) in another class than ``classes``, (M,).

    A crossing of the boundary, the first only if the way crosses once.
    """
    low = torch.zeros(len(images), dtype=images.dtype, device=images.device)
    high = torch.ones_like(low)
    if not len(images):
        return _numpy(high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        fooled = _predict(model, images + middle.view(-1, 1, 1, 1) * (moved - images)) != classes
        low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)
    return _numpy(high)


def _predict(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        classes: Tensor = model(images).argmax(1)
    return classes


def _lengths(vectors: Tensor) -> Floats:
    """‖v‖₂ of (N, C, H, W), summed up in float64."""
    return _numpy(torch.linalg.vector_norm(vectors.flatten(1), dim=1, dtype=torch.float64))


def _numpy(values: Tensor) -> Floats:
    array: Floats = values.double().cpu().numpy()
    return array


def _ratios(lengths: Floats, inputs: Floats) -> Floats:
    """NaN where the image is 0 throughout, so that :func:`_mean` sees it."""
    return np.divide(lengths, inputs, out=np.full_like(lengths, np.nan), where=inputs > 0)


def _mean(ratios: Floats, nobody: str) -> Value:
    if not len(ratios):
        return undefined(nobody)
    if np.isnan(ratios).any():
        return undefined(f"{int(np.isnan(ratios).sum())} images are 0 throughout and have no relative distance")
    return Value(float(ratios.mean()))
