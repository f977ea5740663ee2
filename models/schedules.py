r"""The weight γ of a penalty, step by step.

**Published** (two phases): γ starts at 1e-4 and doubles every few epochs up to 10³, then grows by a quarter up to 10⁶;
it is constant inside an epoch.

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

**Auto** measures what this model assumes: :mod:`bench.models.adaptive_gamma`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from bench.core.errors import BenchError
from bench.core.registry import Registry

GAMMA_0 = 1e-4
GAMMA_END = 1e6
TARGET_MARGIN = 2.0  # nats: a correct class has 7 times the probability of any wrong one


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """Facts about the training that a schedule or a criterion may use."""

    epochs: int
    steps_per_epoch: int
    lr: float  # of the output layer, constant
    num_classes: int
    latent_dim: int  # the width for which γ is meant
    gamma: float | None = None  # of a variant that names its own constant


class GammaState(NamedTuple):
    """γ for the next step, and all that its schedule remembers: a training resumed with it goes on as it would have."""

    gamma: float
    margin: float | None = None  # nats, running mean of the batches' median logit margin
    mean_square: float | None = None  # running mean of that of the latents' elements


class StepStats(NamedTuple):
    """The step that has just been done, and where the next one lies."""

    margin: float  # nats, median over the batch of z_y − max_{j≠y} z_j
    next_epoch: int  # from 1
    mean_square: float = 1.0  # of the latents' elements


@dataclass(frozen=True, kw_only=True)
class ScheduleEntry:
    """``start`` gives γ for the first step, ``advance`` for the next one; both are pure."""

    summary: str
    source: str
    start: Callable[[TrainingFacts], GammaState]
    advance: Callable[[GammaState, StepStats, TrainingFacts], GammaState]


SCHEDULES: Registry[ScheduleEntry] = Registry("schedule")


def open_loop(gamma: Callable[[int, TrainingFacts], float], *, summary: str, source: str) -> ScheduleEntry:
    """A schedule that is a function of the epoch (from 1) alone."""
    return ScheduleEntry(
        summary=summary,
        source=source,
        start=lambda facts: GammaState(gamma(1, facts)),
        advance=lambda state, done, facts: GammaState(gamma(done.next_epoch, facts)),
    )


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


def geometric(epoch: int, *, start: float, factor: float, end: float) -> float:
    """γ in ``epoch`` of the earlier published schedule: multiplied *after* every epoch, clipped at its end."""
    return min(end, start * factor ** (epoch - 1))


def balanced_gamma(weight: float, facts: TrainingFacts, *, margin: float = TARGET_MARGIN) -> float:
    """The γ of equation (2) that output weights of size ``weight`` balance at ``margin`` nats."""
    spread = facts.num_classes**2 / (facts.num_classes - 1)
    return spread * (facts.latent_dim * weight) ** 2 / (2 * margin * (math.exp(margin) + facts.num_classes - 1))


def short(epoch: int, facts: TrainingFacts) -> float:
    """Equation (2) at the steps done when ``epoch`` begins, at most the published end."""
    steps = (epoch - 1) * facts.steps_per_epoch
    return min(GAMMA_END, balanced_gamma(facts.lr * steps, facts))


def constant(epoch: int, facts: TrainingFacts) -> float:
    """The variant's own γ, in every epoch. Raises BenchError when it names none."""
    if facts.gamma is None:
        raise BenchError("a variant with the schedule 'constant' needs a gamma.")
    return facts.gamma


_ORIGIN = "bench.models.schedules"
_HEAD = "the authors' configurations of November 2025 for arXiv 2310.08224"
SCHEDULES.register(
    "short",
    open_loop(
        short, summary="follows what the output weights can balance", source="equation (2) of bench.models.schedules"
    ),
    origin=_ORIGIN,
)
SCHEDULES.register(
    "constant", open_loop(constant, summary="one weight for the whole training", source="the variant"), origin=_ORIGIN
)
SCHEDULES.register(
    "paper_cifar",
    open_loop(
        lambda epoch, facts: two_phase(epoch, every=5),
        summary="×2 every 5 epochs from 1e-4 to 1e3, ×1.25 every 5 to 1e6",
        source=_HEAD,
    ),
    origin=_ORIGIN,
)
SCHEDULES.register(
    "paper_imagenet",
    open_loop(
        lambda epoch, facts: two_phase(epoch, every=1),
        summary="×2 every epoch from 1e-4 to 1e3, ×1.25 every epoch to 1e6",
        source=_HEAD,
    ),
    origin=_ORIGIN,
)
SCHEDULES.register(
    "paper_svhn",
    open_loop(
        lambda epoch, facts: geometric(epoch, start=1e-2, factor=1.03, end=1e5),
        summary="×1.03 after every epoch from 1e-2 to 1e5",
        source="the manuscript of November 2024 (OpenReview FwlM1k4ODx); its start is that of the code of the time",
    ),
    origin=_ORIGIN,
)
