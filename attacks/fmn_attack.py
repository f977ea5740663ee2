"""Fast minimum norm, Pintor et al. 2021 (arXiv 2102.12827, algorithm 1): the smallest perturbation in a norm.

With L = max_{j≠y} z_j − z_y the margin and q the dual of the norm p, from δ_0 = 0,

    ε ← min((1 − γ)·ε, ‖δ*‖_p)         if x + δ was adversarial, δ* the smallest that was,
        (1 + γ)·ε                      if it was not, but an earlier one was,
        ‖δ‖_p + |L|/‖∇L‖_q             before the first: where the tangent plane crosses 0,
    δ ← Π(x + P_ε(δ + α·∇L/‖∇L‖₂)) − x,   P_ε the projection on the ball, Π the clip to the box,

with α falling from 1 to 0.01 and γ from 0.05 to 0.001 along half a cosine, and ε never beyond the box. Nothing is
random. On the role of a budget see :mod:`bench.attacks.engine.minimal_norm`. Where there is no gradient and the point
is not adversarial, it would not move again, and the walk ends. An image costs at most 1 + ``steps`` passes in each
direction, the last point included, which the published loop never queries.

Departures, for L2 above all: where a pixel is at a wall and ∇L leads out of the box, it counts as 0. The published rule
knows of no walls: its plane seems too near, and where many pixels are black the walk hovers short of the boundary until
its last steps. And before the first adversarial point ε is longer by a thousandth, since a walk that ends on the plane
itself is adversarial or not as rounding has it. On digits, without both 36 of 40 images are not broken at any length;
with the second alone nearly all are, in the last steps; with both all are, in little more than half the passes.

Foolbox's FMN attacks are what the tests compare with. They walk a whole batch to the end; and their projection for L2
(foolbox 3.3.4) multiplies δ by min(1, ‖δ‖/‖δ‖), which is no projection: it finds larger perturbations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.attacks.engine.attack_call import DEFAULT_BATCH, Ids, attack_call
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.minimal_norm import adversarial_within, annealed, farthest
from bench.attacks.engine.query_budget import QueryBudget
from bench.attacks.engine.search import QueryResult, Samples, State
from bench.attacks.geometry.norms import dual_length, inwards, length, shrunk, steepest
from bench.attacks.objectives import margin
from bench.core.specs import Norm

FIRST_STEP, LAST_STEP = 1.0, 0.01  # α
FIRST_GAMMA, LAST_GAMMA = 0.05, 0.001


@dataclass(frozen=True)
class FmnState(State):
    radius: Tensor  # (B,), ε
    smallest: Tensor  # (B,), ‖δ*‖; infinite before the first adversarial point
    n_queries: Tensor  # (B,), int64, points that were queried


@dataclass(frozen=True, kw_only=True)
class Fmn:
    """The search; see :class:`bench.attacks.engine.search.Search`. It may stop at a point within ``eps``."""

    norm: Norm
    eps: float
    steps: int = 100
    overshoot: float = 0.001  # beyond the tangent plane, as a share of ε
    attempts: int = 1
    targeted: bool = False

    def start(self, samples: Samples, attempt: Tensor) -> FmnState:
        over = torch.zeros_like(samples.labels, dtype=torch.bool)
        infinite = samples.inputs.new_full((len(samples),), torch.inf)
        return FmnState(samples, samples.inputs, over, infinite, infinite, torch.zeros_like(attempt))

    def loss(self, state: FmnState, logits: Tensor) -> Tensor:
        if self.targeted:
            return -margin(logits, state.samples.targets)
        return margin(logits, state.samples.labels)

    def needs_gradient(self, state: FmnState) -> Tensor:
        return torch.ones_like(state.over)

    def is_adversarial(self, state: FmnState, logits: Tensor) -> Tensor:
        return adversarial_within(state, logits, self.norm, self.eps, targeted=self.targeted)

    def advance(self, state: FmnState, answer: QueryResult) -> FmnState:
        image, gradient = state.samples.inputs, inwards(state.points, answer.gradient)
        adversarial = state.samples.fooled(answer.logits, targeted=self.targeted)
        smallest = torch.where(adversarial, torch.minimum(state.smallest, self._length(state)), state.smallest)
        slope = dual_length(gradient, self.norm)
        radius = self._radius(state, answer.loss.abs() / slope, adversarial, smallest)
        sloping = slope.isfinite() & (slope > 0)
        step = torch.where(sloping.view(-1, 1, 1, 1), steepest(gradient, "l2"), 0)
        alpha = annealed(FIRST_STEP, LAST_STEP, state.n_queries, self.steps).to(image)
        delta = shrunk(state.points - image + alpha.view(-1, 1, 1, 1) * step, self.norm, radius)
        return replace(
            state,
            points=(image + delta).clamp(0, 1),
            over=(state.n_queries >= self.steps) | ~(sloping | adversarial),
            radius=radius,
            smallest=smallest,
            n_queries=state.n_queries + 1,
        )

    def _radius(self, state: FmnState, away: Tensor, adversarial: Tensor, smallest: Tensor) -> Tensor:
        """The next ε; ``away``, (B,), is the distance of the tangent plane."""
        gamma = annealed(FIRST_GAMMA, LAST_GAMMA, state.n_queries, self.steps).to(state.radius)
        plane = (self._length(state) + away) * (1 + self.overshoot)
        onwards = torch.where(smallest.isfinite(), state.radius * (1 + gamma), plane)
        back = torch.minimum(state.radius * (1 - gamma), smallest)
        # No plane, no bound: the whole box. NaN would not be less than it.
        radius = torch.where(adversarial, back, onwards).nan_to_num(nan=torch.inf)
        return torch.minimum(radius, farthest(state.samples.inputs, self.norm))

    def _length(self, state: FmnState) -> Tensor:
        return length(state.points - state.samples.inputs, self.norm)


def fmn(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    eps: float | None = None,
    steps: int = 100,
    targets: Tensor | None = None,
    rng: int | SampleRng = 0,
    ids: Ids | None = None,
    batch_size: int = DEFAULT_BATCH,
    query_budget: QueryBudget | None = None,
) -> Tensor:
    """Find the nearest adversarial images by FMN (Pintor et al. 2021, arXiv 2102.12827). Deterministic.

    Gradient steps in a ball whose radius shrinks where the point is adversarial and grows where it is not; before the
    first adversarial point it reaches to the tangent plane of the boundary.

    Args:
        model: Maps images to logits (N, K). Its mode and its weights stay as they are.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), whole numbers in 0…K−1.
        norm: "linf", "l2" or "l1".
        eps: Length at which the search may stop, in units of [0, 1] pixels; None searches for the nearest to the end.
        steps: Steps of the search.
        targets: Classes (N,) that the model shall predict, for the targeted form.
        rng: Unused, as are ``ids``: nothing is random.
        ids: See ``rng``.
        batch_size: Images per batch; it does not change the result.
        query_budget: Bound on the forward passes per image; needs ``eps``.

    Returns:
        Images (N, C, H, W) in [0, 1], at most ``eps`` away if it is given; the clean image where none was found.

    Raises:
        BenchError: If an argument does not fit.

    A linear model has its boundary at the distance margin/‖w‖₂:

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0]]))
    >>> x = torch.full((1, 3, 1, 1), 0.5)  # logits (0, 1), ‖w‖₂ = √6
    >>> round(float((fmn(model, x, torch.tensor([1])) - x).norm()), 2)
    0.41
    """
    with attack_call(
        "fmn", model, inputs, labels, norm=norm, eps=eps, targets=targets, rng=rng, ids=ids, batch_size=batch_size,
        query_budget=query_budget, counts={"steps": steps},
    ) as call:  # fmt: skip
        search = Fmn(norm=norm, eps=float("inf") if eps is None else eps, steps=steps, targeted=call.targeted)
        return call.run_to_nearest(search) if eps is None else call.run(search)
