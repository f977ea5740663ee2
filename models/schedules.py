"""The weight γ of a penalty as a pure function of the epoch (from 1), constant inside an epoch.

**Published** (two phases): γ starts at 1e-4 and doubles every few epochs up to 10³, then grows by a quarter up to 10⁶.

**Short** recipes cannot follow it. Let all wrong logits be equal and the margin be m = s·‖z‖, where s is what a unit of
‖z‖ buys. Cross-entropy, log(1 + (K − 1)e^−m), pulls outwards by s·(K − 1)/(e^m + K − 1) and the penalty γ‖z‖²/d inwards
by 2γ‖z‖/d, so they balance where

    m·(e^m + K − 1) = (K − 1)·s²·d / (2γ).                                                                  (1)

Let the rows of W be ±w on the vertices of a hypercube, z on the same vertices, and the K classes spread evenly (their
vertices add up to 0, so two of them have inner product −d/(K − 1)):

    m = w·√d·‖z‖·(1 + 1/(K − 1)),   hence   s² = d·w²·(K/(K − 1))².

AdamW moves a weight by at most about its learning rate a step, so after t steps w ≤ lr·t. Put into (1) and solved for
the γ that leaves a wanted margin m:

    γ(t) = K²/(K − 1) · d²·(lr·t)² / (2·m·(e^m + K − 1)).                                                   (2)

Above it the margin falls and learning with it: the published 10⁶ needs weights of about 10, which a short training
never reaches. The short schedule *follows* (2) with the steps done, up to the published end of 10⁶. The learning rate
of the output layer must then stay constant, as it does in the published recipe.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bench.core.registry import Registry

GAMMA_0 = 1e-4
GAMMA_END = 1e6
TARGET_MARGIN = 2.0  # nats: a correct class has 7 times the probability of any wrong one


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """What a schedule may know about the training."""

    epochs: int
    steps_per_epoch: int
    lr: float  # of the output layer, constant
    num_classes: int
    latent_dim: int


@dataclass(frozen=True, kw_only=True)
class ScheduleEntry:
    summary: str
    gamma: Callable[[int, TrainingFacts], float]


SCHEDULES: Registry[ScheduleEntry] = Registry("schedule")


def two_phase(
    epoch: int,
    *,
    every: int,
    start: float = GAMMA_0,
    factors: tuple[float, float] = (2.0, 1.25),
    ends: tuple[float, float] = (1e3, GAMMA_END),
) -> float:
    """γ in ``epoch`` of the published schedule: each phase multiplies every ``every`` epochs and clips at its end.

    A phase's first multiplication comes in its first epoch, so that epoch 1 already trains at twice ``start``.
    """
    gamma, first = start, 1
    for factor, end in zip(factors, ends, strict=True):
        multiplications = (epoch - first) // every + 1
        needed = math.ceil(math.log(end / gamma) / math.log(factor) - 1e-9)
        if multiplications < needed:
            return gamma * factor ** max(multiplications, 0)
        first += (needed - 1) * every + 1
        gamma = end
    return gamma


def balanced_gamma(weight: float, facts: TrainingFacts, *, margin: float = TARGET_MARGIN) -> float:
    """The γ of equation (2) that output weights of size ``weight`` balance at ``margin`` nats."""
    spread = facts.num_classes**2 / (facts.num_classes - 1)
    return spread * (facts.latent_dim * weight) ** 2 / (2 * margin * (math.exp(margin) + facts.num_classes - 1))


def short(epoch: int, facts: TrainingFacts) -> float:
    """Equation (2) at the steps done when ``epoch`` begins, at most the published end."""
    steps = (epoch - 1) * facts.steps_per_epoch
    return min(GAMMA_END, balanced_gamma(facts.lr * steps, facts))


_ORIGIN = "models.schedules"
SCHEDULES.register(
    "short",
    ScheduleEntry(summary="follows what the output weights can balance (equation 2)", gamma=short),
    origin=_ORIGIN,
)
SCHEDULES.register(
    "paper_cifar",
    ScheduleEntry(
        summary="published for CIFAR: ×2 every 5 epochs to 1e3, ×1.25 every 5 to 1e6",
        gamma=lambda epoch, facts: two_phase(epoch, every=5),
    ),
    origin=_ORIGIN,
)
SCHEDULES.register(
    "paper_imagenet",
    ScheduleEntry(
        summary="published for ImageNet: ×2 every epoch to 1e3, ×1.25 every epoch to 1e6",
        gamma=lambda epoch, facts: two_phase(epoch, every=1),
    ),
    origin=_ORIGIN,
)
