"""Adaptive schedule of γ, computed from margin and latents measured in every training step.

Let m be the logit margin z_y − max_{j≠y} z_j in nats, the median over a batch, and P the mean of z² over batch and
width. If the logits of all other classes are equal, scaling z by c scales m by c and P by c². The cross-entropy
log(1 + (K − 1)e^−m) increases c and the penalty γP decreases it. Their forces at c = 1 are

    m·(K − 1)/(e^m + K − 1)      and      2γP.

They balance at a target margin m* = 3 nats, that is at c = m*/m, for

    γ* = (K − 1)·m² / (2·P·m*·(e^{m*} + K − 1)),                                                            (1)

which does not change when z shrinks (m²/P is constant) and grows with the output weights. While m is below m*, the
force of the penalty at γ* is smaller than the force of the cross-entropy. So the penalty cannot prevent learning, for
any backbone, data and number of epochs. After every step,

    log γ ← log γ + clip(log γ* − log γ, −log 2, r),

where m and P are running means and γ is clipped between 1e-2, where it has no noticeable effect, and the published
final value of 10⁶. The rate r is chosen so that γ can cross this range within an eighth of the training. For m ≤ 0 the
network has not learned yet, and γ* is the lower bound.

For penalties other than the mean square, (1) is only an approximation: the force of exp(P) is 2γP·e^P, so that
``lpc_exp`` balances below m*, and further below for larger latents.

:mod:`bench.models.schedules` uses the same balance, but assumes the quantities that are measured here: the size of the
output weights, and that the latents are aligned with them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.models.schedules import GAMMA_END, SCHEDULES, GammaState, ScheduleEntry, StepStats, TrainingFacts

TARGET = 3.0  # nats: the correct class has 20 times the probability of any other class
FLOOR = 1e-2
CROSSING = 1 / 8  # share of the training in which γ can rise from its lower to its upper bound
MEMORY = 10  # time constant of the running means, in steps
FASTEST = math.log(2.0)  # maximum change of log γ per step: the first published phase doubles γ


def start(facts: TrainingFacts) -> GammaState:
    """Return the initial state, with γ at its lower bound."""
    return GammaState(FLOOR)


def rate(facts: TrainingFacts) -> float:
    """Return r, the maximum increase of log γ per step."""
    steps = facts.epochs * facts.steps_per_epoch
    return min(FASTEST, math.log(GAMMA_END / FLOOR) / max(CROSSING * steps, 1))


def balance(margin: float | Tensor, mean_square: float | Tensor, num_classes: int) -> Tensor:
    """Return γ* of equation (1), clipped to [FLOOR, GAMMA_END], a float32 tensor of no dimension.

    ``margin`` is m in nats, ``mean_square`` is P.
    """
    margin, mean_square = torch.as_tensor(margin), torch.as_tensor(mean_square)
    push = (num_classes - 1) * margin.clamp(min=0).square()
    pull = 2 * mean_square * TARGET * (math.exp(TARGET) + num_classes - 1)
    balanced = torch.where(pull > 0, push / pull, GAMMA_END).clamp(FLOOR, GAMMA_END)
    return torch.where(margin > 0, balanced, FLOOR)


def advance(state: GammaState, done: StepStats, facts: TrainingFacts) -> GammaState:
    """Update γ and the running means from the margin and the mean square of the latents of the last step."""
    margin = _running(state.margin, done.margin)
    mean_square = _running(state.mean_square, done.mean_square)
    target = balance(margin, mean_square, facts.num_classes)
    change = (target / state.gamma).log().clamp(-FASTEST, rate(facts))
    return GammaState(state.gamma * change.exp(), margin, mean_square)


def _running(before: float | Tensor | None, now: float | Tensor) -> float | Tensor:
    return now if before is None else before + (now - before) / MEMORY


SCHEDULES.register(
    "auto",
    ScheduleEntry(
        summary=f"balances the loss at a median training margin of {TARGET:g} nats, measured in every step",
        source="equation (1) of bench.models.adaptive_gamma",
        start=start,
        advance=advance,
    ),
    origin="bench.models.adaptive_gamma",
)
