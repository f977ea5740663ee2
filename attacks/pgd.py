"""Projected gradient descent, Madry et al. 2018 (arXiv 1706.06083), and its form with momentum.

x_{t+1} = Π(x_t + α·sign ∇L(x_t)), Π the projection on the ball around x and on [0, 1], x_0 uniform in the ball, L the
cross-entropy or the margin of Carlini and Wagner 2017 (arXiv 1608.04644); for l2 ∇/‖∇‖₂ takes the place of the sign.

For l1 a step goes where the linearised loss is greatest at that length inside the box: pixels go to their walls, the
steepest first (Croce and Hein 2021, arXiv 2103.01208). Equal steps of a fixed share of the pixels (Tramèr and
Boneh 2019, arXiv 1904.13000) break as many digits with the best share, and far fewer with the usual
hundredth. Π is exact there.

MI-FGSM, Dong et al. 2018 (arXiv 1710.06081), starts at x and follows an accumulated gradient with α = ε/T:

    g_{t+1} = μ·g_t + ∇L(x_t)/‖∇L(x_t)‖₁,   x_{t+1} = Π(x_t + α·sign g_{t+1}),   for l2 g/‖g‖₂ in place of the sign.

The image counts as broken at the first x_t that another class is given to; the published attacks look at the
last one only, which the walk may have left that class by. The gradient is that of the log-odds, which has the direction
of cross-entropy's and does not vanish.

Foolbox has PGD, the reference backend, but walks all images to the end. Its momentum adds gradients as they come, not
divided by ‖∇‖₁, which lets the steepest point of the walk outweigh all others; so MI-FGSM has no reference here, nor
has the L1 form, for which foolbox takes the fixed share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from bench.attacks.counter import derive
from bench.attacks.hunting import hunt_from
from bench.attacks.l1 import steepest_in_box
from bench.attacks.norms import ball_draw, project, steepest, unit_l1
from bench.attacks.objectives import Objective, objective
from bench.attacks.queries import Attacked
from bench.attacks.rng import SampleRng
from bench.attacks.search import Answer, Samples, State
from bench.core.specs import AttackSpec, Norm


def step_size(eps: float, steps: int) -> float:
    """α = 2.5·ε/steps, the size of Madry et al.'s own code: enough to cross the ball and to settle.

    A single step gets ε.
    """
    return min(eps, 2.5 * eps / steps)


@dataclass(frozen=True)
class PgdState(State):
    asked: Tensor  # (B,), int64, points that were asked about, the start included
    accumulated: Tensor  # (B, C, H, W), g; 0 without momentum


@dataclass(frozen=True, kw_only=True)
class Pgd:
    """One walk of ``steps`` per attempt; see :class:`bench.attacks.search.Search`.

    ``step`` is α, 2.5·ε/steps by default.
    """

    norm: Norm
    eps: float
    steps: int
    attempts: int = 1
    loss_name: Objective = "ce"
    step: float | None = None
    momentum: float = 0.0  # μ; at 0 the gradient itself is followed
    random_start: bool = True

    def start(self, samples: Samples, attempt: Tensor) -> PgdState:
        points, zeros = samples.inputs, torch.zeros_like(samples.inputs)
        if self.random_start:
            noise = ball_draw(start_keys(samples.keys, attempt), tuple(points.shape[1:]), self.norm, self.eps)
            points = project(points + noise.to(points), points, self.norm, self.eps)
        over = torch.zeros_like(samples.labels, dtype=torch.bool)
        return PgdState(samples, points, over, torch.zeros_like(attempt), zeros)

    def loss(self, state: PgdState, logits: Tensor) -> Tensor:
        return objective(self.loss_name, logits, state.samples.labels)

    def needs_gradient(self, state: PgdState) -> Tensor:
        return torch.ones_like(state.over)

    def breaks(self, state: PgdState, logits: Tensor) -> Tensor:
        return logits.argmax(1) != state.samples.labels

    def advance(self, state: PgdState, answer: Answer) -> PgdState:
        accumulated, heading = state.accumulated, answer.gradient
        if self.momentum:
            accumulated = heading = self.momentum * accumulated + unit_l1(answer.gradient)
        moved = state.points + self._step(state.points, heading)
        return replace(
            state,
            points=project(moved, state.samples.inputs, self.norm, self.eps),
            asked=state.asked + 1,
            over=state.asked >= self.steps,
            accumulated=accumulated,
        )

    def _step(self, points: Tensor, heading: Tensor) -> Tensor:
        size = step_size(self.eps, self.steps) if self.step is None else self.step
        if self.norm == "l1":
            return steepest_in_box(points, heading, size)
        return size * steepest(heading, self.norm)


def start_keys(keys: Tensor, attempt: Tensor | int) -> Tensor:
    """The keys of the starting points, (B,), so that another implementation can start there, too."""
    return derive(keys, "pgd", attempt)


def pgd(model: nn.Module, inputs: Tensor, labels: Tensor, *, spec: AttackSpec, rng: SampleRng) -> Tensor | Attacked:
    """``params["steps"]`` steps from each of ``params["restarts"]`` starts, as far as an image needs them.

    ``params["objective"]``, if there is one, is "ce", "margin" or "plain-ce". Shapes as in
    :class:`bench.attacks.registry.Attack`.
    """
    search = Pgd(
        norm=spec.norm,
        eps=spec.eps,
        steps=int(spec.params["steps"]),
        attempts=int(spec.params["restarts"]),
        loss_name=cast(Objective, spec.params.get("objective", "ce")),
    )
    return hunt_from(search, model, inputs, labels, spec=spec, rng=rng)


def mim(model: nn.Module, inputs: Tensor, labels: Tensor, *, spec: AttackSpec, rng: SampleRng) -> Tensor | Attacked:
    """MI-FGSM of ``params["steps"]`` steps with μ = ``params["momentum"]``. Deterministic.

    Shapes as in :class:`bench.attacks.registry.Attack`.
    """
    steps, momentum = int(spec.params["steps"]), float(spec.params["momentum"])
    step = spec.eps / steps
    search = Pgd(norm=spec.norm, eps=spec.eps, steps=steps, step=step, momentum=momentum, random_start=False)
    return hunt_from(search, model, inputs, labels, spec=spec, rng=rng)
