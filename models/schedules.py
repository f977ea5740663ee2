r"""Schedules of the weight γ of a penalty.

**Published** schedules have two phases: γ starts at 1e-4 and doubles every few epochs up to 10³, then it grows by a
factor of 1.25 up to 10⁶. It is constant within an epoch.

**Short** recipes have too few epochs for the published schedule. Assume that the logits of all other classes are equal
and that the margin is m = s·‖z‖, where s is the margin per unit of ‖z‖. The cross-entropy log(1 + (K − 1)e^−m) pushes
‖z‖ outwards with the force s·(K − 1)/(e^m + K − 1). The penalty γ‖z‖²/d pulls it inwards with the force 2γ‖z‖/d. The
forces balance for

    m·(e^m + K − 1) = (K − 1)·s²·d / (2γ).                                                                  (1)

Let the rows of W be ±w on the vertices of a hypercube, and z on the same vertices. Let the K classes be spread evenly:
their vertices add up to 0, so that the inner product of two vertices is −d/(K − 1). Then

    m = w·√d·‖z‖·(1 + 1/(K − 1)),   hence   s² = d·w²·(K/(K − 1))².

AdamW changes a weight by at most about the learning rate per step, so that w ≤ lr·t after t steps. Inserting this into
(1) gives the γ for a target margin m:

    γ(t) = K²/(K − 1) · d²·(lr·t)² / (2·m·(e^m + K − 1)).                                                   (2)

For larger γ, the margin decreases and learning stops: the published 10⁶ requires weights of about 10, which a short
training never reaches. The short schedule sets γ by (2) from the number of steps, up to the published final value of
10⁶. It requires a constant learning rate of the output layer, as in the published recipe.

**Auto** measures the quantities that this model assumes: :mod:`bench.models.adaptive_gamma`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bench.core.errors import BenchError
from bench.core.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

GAMMA_0 = 1e-4
GAMMA_END = 1e6
TARGET_MARGIN = 2.0  # nats: the correct class has 7 times the probability of any other class


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """Facts about the training that a schedule or a criterion may use."""

    epochs: int
    steps_per_epoch: int
    lr: float  # constant learning rate of the output layer
    num_classes: int
    latent_dim: int  # width that γ refers to
    gamma: float | None = None  # the variant's own constant γ, if any


class GammaState(NamedTuple):
    """Complete state of a schedule: γ for the next step, and running means. It is saved to resume a training.

    The values are numbers, or float32 tensors of no dimension on the device of the training, so that no step waits for
    the device.
    """

    gamma: float | Tensor
    margin: float | Tensor | None = None  # nats, running mean of the median logit margin of the batches
    mean_square: float | Tensor | None = None  # running mean of the mean square of the latents' elements


class StepStats(NamedTuple):
    """Statistics of the last step, and the epoch of the next one. The statistics may be tensors of no dimension."""

    margin: float | Tensor  # nats, median over the batch of z_y − max_{j≠y} z_j
    next_epoch: int  # from 1
    mean_square: float | Tensor = 1.0  # mean square of the latents' elements


@dataclass(frozen=True, kw_only=True)
class ScheduleEntry:
    """A schedule. The pure functions ``start`` and ``advance`` return the state for the first and the next step."""

    summary: str
    source: str
    start: Callable[[TrainingFacts], GammaState]
    advance: Callable[[GammaState, StepStats, TrainingFacts], GammaState]


SCHEDULES: Registry[ScheduleEntry] = Registry("schedule")


def open_loop(gamma: Callable[[int, TrainingFacts], float], *, summary: str, source: str) -> ScheduleEntry:
    """Make a schedule that depends only on the epoch (from 1)."""
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
    """Return γ in ``epoch`` of the published schedule: each phase multiplies γ every ``every`` epochs up to its end.

    The first multiplication of a phase is in its first epoch, so that γ is 2·``start`` in epoch 1.
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
    """Return γ in ``epoch`` of the earlier published schedule, which multiplies γ *after* every epoch below ``end``.

    The code does not clip γ, so that the last multiplication exceeds ``end``.
    """
    needed = math.ceil(math.log(end / start) / math.log(factor) - 1e-9)
    return start * factor ** min(epoch - 1, needed)


def balanced_gamma(weight: float, facts: TrainingFacts, *, margin: float = TARGET_MARGIN) -> float:
    """Return γ by equation (2), at which output weights of size ``weight`` balance at ``margin`` nats."""
    spread = facts.num_classes**2 / (facts.num_classes - 1)
    return spread * (facts.latent_dim * weight) ** 2 / (2 * margin * (math.exp(margin) + facts.num_classes - 1))


def short(epoch: int, facts: TrainingFacts) -> float:
    """Return γ by equation (2) for the number of steps before ``epoch``, at most GAMMA_END."""
    steps = (epoch - 1) * facts.steps_per_epoch
    return min(GAMMA_END, balanced_gamma(facts.lr * steps, facts))


def constant(epoch: int, facts: TrainingFacts) -> float:
    """Return the variant's own γ, equal in every epoch. Raises BenchError if the variant has none."""
    if facts.gamma is None:
        raise BenchError("a variant with the schedule 'constant' needs a gamma; set it in its VariantSpec.")
    return facts.gamma


_ORIGIN = "bench.models.schedules"
_HEAD = "the authors' configurations of November 2025 for arXiv 2310.08224"
SCHEDULES.register(
    "short",
    open_loop(
        short, summary="follows the growth of the output weights", source="equation (2) of bench.models.schedules"
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
_2024 = "the authors' code of November 2024 (github luigisbailo/latent_point_collapse) for OpenReview FwlM1k4ODx"
SCHEDULES.register(
    "paper_2024_cifar",
    open_loop(
        lambda epoch, facts: geometric(epoch, start=1e-2, factor=1.05, end=1e6),
        summary="×1.05 after every epoch from 1e-2 until it exceeds 1e6, to 1,022,245",
        source=_2024,
    ),
    origin=_ORIGIN,
)
SCHEDULES.register(
    "paper_2024_svhn",
    open_loop(
        lambda epoch, facts: geometric(epoch, start=1e-2, factor=1.03, end=1e5),
        summary="×1.03 after every epoch from 1e-2 until it exceeds 1e5, to 102,123",
        source=_2024,
    ),
    origin=_ORIGIN,
)
