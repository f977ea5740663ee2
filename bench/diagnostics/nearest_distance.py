"""Compute the L2 distance to the nearest known adversarial image: the minimum over DDN, FMN, FAB and DeepFool.

DeepFool linearises the logits. Its direction is a first-order approximation, and bisection along this direction
corrects only the length. DeepFool overestimates the distance by different factors for different networks, so do not
compare networks by this distance. DDN (arXiv 1811.09600), FMN (arXiv 2102.12827) and targeted FAB (arXiv 1907.02044)
update their direction in every step. The minimum over the four attacks per image is still an upper bound of the
distance. Lengths are in pixels of [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bench.attacks.ddn_attack import Ddn
from bench.attacks.engine.minimal_norm import nearest
from bench.attacks.engine.search import Samples, Search
from bench.attacks.fab_attack import TargetedFab
from bench.attacks.fmn_attack import Fmn
from bench.attacks.geometry.norms import length
from bench.attacks.registry import Cost
from bench.diagnostics.boundary import adversarial, as_floats, between, lengths, smallest_fraction
from bench.diagnostics.estimates import NONE_CORRECT, NONE_FOOLED, Estimate, censored_median, mean_ratio, unknown
from bench.diagnostics.latents import Floats, Value, undefined

# Numbers of steps. With twice the steps, the median decreases by less than 2 %, see results/studies/nearest_steps.py.
DDN_STEPS = 50
FMN_STEPS = 50
FAB_STEPS = 10
FAB_TARGETS = 3  # classes of the highest logits after the label
HALVINGS = 10
NOT_FINITE = "no attack succeeded, and the model returned NaN or infinite logits near all correctly classified images"
_ENDLESS = -1.0  # negative budget, so that no search ends early


@dataclass(frozen=True)
class NearestScores:
    """Scores over correctly classified images; every adversarial image is verified by a new prediction.

    Images without a known distance are left out.
    """

    n_fooled: int  # number of images with an adversarial image
    n_unknown: int  # number of images without adversarial image whose search ended at NaN or infinite logits
    fooled_share: Value  # n_fooled / (n_correct - n_unknown)
    rho: Estimate  # mean ‖r‖/‖x‖ over the n_fooled images
    median_distance: Estimate  # median over the n_correct - n_unknown images; infinite without adversarial image


def nearest_scores(model: nn.Module, images: Tensor, *, at_most: Floats, batch_size: int) -> NearestScores:
    """Search for the nearest adversarial image of each of ``images``, (N, 3, H, W), all classified correctly.

    ``at_most``, (N,), are verified distances that are already known; infinite if unknown. The model is in evaluation
    mode and has the dtype and the device of the images. Raise CellFailure("no_gradient") for a model without gradients.
    """
    parts = [
        nearest_distances(model, images[rows], keys=rows)
        for rows in torch.arange(len(images), device=images.device).split(batch_size)
        if len(rows)
    ]
    distances = np.concatenate([np.empty(0), *parts])
    distances = np.where(np.isfinite(at_most), np.fmin(distances, at_most), distances)
    fooled, n_unknown = np.isfinite(distances), int(np.isnan(distances).sum())
    if n_unknown == len(images):
        return _no_scores(NOT_FINITE if len(images) else NONE_CORRECT, n_unknown)
    return NearestScores(
        n_fooled=int(fooled.sum()),
        n_unknown=n_unknown,
        fooled_share=Value(int(fooled.sum()) / (len(images) - n_unknown)),
        rho=mean_ratio(distances[fooled], lengths(images)[fooled], NONE_FOOLED),
        median_distance=censored_median(distances[fooled], len(images) - n_unknown),
    )


def _no_scores(reason: str, n_unknown: int) -> NearestScores:
    return NearestScores(0, n_unknown, undefined(reason), unknown(reason), unknown(reason))


def nearest_distances(model: nn.Module, images: Tensor, *, keys: Tensor) -> Floats:
    """Return the L2 distance to the nearest verified adversarial image of DDN, FMN and FAB, (N,).

    Without a verified adversarial image, the distance is infinite, or NaN if a search ended at NaN or infinite logits:
    such an image must not be reported as robust. ``keys``, (N,) int64, seed the random directions of DDN where the
    gradient is zero or not finite. The images are correctly classified, so the prediction equals the label. Bisection
    moves the nearest adversarial image to the boundary.
    """
    with torch.no_grad():
        ranking = model(images).argsort(dim=1, descending=True, stable=True)
    classes = ranking[:, 0]
    samples = Samples(images, classes, keys, ranking)
    best, distance = images.clone(), torch.full((len(images),), torch.inf, dtype=torch.float64, device=images.device)
    stopped = torch.zeros_like(classes, dtype=torch.bool)
    for search in _searches(ranking.shape[1]):
        points, early = nearest(search, model, samples, norm="l2")
        stopped |= early
        distances = torch.where(adversarial(model, points, classes), _distances(images, points), torch.inf)
        is_closer = distances < distance
        best[is_closer], distance[is_closer] = points[is_closer], distances[is_closer]
    is_known = distance.isfinite()
    distance[stopped & ~is_known] = torch.nan
    return _at_the_boundary(model, images, best, classes, distance, is_known)


def cost(num_classes: int) -> Cost:
    """Return the passes per image. All steps are always run. FAB needs one more pass after each adversarial trial."""
    targets = min(FAB_TARGETS, num_classes - 1)
    directed = DDN_STEPS + FMN_STEPS + 2 + targets * (FAB_STEPS + 1)
    verdicts = 1 + len(_searches(num_classes)) + HALVINGS + 1
    maximum = directed + targets * FAB_STEPS
    return Cost(maximum + verdicts, maximum, directed + verdicts, directed)


def _searches(num_classes: int) -> tuple[Search, ...]:
    targets = min(FAB_TARGETS, num_classes - 1)
    return (
        Ddn(eps=_ENDLESS, steps=DDN_STEPS),
        Fmn(norm="l2", eps=_ENDLESS, steps=FMN_STEPS),
        TargetedFab(norm="l2", eps=_ENDLESS, n_iter=FAB_STEPS, attempts=targets),
    )


def _at_the_boundary(
    model: nn.Module, images: Tensor, best: Tensor, classes: Tensor, distance: Tensor, is_known: Tensor
) -> Floats:
    """Return ``distance`` after bisection; unchanged if the shortened image is not adversarial."""
    if is_known.any():
        start, end, label = images[is_known], best[is_known], classes[is_known]
        points = between(start, end, smallest_fraction(model, start, end, label, HALVINGS))
        shorter = torch.where(adversarial(model, points, label), _distances(start, points), torch.inf)
        distance[is_known] = torch.minimum(distance[is_known], shorter)
    return as_floats(distance)


def _distances(images: Tensor, points: Tensor) -> Tensor:
    return length(points.double() - images.double(), "l2")
