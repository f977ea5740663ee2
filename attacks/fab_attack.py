"""FAB, Croce and Hein 2020 (arXiv 1907.02044): steps along the decision boundary that move closer to the image.

Let x be the image, y its label, t another class, x_k the current point, f = z_t − z_y the difference of logits and
w = ∇f(x_k). The tangent plane of the boundary is π = {u: w·u = w·x_k − f(x_k)}. A step combines the projections of the
current point and of the image, each extended by the factor η:

    d_k = proj_π(x_k) − x_k,   d_0 = proj_π(x) − x,   α = min(‖d_k‖ / (‖d_k‖ + ‖d_0‖), α_max),
    x_{k+1} = Π((1 − α)·(x_k + η·d_k) + α·(x + η·d_0)),     Π the clip to the box.

:mod:`bench.attacks.geometry.hyperplane` computes the projections. If x_{k+1} is adversarial (classified as any class
other than y; in a targeted attack, as t), the search continues from x + β·(x_{k+1} − x). This point is linearised but
is not tested. Only the image and the points x_1 … x_n_iter, called trials, are tested.

The published program minimises ‖x_k − x‖ and compares the minimum with ε at the end. Here a search ends at the first
trial that is adversarial and within ε, so the verdict is the same. The paper describes a final search along the last
segment. The published program and this module omit it.

Differences from the published program: (1) one pass may both test a trial and give its gradient. (2) If w or f is not
finite, the search ends, whereas the program continues with a point that is NaN, and never succeeds. (3) For l2, the
projection also moves pixels with small |w_i|, see :mod:`bench.attacks.geometry.hyperplane`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.attacks.engine.attack_call import DEFAULT_BATCH, Ids, attack_call
from bench.attacks.engine.counter_rng import SampleRng, bulk_normal, bulk_uniform, derive
from bench.attacks.engine.query_budget import QueryBudget
from bench.attacks.engine.search import QueryResult, Samples, Search, State, choose
from bench.attacks.ensemble import ITERATIONS, PUBLISHED_TARGETS, target_count
from bench.attacks.geometry.hyperplane import project
from bench.attacks.geometry.norms import dual_length, length
from bench.attacks.objectives import margin
from bench.core.errors import BenchError
from bench.core.specs import Norm

_LEAST = 1e-8  # lower bound of the lengths in α, so that their ratio is 1/2, not NaN, if both are 0
_FLAT = 1e-12  # added to ‖w‖, so that the distance is finite for a zero gradient


@dataclass(frozen=True)
class FabState(State):
    """State of FAB for a batch of samples."""

    target: Tensor  # (B,), int64, class t of the loss z_t − z_y
    trials: Tensor  # (B,), int64, number of trials so far
    tested: Tensor  # (B,), bool: ``points`` are tested, because they are the image or a trial
    crossing: Tensor  # (B,), bool: the last trial that was tested is adversarial


@dataclass(frozen=True, kw_only=True)
class _Fab:
    """Base of the targeted and the untargeted form. Parameters are named as in the paper."""

    norm: Norm
    eps: float
    n_iter: int = 100
    eta: float = 1.05
    beta: float = 0.9
    alpha_max: float = 0.1
    targeted: bool = False  # a point is adversarial only if the target class is predicted, not any other class

    def loss(self, state: FabState, logits: Tensor) -> Tensor:
        """Return f, (B,): z_t − z_y or, if ``targeted``, z_t minus the largest logit of the other classes."""
        if self.targeted:
            return -margin(logits, state.target)
        return _at(logits, state.target) - _at(logits, state.samples.labels)

    def is_adversarial(self, state: FabState, logits: Tensor) -> Tensor:
        """Mark tested points that are adversarial and at most ``eps`` away, (B,) bool."""
        within = length(state.points - state.samples.inputs, self.norm) <= self.eps
        return self._crossed(state, logits) & within

    def _crossed(self, state: FabState, logits: Tensor) -> Tensor:
        return state.tested & state.samples.fooled(logits, targeted=self.targeted)

    def needs_gradient(self, state: FabState) -> Tensor:
        """Mark the points whose gradient is computed, (B,) bool: all except trials after an adversarial trial.

        Near the boundary almost every trial is adversarial. Its gradient is then not needed, because the search
        continues from the point moved back by β. The few other trials are queried a second time, with a gradient.
        """
        return ~(state.tested & state.crossing)

    def _next(self, state: FabState, loss: Tensor, gradient: Tensor) -> Tensor:
        """Return x_{k+1} for the plane of ``loss``, (B,), and ``gradient``, (B, C, H, W), at ``state.points``."""
        current, image, w = (each.flatten(1) for each in (state.points, state.samples.inputs, gradient))
        b = (w * current).sum(1) - loss
        d_k, d_0 = project(current, w, b, self.norm), project(image, w, b, self.norm)
        own, other = (length(d, self.norm).clamp_min(_LEAST) for d in (d_k, d_0))
        alpha = (own / (own + other)).clamp_max(self.alpha_max).unsqueeze(1)
        mixed = torch.lerp(torch.add(current, d_k, alpha=self.eta), torch.add(image, d_0, alpha=self.eta), alpha)
        return mixed.clamp_(0, 1).view_as(state.points)

    def _moved_back(self, state: FabState) -> Tensor:
        return state.samples.inputs + (state.points - state.samples.inputs) * self.beta

    def _ends(self, state: FabState, points: Tensor) -> Tensor:
        """Mark samples whose last trial has been tested, or whose next point is not finite: (B,) bool."""
        return state.over | (state.trials >= self.n_iter) | ~points.flatten(1).sum(1).isfinite()


@dataclass(frozen=True, kw_only=True)
class TargetedFab(_Fab):
    """Search of FAB towards target classes; see :class:`bench.attacks.engine.search.Search`.

    The target classes rank second, third, … for the clean image, one per attempt. Unless ``targeted``, a trial is
    adversarial if the model predicts any class other than the label. The search is deterministic.
    """

    attempts: int = 9

    def start(self, samples: Samples, attempt: Tensor) -> FabState:
        """Return the first states, at the clean images. Raises ValueError for too many attempts."""
        others = samples.ranking.shape[1] - 1
        if self.attempts > others:
            raise ValueError(f"attempts={self.attempts} exceeds the number of target classes, {others}; use fewer.")
        return FabState(
            samples=samples,
            points=samples.inputs,
            over=torch.zeros_like(samples.labels, dtype=torch.bool),
            target=_at(samples.ranking, attempt + 1),
            trials=torch.zeros_like(samples.labels),
            tested=torch.ones_like(samples.labels, dtype=torch.bool),
            crossing=torch.zeros_like(samples.labels, dtype=torch.bool),
        )

    def advance(self, state: FabState, result: QueryResult) -> FabState:
        """Return the states after the query, with the next points."""
        crossed = self._crossed(state, result.logits)
        steps = ~crossed & self.needs_gradient(state)
        points = choose(steps, self._next(state, result.loss, result.gradient), state.points)
        points = choose(crossed, self._moved_back(state), points)
        over = self._ends(state, points)
        return replace(
            state,
            points=choose(over, state.points, points),
            over=over,
            trials=state.trials + steps,
            tested=steps,
            crossing=torch.where(state.tested, crossed, state.crossing),
        )


@dataclass(frozen=True)
class UntargetedFabState(FabState):
    """State of untargeted FAB, with the nearest tangent plane so far; ``target`` is the class of the next plane."""

    distance: Tensor  # (B,), distance of the nearest plane, ignoring the box; infinite before the first plane
    difference: Tensor  # (B,), f of the nearest plane; NaN without a plane of finite distance: x_{k+1} is then NaN
    normal: Tensor  # (B, C, H, W), w of the nearest plane


@dataclass(frozen=True, kw_only=True)
class UntargetedFab(_Fab):
    """Untargeted search: uses the nearest tangent plane over all classes, argmin_t |f_t| / ‖w_t‖, ‖·‖ the dual norm.

    Each of the K − 1 tangent planes needs one query, so a step costs K − 1 forward and backward passes. The first
    attempt starts at the image. Later attempts start at a random point at distance ε/2 from the image. This point is
    not tested. The random draws depend on the key of the sample, instead of the batch as in the published program.
    """

    attempts: int = 1

    def start(self, samples: Samples, attempt: Tensor) -> UntargetedFabState:
        """Return the first states: at the clean images in attempt 0, otherwise at random points at distance ε/2."""
        inputs, first = samples.inputs, attempt == 0
        away = (inputs + self._half_way(derive(samples.keys, "fab", attempt), inputs)).clamp(0, 1)
        return UntargetedFabState(
            samples=samples,
            points=choose(first, inputs, away),
            over=torch.zeros_like(first),
            target=_after(samples.labels, None),
            trials=torch.zeros_like(samples.labels),
            tested=first,
            crossing=torch.zeros_like(first),
            distance=inputs.new_full((len(samples),), torch.inf),
            difference=inputs.new_full((len(samples),), torch.nan),
            normal=torch.zeros_like(inputs),
        )

    def advance(self, state: UntargetedFabState, result: QueryResult) -> UntargetedFabState:
        """Return the states after the query, with the next class or, after the last class, with the next point."""
        crossed = self._crossed(state, result.logits)
        linearised = ~crossed & self.needs_gradient(state)
        state = self._with_nearest(state, result.loss, result.gradient, linearised)
        first, next_class = _after(state.samples.labels, None), _after(state.samples.labels, state.target)
        steps = linearised & (next_class >= result.logits.shape[1])
        points = choose(steps, self._next(state, state.difference, state.normal), state.points)
        points = choose(crossed, self._moved_back(state), points)
        over, more_classes = self._ends(state, points), linearised & ~steps
        return replace(
            state,
            points=choose(over, state.points, points),
            over=over,
            target=torch.where(more_classes, next_class, first),
            trials=state.trials + steps,
            tested=steps,
            crossing=torch.where(state.tested, crossed, state.crossing),
            distance=torch.where(more_classes, state.distance, torch.inf),
            difference=torch.where(more_classes, state.difference, torch.nan),
        )

    def _with_nearest(
        self, state: UntargetedFabState, loss: Tensor, gradient: Tensor, linearised: Tensor
    ) -> UntargetedFabState:
        distance = loss.abs() / (dual_length(gradient, self.norm) + _FLAT)
        nearer = linearised & (distance < state.distance)
        return replace(
            state,
            distance=torch.where(nearer, distance, state.distance),
            difference=torch.where(nearer, loss, state.difference),
            normal=choose(nearer, gradient, state.normal),
        )

    def _half_way(self, keys: Tensor, inputs: Tensor) -> Tensor:
        shape = tuple(inputs.shape[1:])
        t = 2 * bulk_uniform(keys, shape) - 1 if self.norm == "linf" else bulk_normal(keys, shape)
        return (t * (self.eps / 2 / length(t, self.norm)).view(-1, 1, 1, 1)).to(inputs.dtype)


def _after(labels: Tensor, target: Tensor | None) -> Tensor:
    """Return the class after ``target``, or the first class, skipping the label: (B,) int64."""
    following = torch.zeros_like(labels) if target is None else target + 1
    return following + (following == labels)


def _at(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, index.unsqueeze(1)).squeeze(1)


def fab(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    eps: float | None = None,
    steps: int = ITERATIONS,
    n_targets: int = PUBLISHED_TARGETS,
    restarts: int = 1,
    targets: Tensor | None = None,
    rng: int | SampleRng = 0,
    ids: Ids | None = None,
    batch_size: int = DEFAULT_BATCH,
    query_budget: QueryBudget | None = None,
) -> Tensor:
    """Find the nearest adversarial images by FAB (Croce and Hein 2020, arXiv 1907.02044).

    Moves along the decision boundary towards the image. Each step projects the current point and the image onto the
    tangent plane of the boundary. One additional forward pass per image ranks its classes.

    Args:
        model: Maps images to logits (N, K). Its mode and weights are not changed.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), integers in 0…K−1.
        norm: "linf", "l2" or "l1".
        eps: Distance within which the search stops at the first adversarial image, in units of [0, 1] pixels. None
            runs all steps to find the nearest adversarial image.
        steps: Steps per attempt.
        n_targets: Number of target classes, at most K − 1. The classes ranked highest for the clean image are used. 0
            selects untargeted FAB, which uses the nearest of all K − 1 tangent planes and takes K − 1 passes per step.
        restarts: Number of starts. More than 1 needs ``n_targets=0`` and ``eps``. All except the first are random.
        targets: Classes (N,) that the model must predict, for the targeted attack.
        rng: Seed of random starts, or a SampleRng.
        ids: Names of the images, on which random starts depend; 0…N−1 by default.
        batch_size: Images per batch. Does not change the result.
        query_budget: Maximum number of forward passes per image. Requires ``eps``.

    Returns:
        Images (N, C, H, W) in [0, 1], at most ``eps`` away if given. The clean image if no such image was found.

    Raises:
        BenchError: If an argument is invalid.

    For a linear model the distance to the decision boundary is margin/‖w‖₁:

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0]]))
    >>> x = torch.full((1, 3, 1, 1), 0.5)  # logits (0, 1), ‖w‖₁ = 4
    >>> round(float((fab(model, x, torch.tensor([1])) - x).abs().max()), 2)
    0.25
    """
    if restarts > 1 and (eps is None or n_targets or targets is not None):
        raise BenchError(
            f"fab: restarts={restarts} needs eps, n_targets=0 and no targets; only then are the starts random."
        )
    counts = {"steps": steps, "restarts": restarts, **({"n_targets": n_targets} if n_targets else {})}
    with attack_call(
        "fab", model, inputs, labels, norm=norm, eps=eps, targets=targets, rng=rng, ids=ids, batch_size=batch_size,
        query_budget=query_budget, counts=counts,
    ) as call:  # fmt: skip
        if not len(inputs):
            return inputs.clone()
        limit = float("inf") if eps is None else eps
        search: Search = UntargetedFab(norm=norm, eps=limit, n_iter=steps, attempts=restarts)
        if n_targets or call.targeted:
            attempts = 1 if call.targeted else target_count(call.ranking.shape[1], n_targets)
            search = TargetedFab(norm=norm, eps=limit, n_iter=steps, attempts=attempts, targeted=call.targeted)
        return call.run_to_nearest(search, ranked=True) if eps is None else call.run(search, ranked=True)
