"""Closed-loop γ: it grows while the network keeps its margin, and backs off when it does not.

Let m be the logit margin z_y − max_{j≠y} z_j in the median over the last batch, or its running mean where that is
lower. After every step

    log γ ← log γ + r·ℓ·clip((m − m*)/m*, −1, 1),     m* = min(3, max(1, ¾ of the running mean's peak)) nats,

so γ grows geometrically, by at most e^r a step, while the margin is above its target m*; it holds at it, and falls
below. Each part has its reason:

- The lower of the two margins makes the loop quick to back off and slow to grow: a network that is pressed too hard
  loses its margin within a few steps and needs many to regain it.
- A network that a short training does not bring to 3 nats even without a penalty is asked for most of what it had.
- ℓ is the share of the body's learning rate that is left: a network that no longer learns cannot answer.
- r is set by the length of the training: at full speed γ would cross all of its range, from 1e-2, where it is not felt,
  to the published end of 10⁶, in half of it.

The balance of :mod:`models.schedules` says that the margin falls as γ grows, and rises as the output weights do: the
loop therefore rides along the largest γ that the weights can bear at this moment, whatever the backbone, the data and
the number of epochs.
"""

from __future__ import annotations

import math

from models.schedules import GAMMA_END, SCHEDULES, Done, GammaState, ScheduleEntry, TrainingFacts

TARGET = 3.0  # nats: a correct class has 20 times the probability of any wrong one
SHARE = 0.75  # of the peak, where that is a lower target
LOWEST = 1.0  # nats: below, nothing has been learned yet
FLOOR = 1e-2
CROSSING = 0.5  # share of the training in which γ may go from its floor to its ceiling
MEMORY = 10  # steps of the running mean
FASTEST = math.log(2.0)  # a step, at most: the published first phase doubles


def start(facts: TrainingFacts) -> GammaState:
    """The floor; nothing is known of the margin yet."""
    return GammaState(FLOOR)


def rate(facts: TrainingFacts) -> float:
    """r, in nats of γ a step."""
    steps = facts.epochs * facts.steps_per_epoch
    return min(FASTEST, math.log(GAMMA_END / FLOOR) / max(CROSSING * steps, 1))


def advance(state: GammaState, done: Done, facts: TrainingFacts) -> GammaState:
    """γ for the next step from the margin of the one just done; between the floor and the published end."""
    before = done.margin if state.margin is None else state.margin
    running = before + (done.margin - before) / MEMORY
    peak = max(state.peak, running)
    target = min(max(SHARE * peak, LOWEST), TARGET)
    error = (min(running, done.margin) - target) / target
    gamma = state.gamma * math.exp(rate(facts) * done.lr_share * max(-1.0, min(1.0, error)))
    return GammaState(min(max(gamma, FLOOR), GAMMA_END), running, peak)


SCHEDULES.register(
    "auto",
    ScheduleEntry(
        summary=f"grows while the median training margin stays above its target of {TARGET:g} nats, backs off below",
        source="models.feedback",
        start=start,
        advance=advance,
    ),
    origin="models.feedback",
)
