"""Auto-PGD for L1, Croce and Hein 2021 (arXiv 2103.01208): sparse steps, and radii that shrink to ε.

    x_{k+1} = Π(x_k + η·s_k),   s_k the signs of the n_k steepest pixels, divided by their number,

Π the exact projection on ball and box (:mod:`bench.attacks.geometry.l1_ball`). n_k follows the sparsity of the best
point so far: at every check, after each 4 % of the steps of a phase and at least one, with m pixels changed at the best
point and m' at the last check,

    n = m/1.5,   and  η = ρ, and the walk goes on from the best point,   if m < 0.95·m',
                 else  η ← max(η/1.5, ρ/10).

The walk goes through three phases, of the radii ρ = 3ε, 2ε and ε and of 30, 30 and 40 % of the steps; each starts at
the best point of the one before, projected on its own ball, the first at a normal draw. Only in the last phase a point
may count as adversarial. There is no momentum. An image that survives costs 3 + ``steps`` passes in each direction per
attempt.

The authors' program walks all images to the end of each phase. It also counts pixels as changed that differ from the
image by rounding alone, so that its steps are less sparse than it means them to be; here these are not changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.attacks.engine.counter_rng import bulk_normal, derive
from bench.attacks.engine.search import QueryResult, Samples, State
from bench.attacks.geometry.l1_ball import project, sparse_sign
from bench.attacks.objectives import Objective, objective, targeted_objective

RADII = (3.0, 2.0, 1.0)  # ρ/ε of the phases
SHARES = (0.3, 0.3)  # of the steps, of the first phases; the last has the rest
CHECKS = 0.04  # of a phase's steps, from one check to the next
DENSER = 1.5  # n is the number of changed pixels divided by it
SPARSER = 0.95  # m/m' below which the walk starts afresh
UNCHANGED = 1e-7  # what a pixel differs by when it was brought back to the image, and rounding is left
SLOWER, SLOWEST = 1.5, 10.0  # what η is divided by, and by how much at most


@dataclass(frozen=True)
class ApgdL1State(State):
    targets: Tensor  # (B,), classes
    phase: Tensor  # (B,), int64, 0 to 2
    answers: Tensor  # (B,), int64, what was asked in this phase, its start included
    best: Tensor  # (B, C, H, W), point of the largest loss in this phase
    best_gradient: Tensor  # (B, C, H, W)
    best_loss: Tensor  # (B,)
    changed: Tensor  # (B,), int64, m'
    pixels: Tensor  # (B,), int64, n
    step_size: Tensor  # (B,), float64, η/ρ


@dataclass(frozen=True, kw_only=True)
class ApgdL1:
    """The search; see :class:`~bench.attacks.engine.search.Search`. Targets are those of auto-PGD in other norms."""

    eps: float
    objective: Objective
    steps: int = 100
    attempts: int = 1
    targeted: bool = False

    def start(self, samples: Samples, attempt: Tensor) -> ApgdL1State:
        inputs = samples.inputs
        keys = derive(samples.keys, f"apgd-{self.objective}", attempt)
        drawn = inputs + bulk_normal(keys, tuple(inputs.shape[1:])).to(inputs)
        points = project(drawn, inputs, RADII[0] * self.eps)
        rank = (attempt + 1).clamp_max(samples.ranking.shape[1] - 1)
        zeros = torch.zeros_like(samples.labels)
        changed = _changed(points, inputs)
        return ApgdL1State(
            samples=samples,
            points=points,
            over=torch.zeros_like(samples.labels, dtype=torch.bool),
            targets=samples.ranking.gather(1, rank[:, None]).squeeze(1),
            phase=zeros,
            answers=zeros,
            best=points,
            best_gradient=torch.zeros_like(points),
            best_loss=inputs.new_full((len(samples),), -torch.inf),
            changed=changed,
            pixels=_pixels(changed, inputs),
            step_size=torch.ones_like(zeros, dtype=torch.float64),
        )

    def loss(self, state: ApgdL1State, logits: Tensor) -> Tensor:
        if self.targeted:
            return targeted_objective(self.objective, logits, state.samples.labels, state.targets)
        return objective(self.objective, logits, state.samples.labels, state.targets)

    def needs_gradient(self, state: ApgdL1State) -> Tensor:
        return torch.ones_like(state.over)

    def is_adversarial(self, state: ApgdL1State, logits: Tensor) -> Tensor:
        return state.samples.fooled(logits, targeted=self.targeted) & (state.phase == len(RADII) - 1)

    def advance(self, state: ApgdL1State, answer: QueryResult) -> ApgdL1State:
        state = _with_best(state, answer)
        state, gradient = self._checked(state, answer.gradient)
        inputs, radius = state.samples.inputs, self.eps * self._of_phase(RADII, state).to(torch.float64)
        step = (radius * state.step_size).to(inputs).view(-1, 1, 1, 1) * sparse_sign(gradient, state.pixels)
        ended = state.answers >= self._of_phase(phase_steps(self.steps), state)
        over = ended & (state.phase == len(RADII) - 1)
        ended &= ~over
        following = replace(state, phase=(state.phase + 1).clamp_max(len(RADII) - 1))
        radius = torch.where(ended, self.eps * self._of_phase(RADII, following).to(torch.float64), radius)
        points = project(_where(ended, state.best, state.points + step), inputs, radius)
        state = replace(state, points=points, answers=state.answers + 1, over=over)
        return _begun(replace(state, phase=torch.where(ended, following.phase, state.phase)), ended)

    def _of_phase(self, values: tuple[float, ...] | tuple[int, ...], state: ApgdL1State) -> Tensor:
        return torch.tensor(values, device=state.phase.device)[state.phase]

    def _checked(self, state: ApgdL1State, gradient: Tensor) -> tuple[ApgdL1State, Tensor]:
        """The numbers of the next steps, and the gradient at the point that these start from."""
        windows = tuple(max(int(CHECKS * steps), 1) for steps in phase_steps(self.steps))
        check = (state.answers > 0) & (state.answers % self._of_phase(windows, state) == 0)
        changed = _changed(state.best, state.samples.inputs)
        fresh = check & (changed.double() / state.changed.double() < SPARSER)
        slower = (state.step_size / SLOWER).clamp_min(1 / SLOWEST)
        size = torch.where(check, torch.where(fresh, 1.0, slower), state.step_size)
        state = replace(
            state,
            points=_where(fresh, state.best, state.points),
            step_size=size,
            changed=torch.where(check, changed, state.changed),
            pixels=torch.where(check, _pixels(changed, state.best), state.pixels),
        )
        return state, _where(fresh, state.best_gradient, gradient)


def phase_steps(steps: int) -> tuple[int, int, int]:
    """Return the number of steps of each phase; they add up to ``steps``.

    If there are very few steps, the earlier phases take them and later ones may have none.
    """
    first = min(math.ceil(SHARES[0] * steps), steps)
    second = min(math.ceil(SHARES[1] * steps), steps - first)
    return first, second, steps - first - second


def _begun(state: ApgdL1State, fresh: Tensor) -> ApgdL1State:
    """Return the state with the samples at ``fresh``, (B,) bool, reset to the start of a phase."""
    changed = _changed(state.points, state.samples.inputs)
    return replace(
        state,
        answers=torch.where(fresh, 0, state.answers),
        best_loss=torch.where(fresh, -torch.inf, state.best_loss),
        changed=torch.where(fresh, changed, state.changed),
        pixels=torch.where(fresh, _pixels(changed, state.points), state.pixels),
        step_size=torch.where(fresh, 1.0, state.step_size),
    )


def _with_best(state: ApgdL1State, answer: QueryResult) -> ApgdL1State:
    better = answer.loss > state.best_loss
    return replace(
        state,
        best=_where(better, state.points, state.best),
        best_gradient=_where(better, answer.gradient, state.best_gradient),
        best_loss=torch.where(better, answer.loss, state.best_loss),
    )


def _changed(points: Tensor, inputs: Tensor) -> Tensor:
    return ((points - inputs).abs() > UNCHANGED).flatten(1).sum(1)


def _pixels(changed: Tensor, images: Tensor) -> Tensor:
    """n of m changed pixels, rounded as in the authors' program: (B,), int64, at least 1."""
    total = images[0].numel()
    place = ((1 - changed.double() / total / DENSER) * total).long()
    return (total - place).clamp(1, total)


def _where(mask: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(mask.view(-1, 1, 1, 1), one, other)
