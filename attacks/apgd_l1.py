"""Auto-PGD for L1, Croce and Hein 2021 (arXiv 2103.01208): sparse steps, in balls with radii that shrink to ε.

    x_{k+1} = Π(x_k + η·s_k),   s_k the signs of the n_k steepest pixels, divided by n_k,

Π is the exact projection onto ball and box (:mod:`bench.attacks.geometry.l1_ball`). n_k follows the sparsity of the
best point so far. A check comes after every 4 % of the steps of a phase, but after at least one step. Let m be the
number of changed pixels at the best point, and m' this number at the last check. Then

    n = m/1.5,   and  η = ρ and the search continues from the best point   if m < 0.95·m',
                 else  η ← max(η/1.5, ρ/10).

The search has three phases, with the radii ρ = 3ε, 2ε and ε and with 30, 30 and 40 % of the steps. The first phase
starts at a normal draw. Each later phase starts at the best point of the previous phase, projected onto its own ball.
Only points of the last phase are tested for success. The search has no momentum. An image without an adversarial point
costs 3 + ``steps`` forward and as many backward passes per attempt.

The authors' program runs all images to the end of each phase. If a pixel differs from the image by rounding errors
only, their program treats it as changed, so that its steps are less sparse than intended. Here, such a pixel is treated
as unchanged.
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
SHARES = (0.3, 0.3)  # shares of the steps in the first two phases; the last phase has the remaining steps
CHECKS = 0.04  # interval between checks, as a share of the steps of a phase
DENSER = 1.5  # n = m/DENSER
SPARSER = 0.95  # m/m' below which η is reset to ρ
UNCHANGED = 1e-7  # maximum difference that is treated as a rounding error
SLOWER, SLOWEST = 1.5, 10.0  # divisor of η at a check, and the maximum of ρ/η


@dataclass(frozen=True)
class ApgdL1State(State):
    """State of Auto-PGD for L1 for a batch of samples."""

    targets: Tensor  # (B,), classes
    phase: Tensor  # (B,), int64, 0 to 2
    n_queries: Tensor  # (B,), int64, queries in this phase, its start included
    best: Tensor  # (B, C, H, W), point of the largest loss in this phase
    best_gradient: Tensor  # (B, C, H, W)
    best_loss: Tensor  # (B,)
    changed: Tensor  # (B,), int64, m'
    pixels: Tensor  # (B,), int64, n
    step_size: Tensor  # (B,), float64, η/ρ


@dataclass(frozen=True, kw_only=True)
class ApgdL1:
    """Search of Auto-PGD for L1; see :class:`~bench.attacks.engine.search.Search`.

    Target classes are chosen as by :class:`bench.attacks.apgd_attack.Apgd`.
    """

    eps: float
    objective: Objective
    steps: int = 100
    attempts: int = 1
    targeted: bool = False

    def start(self, samples: Samples, attempt: Tensor) -> ApgdL1State:
        """Return the first states: a normal draw, projected onto the ball of radius 3ε and the box."""
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
            n_queries=zeros,
            best=points,
            best_gradient=torch.zeros_like(points),
            best_loss=inputs.new_full((len(samples),), -torch.inf),
            changed=changed,
            pixels=_pixels(changed, inputs),
            step_size=torch.ones_like(zeros, dtype=torch.float64),
        )

    def loss(self, state: ApgdL1State, logits: Tensor) -> Tensor:
        """Return the objective, (B,)."""
        if self.targeted:
            return targeted_objective(self.objective, logits, state.samples.labels, state.targets)
        return objective(self.objective, logits, state.samples.labels, state.targets)

    def needs_gradient(self, state: ApgdL1State) -> Tensor:
        """Mark all samples, (B,) bool: every step uses a gradient."""
        return torch.ones_like(state.over)

    def is_adversarial(self, state: ApgdL1State, logits: Tensor) -> Tensor:
        """Mark adversarial points of the last phase, (B,) bool. Earlier phases leave the ball of radius ε."""
        return state.samples.fooled(logits, targeted=self.targeted) & (state.phase == len(RADII) - 1)

    def advance(self, state: ApgdL1State, result: QueryResult) -> ApgdL1State:
        """Return the states after the query: sparsity, step size and phase, and the next point."""
        state = _with_best(state, result)
        state, gradient = self._apply_check(state, result.gradient)
        inputs, radius = state.samples.inputs, self.eps * self._for_phase(RADII, state).to(torch.float64)
        step = (radius * state.step_size).to(inputs).view(-1, 1, 1, 1) * sparse_sign(gradient, state.pixels)
        ended = state.n_queries >= self._for_phase(phase_steps(self.steps), state)
        over = ended & (state.phase == len(RADII) - 1)
        ended &= ~over
        next_state = replace(state, phase=(state.phase + 1).clamp_max(len(RADII) - 1))
        radius = torch.where(ended, self.eps * self._for_phase(RADII, next_state).to(torch.float64), radius)
        points = project(_where(ended, state.best, state.points + step), inputs, radius)
        state = replace(state, points=points, n_queries=state.n_queries + 1, over=over)
        return _reset_phase(replace(state, phase=torch.where(ended, next_state.phase, state.phase)), ended)

    def _for_phase(self, values: tuple[float, ...] | tuple[int, ...], state: ApgdL1State) -> Tensor:
        return torch.tensor(values, device=state.phase.device)[state.phase]

    def _apply_check(self, state: ApgdL1State, gradient: Tensor) -> tuple[ApgdL1State, Tensor]:
        """Update η and n at a check. Return the states and the gradient at the point at which the search continues."""
        windows = tuple(max(int(CHECKS * steps), 1) for steps in phase_steps(self.steps))
        check = (state.n_queries > 0) & (state.n_queries % self._for_phase(windows, state) == 0)
        changed = _changed(state.best, state.samples.inputs)
        reset = check & (changed.double() / state.changed.double() < SPARSER)
        slower = (state.step_size / SLOWER).clamp_min(1 / SLOWEST)
        size = torch.where(check, torch.where(reset, 1.0, slower), state.step_size)
        state = replace(
            state,
            points=_where(reset, state.best, state.points),
            step_size=size,
            changed=torch.where(check, changed, state.changed),
            pixels=torch.where(check, _pixels(changed, state.best), state.pixels),
        )
        return state, _where(reset, state.best_gradient, gradient)


def phase_steps(steps: int) -> tuple[int, int, int]:
    """Return the number of steps of each phase, with the sum ``steps``.

    If ``steps`` is very small, later phases may have no steps.
    """
    first = min(math.ceil(SHARES[0] * steps), steps)
    second = min(math.ceil(SHARES[1] * steps), steps - first)
    return first, second, steps - first - second


def _reset_phase(state: ApgdL1State, reset: Tensor) -> ApgdL1State:
    """Return the state with the samples at ``reset``, (B,) bool, reset to the start of a phase."""
    changed = _changed(state.points, state.samples.inputs)
    return replace(
        state,
        n_queries=torch.where(reset, 0, state.n_queries),
        best_loss=torch.where(reset, -torch.inf, state.best_loss),
        changed=torch.where(reset, changed, state.changed),
        pixels=torch.where(reset, _pixels(changed, state.points), state.pixels),
        step_size=torch.where(reset, 1.0, state.step_size),
    )


def _with_best(state: ApgdL1State, result: QueryResult) -> ApgdL1State:
    better = result.loss > state.best_loss
    return replace(
        state,
        best=_where(better, state.points, state.best),
        best_gradient=_where(better, result.gradient, state.best_gradient),
        best_loss=torch.where(better, result.loss, state.best_loss),
    )


def _changed(points: Tensor, inputs: Tensor) -> Tensor:
    return ((points - inputs).abs() > UNCHANGED).flatten(1).sum(1)


def _pixels(changed: Tensor, images: Tensor) -> Tensor:
    """Return n for ``changed`` = m pixels, (B,) int64, at least 1, rounded as in the authors' program."""
    total = images[0].numel()
    index = ((1 - changed.double() / total / DENSER) * total).long()
    return (total - index).clamp(1, total)


def _where(mask: Tensor, if_true: Tensor, if_false: Tensor) -> Tensor:
    return torch.where(mask.view(-1, 1, 1, 1), if_true, if_false)
