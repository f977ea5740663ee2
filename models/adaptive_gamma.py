"""Closed-loop γ: it follows what the network, as measured in the step just done, can balance at its target margin.

Let m be the logit margin z_y − max_{j≠y} z_j in nats, in the median over a batch, and P the mean of z² over batch and
width. If all wrong logits are equal, scaling z by c scales m by c and P by c². Cross-entropy, log(1 + (K − 1)e^−m),
pulls c outwards and the penalty γP inwards, and at c = 1 they do it with

    m·(K − 1)/(e^m + K − 1)      and      2γP.

They would balance at a target m* = 3 nats, where c = m*/m, if γ were

    γ* = (K − 1)·m² / (2·P·m*·(e^{m*} + K − 1)),                                                            (1)

which does not change when z shrinks (m²/P does not) and grows with the output weights. Where m is still below m* the
penalty at γ* pulls less than the cross-entropy pushes, so that it cannot keep a network from learning, whatever the
backbone, the data and the number of epochs. After every step

    log γ ← log γ + clip(log γ* − log γ, −log 2, r),

with m and P in running means and γ between 1e-2, where it is not felt, and the published end of 10⁶. r is set by the
length of the training, so that γ could cross all of this range in an eighth of it. Below m = 0 nothing has been learned
that could be balanced, and γ* is the floor.

For another penalty than the mean square (1) is a guide only: exp(P) pulls with 2γP·e^P, so that ``lpc_exp`` balances at
less than m*, and the less the larger its latents are.

The balance is that of :mod:`bench.models.schedules`, which has to assume what is measured here: how large the output
weights have become, and that the latents point along them.
"""

from __future__ import annotations

import math

from bench.models.schedules import GAMMA_END, SCHEDULES, GammaState, ScheduleEntry, StepStats, TrainingFacts

TARGET = 3.0  # nats: a correct class has 20 times the probability of any wrong one
FLOOR = 1e-2
CROSSING = 1 / 8  # share of the training in which γ may go from its floor to its ceiling
MEMORY = 10  # steps of the running means
FASTEST = math.log(2.0)  # a step, at most: the published first phase doubles


def start(facts: TrainingFacts) -> GammaState:
    """The floor; nothing is known of the network yet."""
    return GammaState(FLOOR)


def rate(facts: TrainingFacts) -> float:
    """r, in nats of γ a step."""
    steps = facts.epochs * facts.steps_per_epoch
    return min(FASTEST, math.log(GAMMA_END / FLOOR) / max(CROSSING * steps, 1))


def balance(margin: float, mean_square: float, num_classes: int) -> float:
    """γ* of equation (1) from the ``margin`` m in nats and P; from the floor to the published end."""
    if margin <= 0:
        return FLOOR
    push = (num_classes - 1) * margin**2
    pull = 2 * mean_square * TARGET * (math.exp(TARGET) + num_classes - 1)
    return min(max(push / pull, FLOOR), GAMMA_END) if pull else GAMMA_END


def advance(state: GammaState, done: StepStats, facts: TrainingFacts) -> GammaState:
    """γ for the next step from the margin and the size of the latents in the one just done."""
    margin = _running(state.margin, done.margin)
    mean_square = _running(state.mean_square, done.mean_square)
    wanted = balance(margin, mean_square, facts.num_classes)
    change = min(max(math.log(wanted / state.gamma), -FASTEST), rate(facts))
    return GammaState(state.gamma * math.exp(change), margin, mean_square)


def _running(before: float | None, now: float) -> float:
    return now if before is None else before + (now - before) / MEMORY


SCHEDULES.register(
    "auto",
    ScheduleEntry(
        summary=f"follows what the network balances at a median training margin of {TARGET:g} nats, as measured",
        source="equation (1) of bench.models.adaptive_gamma",
        start=start,
        advance=advance,
    ),
    origin="bench.models.adaptive_gamma",
)
