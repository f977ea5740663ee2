"""Probability margin attack: gradient steps on differences of softmax probabilities, from two kinds of start.

The method is that of Xie et al. 2025 (arXiv 2411.15210) for linf. With p = softmax(z/u) and o the best other class, 100
steps x ← Π(x + η·sign ∇L) follow three losses:

    first step           z_y − max_{j≠y} z_j, which moves the image away from the decision boundary, as the start
    first half           p_o in the first run, −p_y in the second run
    second half          p_o − p_y

Each half begins with the step η = 2ε, which decreases to 0 along a cosine. Differences from the paper: the logits are
divided by u, half their standard deviation over the classes at each point, so that z → c·z + b does not change the
path, and the softmax of a confident network does not saturate; the first step ascends the margin, not z_y alone; the
first half has one step more than the second one; l2 and l1 balls have their own projections and
directions; the search ends at the first adversarial point. The attack draws no random numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.attacks.engine.attack_call import DEFAULT_BATCH, Ids, attack_call
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.query_budget import QueryBudget
from bench.attacks.engine.search import QueryResult, Samples, State
from bench.attacks.ensemble import PMA_RUNS, PMA_STEPS
from bench.attacks.geometry.l1_ball import steepest_in_box
from bench.attacks.geometry.norms import projection, steepest
from bench.core.specs import Norm

FIRST_STEP = 2.0  # η/ε at the start of each half
UNIT = 0.5  # u, in standard deviations of the logits over the classes


@dataclass(frozen=True)
class MarginState(State):
    """State of the search for a batch of samples."""

    run: Tensor  # (B,), int64, 0 or 1
    n_queries: Tensor  # (B,), int64, number of points queried so far


@dataclass(frozen=True, kw_only=True)
class ProbabilityMargin:
    """Search of the attack, one attempt per run; see :class:`bench.attacks.engine.search.Search`."""

    norm: Norm
    eps: float
    steps: int = PMA_STEPS
    attempts: int = PMA_RUNS

    def start(self, samples: Samples, attempt: Tensor) -> MarginState:
        """Return the first states, at the images."""
        over = torch.zeros_like(samples.labels, dtype=torch.bool)
        return MarginState(samples, samples.inputs, over, attempt, torch.zeros_like(attempt))

    def loss(self, state: MarginState, logits: Tensor) -> Tensor:
        """Return the loss of the current part of the search, (B,)."""
        labels = state.samples.labels[:, None]
        own, others = logits.gather(1, labels).squeeze(1), logits.scatter(1, labels, -torch.inf).max(1).values
        probability = torch.softmax(logits / (UNIT * _spread(logits)), dim=1)
        p_own = probability.gather(1, labels).squeeze(1)
        p_other = probability.scatter(1, labels, 0).max(1).values
        half = torch.where(state.run == 0, p_other, -p_own)
        loss = torch.where(state.n_queries <= self.steps // 2, half, p_other - p_own)
        return torch.where(state.n_queries == 0, own - others, loss)

    def needs_gradient(self, state: MarginState) -> Tensor:
        """Mark the samples that step from this point, (B,) bool: all but those at their last point."""
        return state.n_queries < self.steps

    def is_adversarial(self, state: MarginState, logits: Tensor) -> Tensor:
        """Mark misclassified points, (B,) bool. All points lie in the ball."""
        return state.samples.fooled(logits)

    def advance(self, state: MarginState, result: QueryResult) -> MarginState:
        """Return the states after the query, with the next points."""
        size = self.eps * _cosine(state.n_queries, self.steps).to(result.gradient)
        if self.norm == "l1":
            step = steepest_in_box(state.points, result.gradient, size)
        else:
            step = size.view(-1, 1, 1, 1) * steepest(result.gradient, self.norm)
        return replace(
            state,
            points=projection(state.samples.inputs, self.norm, self.eps)(state.points + step),
            n_queries=state.n_queries + 1,
            over=state.n_queries >= self.steps,
        )


def _spread(logits: Tensor) -> Tensor:
    """Return the standard deviation of the logits over the classes, (B, 1), as a constant of the gradient."""
    return logits.detach().std(dim=1, unbiased=False, keepdim=True).clamp_min(torch.finfo(logits.dtype).tiny)


def _cosine(n_queries: Tensor, steps: int) -> Tensor:
    """Return η/ε after ``n_queries`` steps: two decays from FIRST_STEP to 0, one for each half of the steps."""
    half = max(math.ceil(steps / 2), 1)
    return FIRST_STEP * 0.5 * (1 + torch.cos(math.pi * (n_queries % half).double() / half))


def pma(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    eps: float = 8 / 255,
    steps: int = PMA_STEPS,
    rng: int | SampleRng = 0,
    ids: Ids | None = None,
    batch_size: int = DEFAULT_BATCH,
    query_budget: QueryBudget | None = None,
) -> Tensor:
    """Attack by the probability margin (Xie et al. 2025, arXiv 2411.15210), on logits of unit scale.

    Args:
        model: Maps images to logits (N, K). Its mode and weights are not changed.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), integers in 0…K−1.
        norm: "linf" as published, "l2" or "l1".
        eps: Radius of the ball, in units of [0, 1] pixels.
        steps: Steps of each of the two runs. The second run attacks only the remaining images.
        rng: Unused. The attack is deterministic.
        ids: Unused.
        batch_size: Images per batch. Does not change the result.
        query_budget: Maximum number of forward passes per image.

    Returns:
        Images (N, C, H, W) in the ball and in [0, 1]. The clean image if no adversarial image was found.

    Raises:
        BenchError: If an argument is invalid.

    For a linear model the distance to the decision boundary is margin/‖w‖₁:

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0]]))
    >>> x = torch.full((1, 3, 1, 1), 0.5)  # logits (0, 1), ‖w‖₁ = 4
    >>> [int(model(pma(model, x, torch.tensor([1]), eps=eps)).argmax()) for eps in (0.24, 0.26)]
    [1, 0]
    """
    with attack_call(
        "pma", model, inputs, labels, norm=norm, eps=eps, rng=rng, ids=ids, batch_size=batch_size,
        query_budget=query_budget, counts={"steps": steps},
    ) as call:  # fmt: skip
        return call.run(ProbabilityMargin(norm=norm, eps=eps, steps=steps))
