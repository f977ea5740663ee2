"""Auto-PGD, Croce and Hein 2020 (arXiv 2003.01690, algorithm 1): projected gradient ascent that adapts its step size.

    z       = Π(x_k + η·d(∇L(x_k)))
    x_{k+1} = Π(x_k + a·(z − x_k) + (1 − a)·(x_k − x_{k−1})),      a = 1 in the first step, 3/4 later,

with d the sign for linf and ∇/‖∇‖₂ for l2. The step size η is 2ε at first. The first checkpoint is after 22 % of the
steps. The interval between checkpoints shrinks by 3 % of the steps each time, down to 6 %. At a checkpoint, η is halved
and the search continues from the best point so far if

    the loss rose in at most 3/4 of the steps since the last checkpoint, or
    neither η nor the best loss has changed since then.

The search starts on the surface of the ball and ends at the first adversarial point of the path. An image without an
adversarial point costs 1 + ``steps`` forward and as many backward passes per attempt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from bench.attacks.apgd_l1 import ApgdL1
from bench.attacks.engine.attack_call import DEFAULT_BATCH, Ids, attack_call
from bench.attacks.engine.counter_rng import SampleRng, derive
from bench.attacks.engine.query_budget import QueryBudget
from bench.attacks.engine.search import QueryResult, Samples, Search, State, choose
from bench.attacks.ensemble import PUBLISHED_TARGETS, lacks_dlr, target_count
from bench.attacks.geometry.norms import projection, sample_sphere, steepest
from bench.attacks.objectives import Objective, objective, targeted_objective
from bench.core.errors import BenchError
from bench.core.specs import Norm

MOMENTUM = 0.25  # 1 − a
RISING = 0.75  # η is kept if the loss rises in more than this share of the steps
FIRST, SHORTER, SHORTEST = 0.22, 0.03, 0.06  # shares of the steps: first interval, its decrease, shortest interval
FIRST_STEP = 2.0  # η/ε


@dataclass(frozen=True)
class ApgdState(State):
    """State of Auto-PGD for a batch of samples. ``n_queries`` includes the query of the start."""

    targets: Tensor  # (B,), classes
    previous: Tensor  # (B, C, H, W), x_{k−1}
    best: Tensor  # (B, C, H, W), point of the largest loss
    best_gradient: Tensor  # (B, C, H, W)
    best_loss: Tensor  # (B,)
    last_loss: Tensor  # (B,)
    checked_loss: Tensor  # (B,), best loss at the last checkpoint
    halved: Tensor  # (B,), bool: η was halved at the last checkpoint
    step_size: Tensor  # (B,), η
    n_queries: Tensor  # (B,), int64
    window: Tensor  # (B,), int64, steps from the last checkpoint to the next one
    since: Tensor  # (B,), int64, steps since the last checkpoint
    rises: Tensor  # (B,), int64, number of steps since the last checkpoint in which the loss rose


@dataclass(frozen=True, kw_only=True)
class Apgd:
    """Search of Auto-PGD on one objective; see :class:`bench.attacks.engine.search.Search`.

    The targeted objectives use the classes that rank second, third, … for the clean image, one per attempt. A point is
    adversarial if the model predicts any class other than the label. If ``targeted``, all attempts use the target
    class, and a point is adversarial only if the model predicts the target class.
    """

    norm: Norm
    eps: float
    objective: Objective
    steps: int = 100
    attempts: int = 1
    targeted: bool = False

    def start(self, samples: Samples, attempt: Tensor) -> ApgdState:
        """Return the first states, at a random point on the surface of the ball for each sample and attempt."""
        inputs, count = samples.inputs, len(samples)
        keys = derive(samples.keys, f"apgd-{self.objective}", attempt)
        points = (inputs + sample_sphere(keys, tuple(inputs.shape[1:]), self.norm, self.eps).to(inputs)).clamp(0, 1)
        losses, counts = inputs.new_zeros(count), torch.zeros_like(samples.labels)
        rank = (attempt + 1).clamp_max(samples.ranking.shape[1] - 1)
        return ApgdState(
            samples=samples,
            points=points,
            over=torch.zeros_like(samples.labels, dtype=torch.bool),
            targets=samples.ranking.gather(1, rank[:, None]).squeeze(1),
            previous=points,
            best=points,
            best_gradient=torch.zeros_like(points),
            best_loss=torch.full_like(losses, -torch.inf),
            last_loss=torch.full_like(losses, self._loss_before),
            checked_loss=losses,
            halved=torch.ones_like(samples.labels, dtype=torch.bool),
            step_size=torch.full_like(losses, FIRST_STEP * self.eps),
            n_queries=counts,
            window=torch.full_like(counts, _share(FIRST, self.steps)),
            since=counts,
            rises=counts,
        )

    @property
    def _loss_before(self) -> float:
        """Reference loss for the first step: 0, as in the authors' program, or −∞ for the objective "ce".

        The cross-entropy of the authors is always positive, so that the loss always rises in the first step. The
        objective "ce" here is the log-odds of a misclassification, which may be negative. −∞ gives the same behaviour.
        """
        return -torch.inf if self.objective == "ce" else 0.0

    def loss(self, state: ApgdState, logits: Tensor) -> Tensor:
        """Return the objective, (B,)."""
        if self.targeted:
            return targeted_objective(self.objective, logits, state.samples.labels, state.targets)
        return objective(self.objective, logits, state.samples.labels, state.targets)

    def needs_gradient(self, state: ApgdState) -> Tensor:
        """Mark all samples, (B,) bool: every step uses a gradient."""
        return torch.ones_like(state.over)

    def is_adversarial(self, state: ApgdState, logits: Tensor) -> Tensor:
        """Mark adversarial points, (B,) bool. All points lie in the ball."""
        return state.samples.fooled(logits, targeted=self.targeted)

    def advance(self, state: ApgdState, result: QueryResult) -> ApgdState:
        """Return the states after the query: the best point, the step size and the next point."""
        state = _with_best(state, result.loss, result.gradient)
        state, gradient = self._apply_checkpoint(self._count_step(state, result.loss), result.gradient)
        points = self._next(state, gradient)
        n_queries = state.n_queries + 1
        return replace(state, points=points, previous=state.points, n_queries=n_queries, over=n_queries > self.steps)

    def _count_step(self, state: ApgdState, loss: Tensor) -> ApgdState:
        """Count the step, and whether the loss rose. The first query is the start and is not counted as a step."""
        stepped = state.n_queries > 0
        return replace(
            state,
            since=state.since + stepped,
            rises=state.rises + (stepped & (loss > state.last_loss)),
            last_loss=torch.where(stepped, loss, state.last_loss),
            checked_loss=torch.where(stepped, state.checked_loss, loss),
        )

    def _apply_checkpoint(self, state: ApgdState, gradient: Tensor) -> tuple[ApgdState, Tensor]:
        """At a checkpoint, halve η and return to the best point if one of the two conditions holds."""
        check = state.since == state.window
        if not check.any():
            return state, gradient
        oscillates = state.rises <= RISING * state.window
        stuck = ~state.halved & (state.checked_loss >= state.best_loss)
        halve = check & (oscillates | stuck)
        shorter = (state.window - _share(SHORTER, self.steps)).clamp_min(_share(SHORTEST, self.steps))
        state = replace(
            state,
            points=choose(halve, state.best, state.points),
            step_size=torch.where(halve, state.step_size / 2, state.step_size),
            halved=torch.where(check, halve, state.halved),
            checked_loss=torch.where(check, state.best_loss, state.checked_loss),
            window=torch.where(check, shorter, state.window),
            since=torch.where(check, 0, state.since),
            rises=torch.where(check, 0, state.rises),
        )
        return state, choose(halve, state.best_gradient, gradient)

    def _next(self, state: ApgdState, gradient: Tensor) -> Tensor:
        x, inside = state.points, projection(state.samples.inputs, self.norm, self.eps)
        towards = inside(torch.addcmul(x, _each(state.step_size), steepest(gradient, self.norm)))
        momentum = _each(torch.where(state.n_queries > 0, MOMENTUM, 0.0).to(x.dtype))
        return inside(torch.lerp(x, towards, 1 - momentum).addcmul_(x - state.previous, momentum))


def _share(share: float, steps: int) -> int:
    return max(int(share * steps), 1)


def _with_best(state: ApgdState, loss: Tensor, gradient: Tensor) -> ApgdState:
    better = loss > state.best_loss
    return replace(
        state,
        best=choose(better, state.points, state.best),
        best_gradient=choose(better, gradient, state.best_gradient),
        best_loss=torch.where(better, loss, state.best_loss),
    )


def _each(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def apgd(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    eps: float = 8 / 255,
    steps: int = 100,
    objective: Literal["ce", "dlr", "dlr-targeted"] = "ce",
    restarts: int = 1,
    n_targets: int = PUBLISHED_TARGETS,
    targets: Tensor | None = None,
    rng: int | SampleRng = 0,
    ids: Ids | None = None,
    batch_size: int = DEFAULT_BATCH,
    query_budget: QueryBudget | None = None,
) -> Tensor:
    """Attack by Auto-PGD (Croce and Hein 2020, arXiv 2003.01690; for l1 2021, arXiv 2103.01208).

    Projected gradient ascent with momentum, which halves its step size and returns to the best point when the loss no
    longer rises. One additional forward pass per image ranks its classes.

    Args:
        model: Maps images to logits (N, K). Its mode and weights are not changed.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), integers in 0…K−1.
        norm: "linf", "l2" or "l1".
        eps: Radius of the ball, in units of [0, 1] pixels.
        steps: Steps per start.
        objective: "ce", the cross-entropy; "dlr", the difference-of-logits ratio; or "dlr-targeted", the ratio towards
            each of the ``n_targets`` highest-ranked other classes, where any misclassification is a success. "dlr"
            needs 3 classes and "dlr-targeted" 4. With fewer classes, the margin replaces the ratio.
        restarts: Starts of the first two objectives. Later starts attack only the remaining images.
        n_targets: Target classes of "dlr-targeted", at most K − 1.
        targets: Classes (N,) that the model must predict, for the targeted attack.
        rng: Seed of the starts, or a SampleRng.
        ids: Names of the images, on which the random draws depend; 0…N−1 by default.
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
    >>> [int(model(apgd(model, x, torch.tensor([1]), eps=eps)).argmax()) for eps in (0.24, 0.26)]
    [1, 0]
    """
    if objective not in ("ce", "dlr", "dlr-targeted"):
        raise BenchError(f"apgd has no objective {objective!r}; it has ce, dlr and dlr-targeted.")
    with attack_call(
        "apgd", model, inputs, labels, norm=norm, eps=eps, targets=targets, rng=rng, ids=ids, batch_size=batch_size,
        query_budget=query_budget, counts={"steps": steps, "restarts": restarts, "n_targets": n_targets},
    ) as call:  # fmt: skip
        if not len(inputs):
            return inputs.clone()
        num_classes = call.ranking.shape[1]
        attempts = target_count(num_classes, n_targets) if objective == "dlr-targeted" else restarts
        search = build_apgd(objective, norm, eps, num_classes, steps=steps, attempts=attempts, targeted=call.targeted)
        return call.run(search, ranked=True)


def build_apgd(
    objective: Objective, norm: Norm, eps: float, num_classes: int, *, steps: int, attempts: int, targeted: bool = False
) -> Search:
    """Build the search on ``objective``, or on the margin if there are too few classes for a DLR objective.

    ``steps`` is per attempt. ``attempts`` is the number of restarts or, for targeted objectives, of target classes.
    """
    if objective.startswith("dlr"):
        ratio: Objective = "dlr-targeted" if targeted else objective
        stage = "apgd-t" if ratio == "dlr-targeted" else "apgd-dlr"
        margin: Objective = "margin-targeted" if ratio == "dlr-targeted" else "margin"
        objective = margin if lacks_dlr(stage, num_classes) else ratio
    if norm == "l1":
        return ApgdL1(eps=eps, objective=objective, steps=steps, attempts=attempts, targeted=targeted)
    return Apgd(norm=norm, eps=eps, objective=objective, steps=steps, attempts=attempts, targeted=targeted)
