"""Criteria, the main part of the training loss: outputs (B, K) and labels (B,) to a scalar, registered by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.core.registry import Registry
from bench.models.outputs import COSINE_SCALE
from bench.models.schedules import TrainingFacts

SMOOTHING = 0.1
COSFACE_MARGIN, COSFACE_SCALE = 0.25, 32.0
RAMP_EPOCHS = 48  # the published scale grows by 1 per epoch from 16 to 64

Criterion = Callable[[Tensor, Tensor, int, TrainingFacts], Tensor]


@dataclass(frozen=True, kw_only=True)
class CriterionEntry:
    """A criterion. ``function(outputs, labels, epoch, facts)`` returns a scalar; ``output`` names the output layer."""

    summary: str
    source: str
    function: Criterion
    output: str = "linear"


CRITERIA: Registry[CriterionEntry] = Registry("criterion")


def cross_entropy(outputs: Tensor, labels: Tensor, epoch: int, facts: TrainingFacts) -> Tensor:
    """Compute −log softmax(o)_y, the mean over the batch."""
    return F.cross_entropy(outputs, labels)


def smoothed_cross_entropy(outputs: Tensor, labels: Tensor, epoch: int, facts: TrainingFacts) -> Tensor:
    """Compute the cross-entropy with 0.9 on the label and 0.1 spread over all K classes (Szegedy et al. 2016)."""
    return F.cross_entropy(outputs, labels, label_smoothing=SMOOTHING)


def arcface_ramp(epoch: int, facts: TrainingFacts) -> tuple[float, float]:
    """Return scale and margin (radians) in ``epoch`` (from 1): min(16 + t, 64) and min(0.1 + t/100, 0.5).

    t = epoch − 1 for trainings of at least 96 epochs. Shorter trainings complete the ramp in half of their epochs.
    """
    elapsed = (epoch - 1) * max(1.0, 2 * RAMP_EPOCHS / max(facts.epochs, 1))
    return min(16 + elapsed, 64.0), min(0.1 + 0.01 * elapsed, 0.5)


def arcface(outputs: Tensor, labels: Tensor, epoch: int, facts: TrainingFacts) -> Tensor:
    """Compute the cross-entropy with additive angular margin: logits s·cos(θ_y + m) of the label, s·cos θ_j of others.

    ``outputs`` are 16·cos θ, (B, K). For θ_y + m > π, cos(θ_y + m) is replaced by cos θ_y − m·sin m, which decreases
    with θ_y. Source: Deng et al., arXiv 1801.07698. The authors of arXiv 2310.08224 chose the ramp of s and m.
    """
    scale, margin = arcface_ramp(epoch, facts)
    cosines = outputs / COSINE_SCALE
    cosine = cosines.gather(1, labels[:, None]).clamp(-1 + 1e-7, 1 - 1e-7)  # the sine has no gradient at ±1
    sine = (1 - cosine.square()).sqrt()
    shifted = cosine * math.cos(margin) - sine * math.sin(margin)
    harder = torch.where(cosine > math.cos(math.pi - margin), shifted, cosine - margin * math.sin(margin))
    return F.cross_entropy(scale * cosines.scatter(1, labels[:, None], harder), labels)


def cosface(outputs: Tensor, labels: Tensor, epoch: int, facts: TrainingFacts) -> Tensor:
    """Compute the cross-entropy with additive cosine margin: logits s·(cos θ_y − m) of the label, s·cos θ_j of others.

    ``outputs`` are 16·cos θ, (B, K), with s = 32 and m = 0.25. Source: Wang et al., arXiv 1801.09414. The authors of
    arXiv 2310.08224v5 chose this scale and margin.
    """
    shift = COSFACE_MARGIN * F.one_hot(labels, outputs.shape[1]).to(outputs)
    return F.cross_entropy(COSFACE_SCALE * (outputs / COSINE_SCALE - shift), labels)


_ORIGIN = "bench.models.losses"
CRITERIA.register(
    "cross_entropy",
    CriterionEntry(summary="cross-entropy", source="", function=cross_entropy),
    origin=_ORIGIN,
)
CRITERIA.register(
    "label_smoothing",
    CriterionEntry(
        summary="cross-entropy against smoothed labels",
        source="Szegedy et al. 2016, arXiv 1512.00567",
        function=smoothed_cross_entropy,
    ),
    origin=_ORIGIN,
)
CRITERIA.register(
    "arcface",
    CriterionEntry(
        summary="additive angular margin",
        source="Deng et al. 2019, arXiv 1801.07698",
        function=arcface,
        output="cosine",
    ),
    origin=_ORIGIN,
)
CRITERIA.register(
    "cosface",
    CriterionEntry(
        summary="additive cosine margin", source="Wang et al. 2018, arXiv 1801.09414", function=cosface, output="cosine"
    ),
    origin=_ORIGIN,
)
