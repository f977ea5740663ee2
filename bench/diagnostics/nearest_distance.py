"""Distance to the nearest adversarial image that is known: the minimum of DDN, FMN, FAB and DeepFool, in pixel L2.

DeepFool follows the tangent planes of the logits: its direction is a first-order guess, and bisection along it repairs
the length alone. How much longer its distances are differs between networks, so that they do not compare them. DDN
(arXiv 1811.09600), FMN (arXiv 2102.12827) and targeted FAB (arXiv 1907.02044) correct their direction as they go. The
minimum over all four per image is still an upper bound of the distance, and the smallest known here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from attacks.ddn import Ddn
from attacks.fab import TargetedFab
from attacks.fmn import Fmn
from attacks.nearest import nearest
from attacks.registry import Cost
from attacks.search import Samples, Search
from bench.core.errors import CellFailure
from bench.diagnostics.boundary import adversarial, as_floats, between, lengths, smallest_fraction
from bench.diagnostics.estimates import NONE_CORRECT, NONE_FOOLED, Estimate, censored_median, mean_ratio, unknown
from bench.diagnostics.latents import Floats, Value, undefined

# Twice the steps lower the median by less than 2 %: results/studies/nearest_steps.py.
DDN_STEPS = 50
FMN_STEPS = 50
FAB_STEPS = 10
FAB_TARGETS = 3  # classes of the highest logits after the label
HALVINGS = 10
_ENDLESS = -1.0  # no point is within this budget: no search ends early


@dataclass(frozen=True)
class NearestScores:
    """Over correctly classified images; every distance is that of an image whose class was asked anew."""

    n_fooled: int
    fooled_share: Value  # n_fooled / n_correct
    rho: Estimate  # mean ‖r‖/‖x‖ over the images that were fooled
    median_distance: Estimate  # over all correct images, not fooled is infinitely far


def nearest_scores(model: nn.Module, images: Tensor, *, at_most: Floats, batch_size: int) -> NearestScores:
    """Search the nearest adversarial image of each of ``images``, (N, 3, H, W), which are classified correctly.

    ``at_most``, (N,), are verified distances that are known already; infinite where there are none. The model is in
    evaluation mode and has the type and the device of the images. Where it returns logits that are not finite nothing
    is known of any distance, and every value says so.
    """
    try:
        parts = [
            nearest_distances(model, images[rows], keys=rows)
            for rows in torch.arange(len(images), device=images.device).split(batch_size)
            if len(rows)
        ]
    except CellFailure as failure:
        return NearestScores(0, undefined(failure.message), unknown(failure.message), unknown(failure.message))
    distances = np.minimum(np.concatenate([np.empty(0), *parts]), at_most)
    fooled = np.isfinite(distances)
    nobody = NONE_FOOLED if len(images) else NONE_CORRECT
    return NearestScores(
        n_fooled=int(fooled.sum()),
        fooled_share=Value(float(fooled.mean())) if len(images) else undefined(nobody),
        rho=mean_ratio(distances[fooled], lengths(images)[fooled], nobody),
        median_distance=censored_median(distances[fooled], len(images)),
    )


def nearest_distances(model: nn.Module, images: Tensor, *, keys: Tensor) -> Floats:
    """Pixel L2 to the nearest adversarial image that DDN, FMN or FAB found, (N,); infinite where none was verified.

    ``keys``, (N,) int64, seed the directions that DDN draws where there is no gradient. The images are correctly
    classified, so that the prediction is the label. The nearest image is moved to the boundary by bisection.
    """
    with torch.no_grad():
        ranking = model(images).argsort(dim=1, descending=True, stable=True)
    classes = ranking[:, 0]
    samples = Samples(images, classes, keys, ranking)
    best, distance = images.clone(), torch.full((len(images),), torch.inf, dtype=torch.float64, device=images.device)
    for search in _searches(ranking.shape[1]):
        points = nearest(search, model, samples, norm="l2")
        away = torch.where(adversarial(model, points, classes), _away(images, points), torch.inf)
        closer = away < distance
        best[closer], distance[closer] = points[closer], away[closer]
    found = distance.isfinite()
    return _at_the_boundary(model, images, best, classes, distance, found)


def cost(num_classes: int) -> Cost:
    """Passes per image: always the same number of steps; FAB draws back and asks once more after half of its trials."""
    targets = min(FAB_TARGETS, num_classes - 1)
    directed = DDN_STEPS + FMN_STEPS + 2 + targets * (FAB_STEPS + 1)
    verdicts = 1 + len(_searches(num_classes)) + HALVINGS + 1
    most = directed + targets * FAB_STEPS
    return Cost(most + verdicts, most, directed + verdicts, directed)


def _searches(num_classes: int) -> tuple[Search, ...]:
    targets = min(FAB_TARGETS, num_classes - 1)
    return (
        Ddn(eps=_ENDLESS, steps=DDN_STEPS),
        Fmn(norm="l2", eps=_ENDLESS, steps=FMN_STEPS),
        TargetedFab(norm="l2", eps=_ENDLESS, n_iter=FAB_STEPS, attempts=targets),
    )


def _at_the_boundary(
    model: nn.Module, images: Tensor, best: Tensor, classes: Tensor, distance: Tensor, found: Tensor
) -> Floats:
    """``distance`` after bisection, where the shortened image is verified, too."""
    if found.any():
        start, end, label = images[found], best[found], classes[found]
        points = between(start, end, smallest_fraction(model, start, end, label, HALVINGS))
        shorter = torch.where(adversarial(model, points, label), _away(start, points), torch.inf)
        distance[found] = torch.minimum(distance[found], shorter)
    return as_floats(distance)


def _away(images: Tensor, points: Tensor) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm((points.double() - images.double()).flatten(1), dim=1)
    return distance
