"""Decoupled direction and norm (DDN), Rony et al. 2019 (arXiv 1811.09600, algorithm 1): smallest L2 perturbation.

The gradient gives the direction of the perturbation, and a separate rule gives its length. From δ_0 = 0 and ε_0 = 1,

    δ ← δ + α·∇L/‖∇L‖₂,   ε ← (1 − γ)·ε if x + δ was adversarial, (1 + γ)·ε if not,   δ ← Π(x + ε·δ/‖δ‖₂) − x,

with γ = 0.05 and Π the clip to the box [0, 1]. α is annealed from 1 to 0.01 along half a cosine. If the gradient is
zero or not finite, a random direction replaces it. :mod:`bench.attacks.engine.minimal_norm` explains the use of a
budget.

Differences from the published attack: pixels are not rounded to 256 values, and the random direction depends on the
sample only. An image costs at most 1 + ``steps`` forward and as many backward passes. They include a query of the last
point, which the published loop leaves out.

The tests compare with foolbox's DDNAttack, which runs the whole batch for all steps and draws from the global
generator. Here, an image leaves the batch at its first success, and its path does not depend on the other images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.attacks.engine.attack_call import DEFAULT_BATCH, Ids, attack_call
from bench.attacks.engine.counter_rng import SampleRng, bulk_normal, derive
from bench.attacks.engine.minimal_norm import adversarial_within, annealed, farthest
from bench.attacks.engine.query_budget import QueryBudget
from bench.attacks.engine.search import QueryResult, Samples, State
from bench.attacks.geometry.norms import length, steepest
from bench.attacks.objectives import log_odds
from bench.core.specs import Norm

FIRST_RADIUS = 1.0
GAMMA = 0.05
FIRST_STEP, LAST_STEP = 1.0, 0.01  # α


@dataclass(frozen=True)
class DdnState(State):
    """State of DDN for a batch of samples."""

    radius: Tensor  # (B,), ε_k
    n_queries: Tensor  # (B,), int64, number of points queried so far


@dataclass(frozen=True, kw_only=True)
class Ddn:
    """Search of DDN; see :class:`bench.attacks.engine.search.Search`. Stops at an adversarial point within ``eps``."""

    eps: float
    steps: int = 100
    attempts: int = 1
    targeted: bool = False

    def start(self, samples: Samples, attempt: Tensor) -> DdnState:
        """Return the first states, at the clean images and with the radius 1. All attempts are equal."""
        over = torch.zeros_like(samples.labels, dtype=torch.bool)
        radius = samples.inputs.new_full((len(samples),), FIRST_RADIUS)
        return DdnState(samples, samples.inputs, over, radius, torch.zeros_like(attempt))

    def loss(self, state: DdnState, logits: Tensor) -> Tensor:
        """Return the log-odds of a misclassification or, if ``targeted``, of the target class: (B,)."""
        if self.targeted:
            return -log_odds(logits, state.samples.targets)
        return log_odds(logits, state.samples.labels)

    def needs_gradient(self, state: DdnState) -> Tensor:
        """Mark all samples, (B,) bool: every step uses a gradient."""
        return torch.ones_like(state.over)

    def is_adversarial(self, state: DdnState, logits: Tensor) -> Tensor:
        """Mark the points that are adversarial and at most ``eps`` away, (B,) bool."""
        return adversarial_within(state, logits, "l2", self.eps, targeted=self.targeted)

    def advance(self, state: DdnState, result: QueryResult) -> DdnState:
        """Return the states after the query, with the adapted radius and the next point at this length."""
        image = state.samples.inputs
        adversarial = state.samples.fooled(result.logits, targeted=self.targeted)
        radius = state.radius * torch.where(adversarial, 1 - GAMMA, 1 + GAMMA).to(image)
        radius = torch.minimum(radius, farthest(image, "l2"))
        alpha = annealed(FIRST_STEP, LAST_STEP, state.n_queries, self.steps).to(image)
        delta = state.points - image + alpha.view(-1, 1, 1, 1) * _direction(state, result.gradient)
        scale = radius / length(delta, "l2").clamp_min(torch.finfo(delta.dtype).tiny)
        points = (image + delta * scale.view(-1, 1, 1, 1)).clamp(0, 1)
        over = state.n_queries >= self.steps
        return replace(state, points=points, radius=radius, n_queries=state.n_queries + 1, over=over)


def _direction(state: DdnState, gradient: Tensor) -> Tensor:
    """Return ∇/‖∇‖₂, (B, C, H, W), or a direction drawn for the sample and step if ∇ is zero or not finite."""
    direction = steepest(gradient, "l2")
    undefined = ~(direction.flatten(1).isfinite().all(1) & direction.flatten(1).any(1))
    if not undefined.any():
        return direction
    keys = derive(state.samples.keys[undefined], "ddn", state.n_queries[undefined])
    drawn = bulk_normal(keys, tuple(gradient.shape[1:])).to(gradient)
    return direction.masked_scatter(undefined.view(-1, 1, 1, 1), steepest(drawn, "l2"))


def ddn(
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
    """Find the nearest adversarial images in L2 by DDN (Rony et al. 2019, arXiv 1811.09600).

    The direction follows the gradient. The length shrinks by 5 % after an adversarial point and grows by 5 % after any
    other point.

    Args:
        model: Maps images to logits (N, K). Its mode and weights are not changed.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), integers in 0…K−1.
        norm: "l2".
        eps: Length at which the search may stop, in units of [0, 1] pixels. None runs all steps, to find the
            smallest length.
        steps: Steps of the search.
        targets: Classes (N,) that the model must predict, for the targeted attack.
        rng: Seed of the directions that replace a missing gradient, or a SampleRng.
        ids: Names of the images, on which these directions depend; 0…N−1 by default.
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
    >>> round(float((ddn(model, x, torch.tensor([1])) - x).norm()), 1)
    0.4
    """
    with attack_call(
        "ddn", model, inputs, labels, norm=norm, norms=("l2",), eps=eps, targets=targets, rng=rng, ids=ids,
        batch_size=batch_size, query_budget=query_budget, counts={"steps": steps},
    ) as call:  # fmt: skip
        search = Ddn(eps=float("inf") if eps is None else eps, steps=steps, targeted=call.targeted)
        return call.run_to_nearest(search) if eps is None else call.run(search)
