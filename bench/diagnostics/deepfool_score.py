"""Compute DeepFool's score ρ = mean ‖r‖₂/‖x‖₂ (arXiv 1511.04599) in three forms.

The published robustness of latent point collapse is measured by this score. DeepFool returns a perturbation r that is
large enough, not the smallest one.

- The length of r may be too large: if the gradient is small, a step goes far beyond the boundary. Bisection along r
  corrects the length (``rho_boundary``). If ``rho_boundary`` is much smaller than ``rho_pixels``, the error is large.
- The direction of r may also be inaccurate. It is the direction to the nearest tangent plane, a first-order
  approximation. Bisection cannot correct the direction.

Therefore all three forms are upper bounds that may be loose by different factors for different networks. Use
:mod:`bench.diagnostics.nearest_distance` instead. Only ``rho_authors`` is comparable with published values of ρ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.attacks.deepfool_attack import walk_to_boundary
from bench.diagnostics.boundary import as_floats, lengths, predict, smallest_fraction
from bench.diagnostics.estimates import NONE_CORRECT, NONE_FOOLED, Estimate, censored_median, mean_ratio
from bench.diagnostics.latents import Floats, Value, undefined
from bench.models.classifier import Classifier

STEPS = 50
OVERSHOOT = 0.02
CANDIDATES = 10
EXTRA = 1e-4  # added to the length of every step, as in the authors' code; otherwise DeepFool may not end in the box
HALVINGS = 20


@dataclass(frozen=True)
class DeepFoolScores:
    """Scores ρ in the published form and in pixel space; NaN with a reason if no image can be used.

    ``rho_authors`` is defined as by the LPC authors (arXiv 2310.08224): r and x are in the normalised input space,
    without the box [0, 1]. All images are used, including misclassified images and images for which DeepFool failed.
    The authors' program returns NaN for an image without a gradient. This function uses r = 0 for such an image.
    """

    n: int
    n_correct: int
    n_fooled: int  # number of correctly classified images for which DeepFool succeeded, in pixel space
    rho_authors: Estimate
    rho_pixels: Estimate  # r and x in [0, 1] pixels, x + r in the box; mean over the n_fooled images
    fooled_share: Value  # n_fooled / n_correct
    rho_boundary: Estimate  # as rho_pixels, with every r shortened to the decision boundary that it crosses
    median_distance: Estimate  # median ‖r‖ of the shortened r over the n_correct images; infinite if DeepFool failed
    correct: Tensor  # (N,), bool, true for correctly classified images
    distances: Floats  # (n_correct,), ‖r‖ of the shortened r; infinite if DeepFool failed


@dataclass(frozen=True)
class Lengths:
    """L2 norms of images and perturbations for the M images on which DeepFool succeeded in pixel space.

    The norms are (M,) float64. ``inputs`` is ‖x‖, ``raw`` is ‖r‖ as returned by DeepFool, and ``boundary`` is ‖r‖ with
    r shortened to the decision boundary.
    """

    inputs: Floats
    raw: Floats
    boundary: Floats
    fooled: NDArray[np.bool_]  # (N,), mask of the M images


def deepfool_scores(model: Classifier, images: Tensor, labels: Tensor, *, batch_size: int) -> DeepFoolScores:
    """Run DeepFool in normalised space for ``rho_authors``, and in pixel space for all other values.

    ``images`` is (N, 3, H, W), in [0, 1], with the device and dtype of the model, which is put in evaluation mode.
    ``labels`` is (N,), int64.
    """
    model.eval()
    walks, parts, correct = [], [], []
    for batch, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        walks.append(_authors_lengths(model, batch))
        correct.append(predict(model, batch) == truth)
        parts.append(pixel_lengths(model, batch[correct[-1]]))
    measured = Lengths(*(np.concatenate([getattr(part, name) for part in parts]) for name in Lengths.__annotations__))
    n_correct = len(measured.fooled)
    if_empty = NONE_FOOLED if n_correct else NONE_CORRECT
    distances = np.full(n_correct, np.inf)
    distances[measured.fooled] = measured.boundary
    moved, inputs = np.concatenate(walks, axis=1)
    return DeepFoolScores(
        n=len(images),
        n_correct=n_correct,
        n_fooled=len(measured.raw),
        rho_authors=mean_ratio(moved, inputs, "no images were given"),
        rho_pixels=mean_ratio(measured.raw, measured.inputs, if_empty),
        fooled_share=Value(len(measured.raw) / n_correct) if n_correct else undefined(if_empty),
        rho_boundary=mean_ratio(measured.boundary, measured.inputs, if_empty),
        median_distance=censored_median(measured.boundary, n_correct),
        correct=torch.cat(correct),
        distances=distances,
    )


def _authors_lengths(model: Classifier, images: Tensor) -> Floats:
    """Run DeepFool on the normalised images, the input of the backbone. Return ‖r‖ and ‖x‖ of every image, (2, N)."""
    network = nn.Sequential(model.backbone, model.head, model.output)
    with torch.no_grad():
        inputs = model.normalize(images)
    perturbed = _walk(network, inputs, box=None)
    return np.stack([lengths(perturbed - inputs), lengths(inputs)])


def pixel_lengths(model: nn.Module, images: Tensor) -> Lengths:
    """Run DeepFool on correctly classified ``images``, (N, 3, H, W). Measure the images for which it succeeded.

    DeepFool starts from the predicted class, which equals the label for these images. DeepFool has succeeded if a new
    prediction of the returned image differs from the label.
    """
    if not len(images):
        empty = np.empty(0)
        return Lengths(empty, empty, empty, np.empty(0, dtype=bool))
    moved = _walk(model, images, box=(0.0, 1.0))
    classes = predict(model, images)
    fooled = predict(model, moved) != classes
    images, moved, classes = images[fooled], moved[fooled], classes[fooled]
    raw = lengths(moved - images)
    fraction = as_floats(smallest_fraction(model, images, moved, classes, HALVINGS))
    return Lengths(lengths(images), raw, raw * fraction, fooled.cpu().numpy())


def _walk(model: nn.Module, inputs: Tensor, *, box: tuple[float, float] | None) -> Tensor:
    return walk_to_boundary(
        model, inputs, steps=STEPS, overshoot=OVERSHOOT, candidates=CANDIDATES, extra=EXTRA, box=box
    ).adversarial
