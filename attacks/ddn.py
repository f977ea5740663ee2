"""Decoupled direction and norm, Rony et al. 2019 (arXiv 1811.09600, algorithm 1): the smallest L2 perturbation.

The direction follows the gradient and the length a rule of its own. From δ_0 = 0 and ε_0 = 1,

    δ ← δ + α·∇L/‖∇L‖₂,   ε ← (1 − γ)·ε if x + δ was adversarial, (1 + γ)·ε if not,   δ ← Π(x + ε·δ/‖δ‖₂) − x,

with γ = 0.05, α falling from 1 to 0.01 along half a cosine, and Π the clip to the box. A gradient of zero, or one that
is not finite, gives way to a random direction. See :mod:`bench.attacks.minimal` for what a budget has to do with it.

Departures: pixels are not rounded to 256 values; the random direction belongs to the sample. An image costs at most
1 + ``steps`` passes in each direction, the last point included, which the published loop never asks about.

Foolbox's DDNAttack is what the tests compare with. It walks a whole batch to the end and draws from the global
generator; here an image leaves at the first success and its path is its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.attacks.counter import bulk_normal, derive
from bench.attacks.hunting import hunt_from
from bench.attacks.minimal import annealed, broken_within, farthest
from bench.attacks.norms import length, steepest
from bench.attacks.objectives import cross_entropy_gap
from bench.attacks.queries import Attacked
from bench.attacks.rng import SampleRng
from bench.attacks.search import Answer, Samples, State
from bench.core.specs import AttackSpec

FIRST_RADIUS = 1.0
GAMMA = 0.05
FIRST_STEP, LAST_STEP = 1.0, 0.01  # α


@dataclass(frozen=True)
class DdnState(State):
    radius: Tensor  # (B,), ε_k
    asked: Tensor  # (B,), int64, points that were asked about


@dataclass(frozen=True, kw_only=True)
class Ddn:
    """The search; see :class:`bench.attacks.search.Search`. A negative ``eps`` lets every walk go to its end."""

    eps: float
    steps: int = 100
    attempts: int = 1

    def start(self, samples: Samples, attempt: Tensor) -> DdnState:
        over = torch.zeros_like(samples.labels, dtype=torch.bool)
        radius = samples.inputs.new_full((len(samples),), FIRST_RADIUS)
        return DdnState(samples, samples.inputs, over, radius, torch.zeros_like(attempt))

    def loss(self, state: DdnState, logits: Tensor) -> Tensor:
        return cross_entropy_gap(logits, state.samples.labels)

    def needs_gradient(self, state: DdnState) -> Tensor:
        return torch.ones_like(state.over)

    def breaks(self, state: DdnState, logits: Tensor) -> Tensor:
        return broken_within(state, logits, "l2", self.eps)

    def advance(self, state: DdnState, answer: Answer) -> DdnState:
        image = state.samples.inputs
        adversarial = answer.logits.argmax(1) != state.samples.labels
        radius = state.radius * torch.where(adversarial, 1 - GAMMA, 1 + GAMMA).to(image)
        radius = torch.minimum(radius, farthest(image, "l2"))
        alpha = annealed(FIRST_STEP, LAST_STEP, state.asked, self.steps).to(image)
        delta = state.points - image + alpha.view(-1, 1, 1, 1) * _direction(state, answer.gradient)
        scale = radius / length(delta, "l2").clamp_min(torch.finfo(delta.dtype).tiny)
        points = (image + delta * scale.view(-1, 1, 1, 1)).clamp(0, 1)
        return replace(state, points=points, radius=radius, asked=state.asked + 1, over=state.asked >= self.steps)


def _direction(state: DdnState, gradient: Tensor) -> Tensor:
    """∇/‖∇‖₂, or a direction drawn for this sample and step."""
    direction = steepest(gradient, "l2")
    lost = ~(direction.flatten(1).isfinite().all(1) & direction.flatten(1).any(1))
    if not lost.any():
        return direction
    keys = derive(state.samples.keys[lost], "ddn", state.asked[lost])
    drawn = bulk_normal(keys, tuple(gradient.shape[1:])).to(gradient)
    return direction.masked_scatter(lost.view(-1, 1, 1, 1), steepest(drawn, "l2"))


def ddn(model: nn.Module, inputs: Tensor, labels: Tensor, *, spec: AttackSpec, rng: SampleRng) -> Tensor | Attacked:
    """At most ``params["steps"]`` steps, to the first adversarial image within ``spec.eps``.

    Shapes as in :class:`bench.attacks.registry.Attack`.
    """
    return hunt_from(Ddn(eps=spec.eps, steps=int(spec.params["steps"])), model, inputs, labels, spec=spec, rng=rng)
