"""Projected gradient descent, Madry et al. 2018 (arXiv 1706.06083), and MI-FGSM, its variant with momentum.

x_{t+1} = Π(x_t + α·sign ∇L(x_t)), Π the projection onto the ball around x and onto [0, 1], x_0 uniform in the ball, L
the cross-entropy or the margin of Carlini and Wagner 2017 (arXiv 1608.04644). For l2, ∇/‖∇‖₂ replaces the sign.

For l1, a step of a given length maximises the linearised loss inside the box: the steepest pixels move to the bounds 0
or 1, one after the other (Croce and Hein 2021, arXiv 2103.01208). The alternative is equal steps of a fixed share of
the pixels (Tramèr and Boneh 2019, arXiv 1904.13000). With the best share, it finds adversarial images for as many
digits, and with the usual share of 1 % for far fewer. Π is exact for l1.

MI-FGSM, Dong et al. 2018 (arXiv 1710.06081), starts at x and follows an accumulated gradient with α = ε/T:

    g_{t+1} = μ·g_t + ∇L(x_t)/‖∇L(x_t)‖₁,   x_{t+1} = Π(x_t + α·sign g_{t+1}),   with g/‖g‖₂ for l2.

The search ends at the first x_t that is misclassified. The published attacks use the last x_t only, which may be
classified correctly again. For the cross-entropy, the attack uses the gradient of the log-odds of a misclassification.
This gradient has the direction of the gradient of the cross-entropy, but does not vanish for confident predictions.

The reference backend is PGD of foolbox, which runs all images for all steps. It has no MI-FGSM and no PGD for l1,
because foolbox's versions are other attacks. Its momentum adds gradients without dividing them by ‖∇‖₁, so that the
steepest point of the path outweighs all other points. Its PGD for L1 uses the fixed share of the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.attacks.engine.attack_call import DEFAULT_BATCH, Ids, attack_call
from bench.attacks.engine.counter_rng import SampleRng, derive
from bench.attacks.engine.query_budget import QueryBudget
from bench.attacks.engine.search import QueryResult, Samples, State
from bench.attacks.geometry.l1_ball import steepest_in_box
from bench.attacks.geometry.norms import project, sample_ball, steepest, unit_l1
from bench.attacks.objectives import Objective, objective, targeted_objective
from bench.core.errors import BenchError
from bench.core.specs import Norm


def step_size(eps: float, steps: int) -> float:
    """Return α = 2.5·ε/steps, as in the code of Madry et al., which suffices to cross the ball and to converge.

    A single step has the length ε.
    """
    return min(eps, 2.5 * eps / steps)


OBJECTIVES = ("ce", "margin", "plain-ce")


@dataclass(frozen=True)
class PgdState(State):
    """State of PGD for a batch of samples."""

    n_queries: Tensor  # (B,), int64, number of points queried so far, the start included
    accumulated: Tensor  # (B, C, H, W), g; 0 without momentum


@dataclass(frozen=True, kw_only=True)
class Pgd:
    """Search of PGD and MI-FGSM: ``steps`` steps per attempt; see :class:`bench.attacks.engine.search.Search`.

    ``step`` is α, 2.5·ε/steps by default.
    """

    norm: Norm
    eps: float
    steps: int
    attempts: int = 1
    loss_name: Objective = "ce"
    step: float | None = None
    momentum: float = 0.0  # μ; if it is 0, each step follows only the current gradient
    random_start: bool = True
    targeted: bool = False

    def start(self, samples: Samples, attempt: Tensor) -> PgdState:
        """Return the first states, at a uniform draw from the ball, or at the image without ``random_start``."""
        points, zeros = samples.inputs, torch.zeros_like(samples.inputs)
        if self.random_start:
            noise = sample_ball(start_keys(samples.keys, attempt), tuple(points.shape[1:]), self.norm, self.eps)
            points = project(points + noise.to(points), points, self.norm, self.eps)
        over = torch.zeros_like(samples.labels, dtype=torch.bool)
        return PgdState(samples, points, over, torch.zeros_like(attempt), zeros)

    def loss(self, state: PgdState, logits: Tensor) -> Tensor:
        """Return the objective, (B,)."""
        if self.targeted:
            return targeted_objective(self.loss_name, logits, state.samples.labels, state.samples.targets)
        return objective(self.loss_name, logits, state.samples.labels)

    def needs_gradient(self, state: PgdState) -> Tensor:
        """Mark all samples, (B,) bool: every step uses a gradient."""
        return torch.ones_like(state.over)

    def is_adversarial(self, state: PgdState, logits: Tensor) -> Tensor:
        """Mark adversarial points, (B,) bool. All points lie in the ball."""
        return state.samples.fooled(logits, targeted=self.targeted)

    def advance(self, state: PgdState, result: QueryResult) -> PgdState:
        """Return the states after the query, with the next points."""
        accumulated, direction = state.accumulated, result.gradient
        if self.momentum:
            accumulated = direction = self.momentum * accumulated + unit_l1(result.gradient)
        moved = state.points + self._step(state.points, direction)
        return replace(
            state,
            points=project(moved, state.samples.inputs, self.norm, self.eps),
            n_queries=state.n_queries + 1,
            over=state.n_queries >= self.steps,
            accumulated=accumulated,
        )

    def _step(self, points: Tensor, direction: Tensor) -> Tensor:
        size = step_size(self.eps, self.steps) if self.step is None else self.step
        if self.norm == "l1":
            return steepest_in_box(points, direction, size)
        return size * steepest(direction, self.norm)


def start_keys(keys: Tensor, attempt: Tensor | int) -> Tensor:
    """Return the keys of the starting points, (B,) int64, so that another implementation can use the same starts."""
    return derive(keys, "pgd", attempt)


def pgd(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    eps: float = 8 / 255,
    steps: int = 20,
    restarts: int = 1,
    objective: Objective = "ce",
    targets: Tensor | None = None,
    rng: int | SampleRng = 0,
    ids: Ids | None = None,
    batch_size: int = DEFAULT_BATCH,
    query_budget: QueryBudget | None = None,
) -> Tensor:
    """Attack by projected gradient descent (Madry et al. 2018, arXiv 1706.06083).

    x_{t+1} = Π(x_t + α·sign ∇L(x_t)) from a uniform draw in the ball, α = 2.5·ε/steps. For l2 with ∇/‖∇‖₂. The search
    of an image ends at its first adversarial point.

    Args:
        model: Maps images to logits (N, K). Its mode and weights are not changed.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), integers in 0…K−1.
        norm: "linf", "l2" or "l1".
        eps: Radius of the ball, in units of [0, 1] pixels.
        steps: Steps per start.
        restarts: Number of starts. Later starts attack only the remaining images.
        objective: "ce", "margin", or "plain-ce", which saturates at large logits.
        targets: Classes (N,) that the model must predict, for the targeted attack.
        rng: Seed of the starts, or a SampleRng.
        ids: Names of the images, on which the random starts depend; 0…N−1 by default.
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
    >>> [int(model(pgd(model, x, torch.tensor([1]), eps=eps)).argmax()) for eps in (0.24, 0.26)]
    [1, 0]
    """
    if objective not in OBJECTIVES:
        raise BenchError(f"pgd has no objective {objective!r}; it has {', '.join(OBJECTIVES)}.")
    with attack_call(
        "pgd", model, inputs, labels, norm=norm, eps=eps, targets=targets, rng=rng, ids=ids, batch_size=batch_size,
        query_budget=query_budget, counts={"steps": steps, "restarts": restarts},
    ) as call:  # fmt: skip
        search = Pgd(norm=norm, eps=eps, steps=steps, attempts=restarts, loss_name=objective, targeted=call.targeted)
        return call.run(search)


def mim(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    eps: float = 8 / 255,
    steps: int = 10,
    momentum: float = 1.0,
    targets: Tensor | None = None,
    rng: int | SampleRng = 0,
    ids: Ids | None = None,
    batch_size: int = DEFAULT_BATCH,
    query_budget: QueryBudget | None = None,
) -> Tensor:
    """Attack by MI-FGSM (Dong et al. 2018, arXiv 1710.06081): steps of ε/steps along accumulated gradients.

    g_{t+1} = μ·g_t + ∇L(x_t)/‖∇L(x_t)‖₁, x_{t+1} = Π(x_t + α·sign g_{t+1}), from the image itself. Deterministic.

    Args:
        model: Maps images to logits (N, K). Its mode and weights are not changed.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), integers in 0…K−1.
        norm: "linf", "l2" or "l1".
        eps: Radius of the ball, in units of [0, 1] pixels.
        steps: Number of steps.
        momentum: μ, the factor of the accumulated gradient in each step; 0 or more.
        targets: Classes (N,) that the model must predict, for the targeted attack.
        rng: Unused. The attack is deterministic.
        ids: Unused.
        batch_size: Images per batch. Does not change the result.
        query_budget: Maximum number of forward passes per image.

    Returns:
        Images (N, C, H, W) in the ball and in [0, 1]. The clean image if no adversarial image was found.

    Raises:
        BenchError: If an argument is invalid.
    """
    if not momentum >= 0:
        raise BenchError(f"mim: momentum is {momentum!r}; it must be 0 or more.")
    with attack_call(
        "mim", model, inputs, labels, norm=norm, eps=eps, targets=targets, rng=rng, ids=ids, batch_size=batch_size,
        query_budget=query_budget, counts={"steps": steps},
    ) as call:  # fmt: skip
        search = Pgd(
            norm=norm, eps=eps, steps=steps, step=eps / steps, momentum=momentum, random_start=False,
            targeted=call.targeted,
        )  # fmt: skip
        return call.run(search)
