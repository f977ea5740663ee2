"""Criteria, the main part of the training loss: outputs (B, K) and labels (B,) to a scalar, registered by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.core.registry import Registry
from bench.models.adaptive_gamma import TARGET
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


def matched_smoothing(margin: float, num_classes: int) -> float:
    """Return the smoothing ε whose optimal logit margin is ``margin`` nats, for ``num_classes`` K classes.

    Smoothed labels have 1 − ε + ε/K on the label and ε/K elsewhere. The smoothed cross-entropy is minimal if the
    softmax equals the smoothed label. Then e^m is the ratio of both shares, 1 + K(1 − ε)/ε, hence

        ε = K / (e^m + K − 1).

    >>> round(matched_smoothing(3.0, 10), 2)
    0.34
    """
    return num_classes / (math.exp(margin) + num_classes - 1)


def matched_smoothed_cross_entropy(outputs: Tensor, labels: Tensor, epoch: int, facts: TrainingFacts) -> Tensor:
    """Compute the smoothed cross-entropy with the margin of the adaptive schedule of γ, 3 nats, as its optimum."""
    smoothing = matched_smoothing(TARGET, facts.num_classes)
    return F.cross_entropy(outputs, labels, label_smoothing=smoothing)


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
CRITERIA.register(
    "label_smoothing_matched",
    CriterionEntry(
        summary=f"cross-entropy against labels smoothed so that the optimal margin is {TARGET:g} nats",
        source="Szegedy et al. 2016, arXiv 1512.00567; the margin is that of bench.models.adaptive_gamma",
        function=matched_smoothed_cross_entropy,
    ),
    origin=_ORIGIN,
)
CRITERIA.register(
    "cosine_softmax",
    CriterionEntry(
        summary="cross-entropy on 16 times the cosines of latents and weights",
        source="Wang et al. 2017, arXiv 1704.06369",
        function=cross_entropy,
        output="cosine",
    ),
    origin=_ORIGIN,
)
CRITERIA.register(
    "l2_softmax",
    CriterionEntry(
        summary="cross-entropy on logits of latents of length 16",
        source="Ranjan et al. 2017, arXiv 1703.09507",
        function=cross_entropy,
        output="fixed_length",
    ),
    origin=_ORIGIN,
)
CRITERIA.register(
    "simplex_cross_entropy",
    CriterionEntry(
        summary="cross-entropy with fixed output weights on a simplex",
        source="Zhu et al. 2021, arXiv 2105.02375; Yang et al. 2022, arXiv 2203.09081",
        function=cross_entropy,
        output="simplex",
    ),
    origin=_ORIGIN,
)
