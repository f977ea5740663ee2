"""Fast minimum norm (FMN), Pintor et al. 2021 (arXiv 2102.12827, algorithm 1): the smallest perturbation in a norm.

Let L = max_{j≠y} z_j − z_y be the margin and q the dual of the norm p. From δ_0 = 0,

    ε ← min((1 − γ)·ε, ‖δ*‖_p)         if x + δ was adversarial, δ* the smallest adversarial perturbation so far,
        (1 + γ)·ε                      if it was not, but an earlier point was,
        ‖δ‖_p + |L|/‖∇L‖_q             before the first adversarial point: the distance to the tangent plane L = 0,
    δ ← Π(x + P_ε(δ + α·∇L/‖∇L‖₂)) − x,   P_ε the projection onto the ball, Π the clip to the box.

α is annealed from 1 to 0.01 and γ from 0.05 to 0.001 along half a cosine. ε never exceeds the distance to the farthest
image of the box. The attack is deterministic. :mod:`bench.attacks.engine.minimal_norm` explains the use of a budget.
The search ends at a point that has no gradient and is not adversarial, because it would not move again. An image costs
at most 1 + ``steps`` forward and as many backward passes. They include a query of the last point, which the published
loop leaves out.

Two rules differ from the published rules, mainly for L2. First, ∇L is set to 0 for a pixel at a bound of the box if it
points out of the box. The published rule ignores the box, so that the estimated distance to the plane is too small. If
many pixels are black, the search then stays just inside the boundary until its last steps. Second, before the first
adversarial point, ε is longer by 0.1 %. Otherwise, rounding decides whether a point on the plane is adversarial. On
digits, without both rules, no adversarial image of any length is found for 36 of 40 images. With the second rule alone,
an adversarial image is found for nearly all images, in the last steps. With both rules, one is found for all images, in
little more than half the passes.

The tests compare with the FMN attacks of foolbox, which run a whole batch for all steps. Their projection for L2
(foolbox 3.3.4) multiplies δ by min(1, ‖δ‖/‖δ‖), which is not a projection, and finds larger perturbations.
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
    """State of FMN for a batch of samples."""

    radius: Tensor  # (B,), ε
    smallest: Tensor  # (B,), ‖δ*‖; infinite before the first adversarial point
    n_queries: Tensor  # (B,), int64, number of points queried so far


@dataclass(frozen=True, kw_only=True)
class Fmn:
    """Search of FMN; see :class:`bench.attacks.engine.search.Search`. Stops at an adversarial point within ``eps``."""

    norm: Norm
    eps: float
    steps: int = 100
    overshoot: float = 0.001  # length beyond the tangent plane, as a share of ε
    attempts: int = 1
    targeted: bool = False

    def start(self, samples: Samples, attempt: Tensor) -> FmnState:
        """Return the first states, at the clean images. All attempts are equal."""
        over = torch.zeros_like(samples.labels, dtype=torch.bool)
        infinite = samples.inputs.new_full((len(samples),), torch.inf)
        return FmnState(samples, samples.inputs, over, infinite, infinite, torch.zeros_like(attempt))

    def loss(self, state: FmnState, logits: Tensor) -> Tensor:
        """Return the margin of the label or, if ``targeted``, of the target class: (B,), positive if adversarial."""
        if self.targeted:
            return -margin(logits, state.samples.targets)
        return margin(logits, state.samples.labels)

    def needs_gradient(self, state: FmnState) -> Tensor:
        """Mark all samples, (B,) bool: every step uses a gradient."""
        return torch.ones_like(state.over)

    def is_adversarial(self, state: FmnState, logits: Tensor) -> Tensor:
        """Mark the points that are adversarial and at most ``eps`` away, (B,) bool."""
        return adversarial_within(state, logits, self.norm, self.eps, targeted=self.targeted)

    def advance(self, state: FmnState, result: QueryResult) -> FmnState:
        """Return the states after the query, with the adapted radius and the next point in the ball."""
        image, gradient = state.samples.inputs, inwards(state.points, result.gradient)
        adversarial = state.samples.fooled(result.logits, targeted=self.targeted)
        smallest = torch.where(adversarial, torch.minimum(state.smallest, self._length(state)), state.smallest)
        slope = dual_length(gradient, self.norm)
        radius = self._radius(state, result.loss.abs() / slope, adversarial, smallest)
        has_slope = slope.isfinite() & (slope > 0)
        step = torch.where(has_slope.view(-1, 1, 1, 1), steepest(gradient, "l2"), 0)
        alpha = annealed(FIRST_STEP, LAST_STEP, state.n_queries, self.steps).to(image)
        delta = shrunk(state.points - image + alpha.view(-1, 1, 1, 1) * step, self.norm, radius)
        return replace(
            state,
            points=(image + delta).clamp(0, 1),
            over=(state.n_queries >= self.steps) | ~(has_slope | adversarial),
            radius=radius,
            smallest=smallest,
            n_queries=state.n_queries + 1,
        )

    def _radius(self, state: FmnState, distance: Tensor, adversarial: Tensor, smallest: Tensor) -> Tensor:
        """Return the next ε, (B,); ``distance``, (B,), is the distance to the tangent plane."""
        gamma = annealed(FIRST_GAMMA, LAST_GAMMA, state.n_queries, self.steps).to(state.radius)
        plane = (self._length(state) + distance) * (1 + self.overshoot)
        longer = torch.where(smallest.isfinite(), state.radius * (1 + gamma), plane)
        back = torch.minimum(state.radius * (1 - gamma), smallest)
        # Without a tangent plane the distance is NaN, and the radius is bounded by the box alone.
        radius = torch.where(adversarial, back, longer).nan_to_num(nan=torch.inf)
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

    Makes gradient steps in a ball with a radius that shrinks after an adversarial point and grows after any other
    point. Before the first adversarial point, the radius is the distance to the tangent plane of the boundary.

    Args:
        model: Maps images to logits (N, K). Its mode and weights are not changed.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), integers in 0…K−1.
        norm: "linf", "l2" or "l1".
        eps: Length at which the search may stop, in units of [0, 1] pixels. None runs all steps, to find the
            smallest length.
        steps: Steps of the search.
        targets: Classes (N,) that the model must predict, for the targeted attack.
        rng: Unused. The attack is deterministic.
        ids: Unused.
        batch_size: Images per batch. Does not change the result.
        query_budget: Maximum number of forward passes per image. Requires ``eps``.

    Returns:
        Images (N, C, H, W) in [0, 1], at most ``eps`` away if given. The clean image if no such image was found.

    Raises:
        BenchError: If an argument is invalid.

    For a linear model the distance to the decision boundary is margin/‖w‖₂:

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
