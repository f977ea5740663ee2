"""Projected gradient descent, Madry et al. 2018 (arXiv 1706.06083).

x_{t+1} = Π(x_t + α·sign ∇ CE(f(x_t), y)), Π the projection on the ball around x and on [0, 1], x_0 uniform in the ball;
for l2 ∇/‖∇‖₂ takes the place of the sign.

The image counts as broken at the first x_t that another class is given to; the published attack looks at the
last one only, which the walk may have left that class by. The gradient is that of the log-odds, which has the direction
of cross-entropy's and does not vanish.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from attacks.active import Answer, Samples, State, hunt
from attacks.counter import derive
from attacks.norms import ball_draw, project, steepest
from attacks.objectives import cross_entropy_gap
from attacks.queries import Attacked, allowance_of, outcome
from attacks.registry import batch_size_of
from attacks.rng import SampleRng
from bench.core.specs import AttackSpec, Norm


def step_size(eps: float, steps: int) -> float:
    """α = 2.5·ε/steps, the size of Madry et al.'s own code: enough to cross the ball and to settle.

    A single step gets ε.
    """
    return min(eps, 2.5 * eps / steps)


@dataclass(frozen=True)
class PgdState(State):
    asked: Tensor  # (B,), int64, points that were asked about, the start included


@dataclass(frozen=True, kw_only=True)
class Pgd:
    """One walk of ``steps`` an attempt; see :class:`attacks.active.Search`."""

    norm: Norm
    eps: float
    steps: int
    attempts: int = 1

    def start(self, samples: Samples, attempt: Tensor) -> PgdState:
        inputs = samples.inputs
        noise = ball_draw(start_keys(samples.keys, attempt), tuple(inputs.shape[1:]), self.norm, self.eps)
        points = project(inputs + noise.to(inputs), inputs, self.norm, self.eps)
        return PgdState(samples, points, torch.zeros_like(samples.labels, dtype=torch.bool), torch.zeros_like(attempt))

    def loss(self, state: PgdState, logits: Tensor) -> Tensor:
        return cross_entropy_gap(logits, state.samples.labels)

    def needs_gradient(self, state: PgdState) -> Tensor:
        return torch.ones_like(state.over)

    def breaks(self, state: PgdState, logits: Tensor) -> Tensor:
        return logits.argmax(1) != state.samples.labels

    def advance(self, state: PgdState, answer: Answer) -> PgdState:
        step = step_size(self.eps, self.steps) * steepest(answer.gradient, self.norm)
        points = project(state.points + step, state.samples.inputs, self.norm, self.eps)
        return replace(state, points=points, asked=state.asked + 1, over=state.asked >= self.steps)


def start_keys(keys: Tensor, attempt: Tensor | int) -> Tensor:
    """The keys of the starting points, (B,), so that another implementation can start there, too."""
    return derive(keys, "pgd", attempt)


def pgd(
    model: nn.Module, inputs: Tensor, labels: Tensor, *, spec: AttackSpec, rng: SampleRng
) -> Tensor | Attacked:
    """``params["steps"]`` steps from each of ``params["restarts"]`` starts, as far as an image needs them.

    Shapes as in :class:`attacks.registry.Attack`.
    """
    steps, restarts = int(spec.params["steps"]), int(spec.params["restarts"])
    search = Pgd(norm=spec.norm, eps=spec.eps, steps=steps, attempts=restarts)
    samples = Samples(inputs, labels, rng.keys(), labels[:, None])
    allowance = allowance_of(spec, labels)
    found = hunt(search, model, samples, batch_size=batch_size_of(spec), allowance=allowance)
    return outcome(allowance, found.adversarial, found.cut)
