"""FAB, Croce and Hein 2020 (arXiv 1907.02044): walks along the decision boundary, towards the image.

With x the image, x_k the walk, f = z_t − z_y the logits' difference and w = ∇f(x_k), the boundary's tangent plane is
π = {u: w·u = w·x_k − f(x_k)}. A step goes η times the way to the plane from the walk and from the image,

    d_k = proj_π(x_k) − x_k,   d_0 = proj_π(x) − x,   α = min(‖d_k‖ / (‖d_k‖ + ‖d_0‖), α_max),
    x_{k+1} = Π((1 − α)·(x_k + η·d_k) + α·(x + η·d_0)),     Π the clip to the box,

the projections being those of :mod:`bench.attacks.geometry.hyperplane`. Where x_{k+1} is adversarial, for any class
other than y, the walk goes on from x + β·(x_{k+1} − x), which is linearised and never judged. Only the trials
x_1 … x_n_iter are judged.

The published program minimises ‖x_k − x‖ and compares its least value with ε at the end; here a walk ends at the first
trial that is adversarial and within ε, so the verdict is the same. The final search along the last segment that the
paper describes is not in the program, and is not here.

Departures: a trial that is not adversarial may be judged and differentiated in one pass. Where w or f is not finite the
walk ends; the program's becomes NaN, and finds nothing more. See also :mod:`bench.attacks.geometry.hyperplane`.
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

_LEAST = 1e-8  # what a length counts at least in α, so that two of 0 make 1/2
_FLAT = 1e-12  # what is added to ‖w‖, so that a plane without a slope is far away


@dataclass(frozen=True)
class FabState(State):
    """One walk for every sample."""

    target: Tensor  # (B,), int64, class whose difference to the label is the loss
    trials: Tensor  # (B,), int64, how many have been named
    judged: Tensor  # (B,), bool: whether ``points`` are the image or a trial; if not, they are only linearised
    crossing: Tensor  # (B,), bool: whether the last trial that was judged is adversarial


@dataclass(frozen=True, kw_only=True)
class _Walk:
    """Base of the targeted and the untargeted form; names as in the paper."""

    norm: Norm
    eps: float
    n_iter: int = 100
    eta: float = 1.05
    beta: float = 0.9
    alpha_max: float = 0.1
    targeted: bool = False  # only the target class counts as adversarial, not any other than the label

    def loss(self, state: FabState, logits: Tensor) -> Tensor:
        """Return f, (B,): z_t less z_y or, if ``targeted``, less the logit of the best other class."""
        if self.targeted:
            return -margin(logits, state.target)
        return _at(logits, state.target) - _at(logits, state.samples.labels)

    def is_adversarial(self, state: FabState, logits: Tensor) -> Tensor:
        near = length(state.points - state.samples.inputs, self.norm) <= self.eps
        return self._crossed(state, logits) & near

    def _crossed(self, state: FabState, logits: Tensor) -> Tensor:
        return state.judged & state.samples.fooled(logits, targeted=self.targeted)

    def needs_gradient(self, state: FabState) -> Tensor:
        """Mark the answers whose gradient is used, (B,) bool: all but those of a trial that follows an adversarial one.

        On the boundary nearly every trial is adversarial, and then it is the point drawn back that is linearised. The
        few that are not are queried once more, as points to linearise.
        """
        return ~(state.judged & state.crossing)

    def _next(self, state: FabState, loss: Tensor, gradient: Tensor) -> Tensor:
        """x_{k+1} from the plane of ``loss``, (B,), and ``gradient``, (B, C, H, W), at ``state.points``."""
        walk, image, w = (each.flatten(1) for each in (state.points, state.samples.inputs, gradient))
        b = (w * walk).sum(1) - loss
        d_k, d_0 = project(walk, w, b, self.norm), project(image, w, b, self.norm)
        own, other = (length(d, self.norm).clamp_min(_LEAST) for d in (d_k, d_0))
        alpha = (own / (own + other)).clamp_max(self.alpha_max).unsqueeze(1)
        mixed = torch.lerp(torch.add(walk, d_k, alpha=self.eta), torch.add(image, d_0, alpha=self.eta), alpha)
        return mixed.clamp_(0, 1).view_as(state.points)

    def _drawn_back(self, state: FabState) -> Tensor:
        return state.samples.inputs + (state.points - state.samples.inputs) * self.beta

    def _ends(self, state: FabState, points: Tensor) -> Tensor:
        """Whether the last trial has been answered, or there is no telling where to go."""
        return state.over | (state.trials >= self.n_iter) | ~points.flatten(1).sum(1).isfinite()


@dataclass(frozen=True, kw_only=True)
class TargetedFab(_Walk):
    """The search towards classes; see :class:`bench.attacks.engine.search.Search`.

    The target classes are second, third, … in the ranking of the clean image, one per attempt. A trial of any class
    but the label counts, unless ``targeted``. Nothing is random.
    """

    attempts: int = 9

    def start(self, samples: Samples, attempt: Tensor) -> FabState:
        """Raises ValueError where there are more attempts than classes other than the label."""
        others = samples.ranking.shape[1] - 1
        if self.attempts > others:
            raise ValueError(f"attempts={self.attempts}, one a target class, of which there are {others}; take fewer.")
        return FabState(
            samples=samples,
            points=samples.inputs,
            over=torch.zeros_like(samples.labels, dtype=torch.bool),
            target=_at(samples.ranking, attempt + 1),
            trials=torch.zeros_like(samples.labels),
            judged=torch.ones_like(samples.labels, dtype=torch.bool),
            crossing=torch.zeros_like(samples.labels, dtype=torch.bool),
        )

    def advance(self, state: FabState, answer: QueryResult) -> FabState:
        crossed = self._crossed(state, answer.logits)
        steps = ~crossed & self.needs_gradient(state)
        points = choose(steps, self._next(state, answer.loss, answer.gradient), state.points)
        points = choose(crossed, self._drawn_back(state), points)
        over = self._ends(state, points)
        return replace(
            state,
            points=choose(over, state.points, points),
            over=over,
            trials=state.trials + steps,
            judged=steps,
            crossing=torch.where(state.judged, crossed, state.crossing),
        )


@dataclass(frozen=True)
class UntargetedFabState(FabState):
    """With the nearest plane among those of the classes that were asked about at ``points``; ``target`` is the next."""

    distance: Tensor  # (B,), of the nearest, in the norm and without the box; infinite before the first
    difference: Tensor  # (B,), its f; NaN before the first, as from no plane there is no telling where to go
    normal: Tensor  # (B, C, H, W), its w


@dataclass(frozen=True, kw_only=True)
class UntargetedFab(_Walk):
    """The untargeted form, whose plane is the nearest of all classes': argmin_t |f_t| / ‖w_t‖, ‖·‖ the dual norm.

    Each of the K − 1 differences is a question, so a step costs K − 1 passes in both directions. The first attempt
    starts at the image, later ones at a random point of length ε/2, which is not judged; the program's draws depend on
    the batch, these on the sample's key.
    """

    attempts: int = 1

    def start(self, samples: Samples, attempt: Tensor) -> UntargetedFabState:
        inputs, first = samples.inputs, attempt == 0
        away = (inputs + self._half_way(derive(samples.keys, "fab", attempt), inputs)).clamp(0, 1)
        return UntargetedFabState(
            samples=samples,
            points=choose(first, inputs, away),
            over=torch.zeros_like(first),
            target=_after(samples.labels, None),
            trials=torch.zeros_like(samples.labels),
            judged=first,
            crossing=torch.zeros_like(first),
            distance=inputs.new_full((len(samples),), torch.inf),
            difference=inputs.new_full((len(samples),), torch.nan),
            normal=torch.zeros_like(inputs),
        )

    def advance(self, state: UntargetedFabState, answer: QueryResult) -> UntargetedFabState:
        crossed = self._crossed(state, answer.logits)
        linearised = ~crossed & self.needs_gradient(state)
        state = self._with_nearest(state, answer.loss, answer.gradient, linearised)
        first, coming = _after(state.samples.labels, None), _after(state.samples.labels, state.target)
        steps = linearised & (coming >= answer.logits.shape[1])
        points = choose(steps, self._next(state, state.difference, state.normal), state.points)
        points = choose(crossed, self._drawn_back(state), points)
        over, onwards = self._ends(state, points), linearised & ~steps
        return replace(
            state,
            points=choose(over, state.points, points),
            over=over,
            target=torch.where(onwards, coming, first),
            trials=state.trials + steps,
            judged=steps,
            crossing=torch.where(state.judged, crossed, state.crossing),
            distance=torch.where(onwards, state.distance, torch.inf),
            difference=torch.where(onwards, state.difference, torch.nan),
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
    """The class that follows ``target``, or the first, and is not the label."""
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

    Walks along the decision boundary towards the image: each step projects the walk and the image on the tangent plane
    of the boundary. One further forward pass per image ranks its classes.

    Args:
        model: Maps images to logits (N, K). Its mode and its weights stay as they are.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), whole numbers in 0…K−1.
        norm: "linf", "l2" or "l1".
        eps: Length at which the search may stop, in units of [0, 1] pixels; None searches for the nearest to the end.
        steps: Steps per walk.
        n_targets: Classes that are walked towards, the best ones of the clean image, at most K − 1; 0 walks towards the
            nearest class at every step, in K − 1 passes per step.
        restarts: Starts of the form with ``n_targets=0``; later ones are random and need ``eps``.
        targets: Classes (N,) that the model shall predict, for the targeted form.
        rng: Seed of random starts, or a SampleRng.
        ids: Names of the images, on which random starts depend; 0…N−1 by default.
        batch_size: Images per batch; it does not change the result.
        query_budget: Bound on the forward passes per image.

    Returns:
        Images (N, C, H, W) in [0, 1], at most ``eps`` away if it is given; the clean image where none was found.

    Raises:
        BenchError: If an argument does not fit.

    A linear model has its boundary at the distance margin/‖w‖₁:

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0]]))
    >>> x = torch.full((1, 3, 1, 1), 0.5)  # logits (0, 1), ‖w‖₁ = 4
    >>> round(float((fab(model, x, torch.tensor([1])) - x).abs().max()), 2)
    0.25
    """
    if restarts > 1 and (eps is None or n_targets or targets is not None):
        raise BenchError(f"fab: restarts={restarts} needs eps, n_targets=0 and no targets; other walks are not random.")
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
