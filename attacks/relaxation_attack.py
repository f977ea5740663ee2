"""Constraint relaxation: targeted ascent that leaves the ball for some steps, returns, and starts again further inside.

The method is that of "Efficient Robustness Evaluation via Constraint Relaxation" (AAAI 2025, article 32670), for linf.
With m_t = z_y − z_t the margin towards a class t, d the steepest direction and Π_r the projection onto the ball of
radius r and the box:

    warm-up      10 steps x ← Π_ε(x + ε/2·d(∇(max_{j≠y} z_j − z_y))) from a uniform draw. The ⌈ln K⌉ wrong classes with
                 the largest logits at the last point are the targets.
    each target  5 cycles c = 1…5 from a uniform draw, with steps of s·ε along d(∇(z_t − z_y)), s = max(2^−c, 0.05):
                 10 steps in the ball of radius (1 + s)·ε; the projection Π_ε of each point is queried, too,
                 10 steps in the ball of radius ε; the search of the target ends here if m_t > TRY·s·u,
                 projection onto the ball of radius (1 − s)·ε, noise of ±s·ε, and 10 steps in the ball of radius ε.
                 A cycle has 40 queries, 30 of them with a gradient.
    restarts     4 times again, only for targets whose margin has been below RETRY·u.

Differences from the paper: the unit u of the margins is the standard deviation over the classes of the logits of the
first query, where the paper has 1 logit, and the warm-up ascends the margin, where the paper ascends the cross-entropy.
With these changes, z → c·z + b does not change the path. l2 and l1 balls have their own projections, directions and
uniform draws. The search ends at the first adversarial point. The path of an image does not depend on other images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.attacks.engine.attack_call import DEFAULT_BATCH, Ids, attack_call
from bench.attacks.engine.counter_rng import SampleRng, derive
from bench.attacks.engine.query_budget import QueryBudget
from bench.attacks.engine.search import QueryResult, Samples, State, choose, take
from bench.attacks.ensemble import CR_CYCLES, CR_RESTARTS, CR_STEPS, CR_WARM_UP, relaxation_targets
from bench.attacks.geometry.l1_ball import steepest_in_box
from bench.attacks.geometry.norms import projection, sample_ball, steepest
from bench.attacks.objectives import margin, targeted_margin
from bench.core.specs import Norm

WARM_STEP = 0.5  # step of the warm-up, in units of ε
SMALLEST = 0.05  # smallest step, in units of ε
TRY, RETRY = 1.0, 0.05  # the thresholds on margins, in units of u
# Number of queries of a cycle before its second part, before its third part, and in all.
RELAXED, CHECK, CYCLE = 2 * CR_STEPS - 1, 3 * CR_STEPS - 1, 4 * CR_STEPS


@dataclass(frozen=True)
class RelaxationState(State):
    """State of the search for a batch of samples, with T target classes per sample."""

    unit: Tensor  # (B,), u
    targets: Tensor  # (B, T), classes; the label before the end of the warm-up
    closest: Tensor  # (B, T), smallest margin towards each target at points in the ball
    outside: Tensor  # (B, C, H, W), last point in the relaxed ball
    start_number: Tensor  # (B,), int64, restart·T + position of the target
    cycle: Tensor  # (B,), int64, from 0; −1 in the warm-up, CR_CYCLES for the last query of a start
    query: Tensor  # (B,), int64, number of queries so far in this cycle, or in the warm-up

    @property
    def warm(self) -> Tensor:
        """Samples after the warm-up, (B,) bool."""
        return self.cycle >= 0

    @property
    def relaxed(self) -> Tensor:
        """Samples in the first part of a cycle, (B,) bool."""
        return self.warm & (self.cycle < CR_CYCLES) & (self.query < RELAXED)

    @property
    def returned(self) -> Tensor:
        """Samples at the projection of a point in the relaxed ball, from which no step is taken, (B,) bool."""
        return self.relaxed & (self.query % 2 == 1)

    @property
    def inside(self) -> Tensor:
        """Samples whose point is in the ball, (B,) bool."""
        return ~self.relaxed | self.returned | (self.query == 0)

    @property
    def checked(self) -> Tensor:
        """Samples at the point at which the search of a target may end, (B,) bool."""
        return self.warm & (self.query == CHECK)

    @property
    def last(self) -> Tensor:
        """Samples at the last query of the warm-up or of a start, (B,) bool."""
        return torch.where(self.warm, self.cycle == CR_CYCLES, self.query == CR_WARM_UP)

    @property
    def target(self) -> Tensor:
        """Current target class, (B,)."""
        return self.targets.gather(1, self.position).squeeze(1)

    @property
    def position(self) -> Tensor:
        """Position of the current target, (B, 1)."""
        return (self.start_number % self.targets.shape[1])[:, None]

    @property
    def step(self) -> Tensor:
        """Step size in units of ε, (B,)."""
        return torch.where(self.warm, 0.5 ** (self.cycle + 1).to(self.unit), WARM_STEP).clamp_min(SMALLEST)


@dataclass(frozen=True, kw_only=True)
class ConstraintRelaxation:
    """Search of the attack; see :class:`bench.attacks.engine.search.Search`. It has one attempt."""

    norm: Norm
    eps: float
    n_targets: int
    restarts: int = CR_RESTARTS
    attempts: int = 1

    def start(self, samples: Samples, attempt: Tensor) -> RelaxationState:
        """Return the first states, at a uniform draw from the ball."""
        zeros, points = torch.zeros_like(attempt), self._draw(samples, "warm-up", attempt)
        return RelaxationState(
            samples=samples,
            points=points,
            over=zeros.bool(),
            unit=samples.inputs.new_ones(len(samples)),
            targets=samples.labels[:, None].repeat(1, self.n_targets),
            closest=samples.inputs.new_full((len(samples), self.n_targets), torch.inf),
            outside=points,
            start_number=zeros,
            cycle=zeros - 1,
            query=zeros,
        )

    def loss(self, state: RelaxationState, logits: Tensor) -> Tensor:
        """Return the margin, (B,): towards the best other class in the warm-up, then towards the target."""
        labels = state.samples.labels
        return torch.where(state.warm, targeted_margin(logits, labels, state.target), margin(logits, labels))

    def needs_gradient(self, state: RelaxationState) -> Tensor:
        """Mark the samples that step from this point, (B,) bool."""
        return ~(state.returned | state.checked | state.last)

    def is_adversarial(self, state: RelaxationState, logits: Tensor) -> Tensor:
        """Mark misclassified points in the ball, (B,) bool."""
        return state.samples.fooled(logits) & state.inside

    def advance(self, state: RelaxationState, result: QueryResult) -> RelaxationState:
        """Return the states after the query: margins, then the next point and its place in the search."""
        state = _with_margins(state, result)
        points, outside = self._next(state, result.gradient)
        ended = state.last | (state.checked & (-result.loss > TRY * state.step * state.unit))
        turned = state.query + 1 == torch.where(state.warm, CYCLE, CR_WARM_UP + 1)
        moved = replace(
            state,
            points=points,
            outside=outside,
            query=torch.where(turned, 0, state.query + 1),
            cycle=state.cycle + turned,
        )
        return self._restarted(moved, ended, first=~state.warm) if ended.any() else moved

    def _next(self, state: RelaxationState, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next point, and the last point in the relaxed ball: two tensors (B, C, H, W)."""
        inputs = state.samples.inputs
        moved, outside = state.points + self._direction(state, gradient), state.outside
        steps_out = state.relaxed & ~state.returned
        if steps_out.any():
            relaxed = projection(inputs, self.norm, self.eps * (1 + state.step))(moved)
            outside, moved = choose(steps_out, relaxed, outside), choose(steps_out, relaxed, moved)
        if state.checked.any():
            moved = choose(state.checked, self._shaken(state), moved)
        inside = projection(inputs, self.norm, self.eps)(moved)
        return choose(state.returned, outside, inside), outside

    def _direction(self, state: RelaxationState, gradient: Tensor) -> Tensor:
        """Return the step of length step·ε along the gradient; 0 for samples without a gradient."""
        if self.norm == "l1":
            return steepest_in_box(state.points, gradient, self.eps * state.step)
        return (self.eps * state.step).view(-1, 1, 1, 1) * steepest(gradient, self.norm)

    def _shaken(self, state: RelaxationState) -> Tensor:
        """Return the points projected onto the ball of radius (1 − step)·ε, with noise of at most step·ε."""
        inputs, number = state.samples.inputs, state.start_number * CR_CYCLES + state.cycle
        noise = self._noise(state.samples, "shake", number) * state.step.view(-1, 1, 1, 1)
        return projection(inputs, self.norm, self.eps * (1 - state.step))(state.points) + noise

    def _restarted(self, state: RelaxationState, ended: Tensor, *, first: Tensor) -> RelaxationState:
        """Begin the next start where ``ended``: the first one after the warm-up, ``first``, (B,) bool."""
        starts = torch.arange(self.n_targets * (1 + self.restarts), device=ended.device)
        near = (state.closest < RETRY * state.unit[:, None]).repeat(1, 1 + self.restarts)
        later = starts > torch.where(first, -1, state.start_number)[:, None]
        possible = later & (near | (starts < self.n_targets))
        number = torch.where(ended, possible.int().argmax(1), state.start_number)
        begins = ended & possible.any(1)
        return replace(
            state,
            points=self._drawn(state, number, begins) if begins.any() else state.points,
            over=ended & ~begins,
            start_number=number,
            query=torch.where(ended, 0, state.query),
            cycle=torch.where(ended, 0, state.cycle),
        )

    def _drawn(self, state: RelaxationState, number: Tensor, begins: Tensor) -> Tensor:
        """Return the points with a uniform draw where ``begins``. Draws are slow on a CPU, so only these are made."""
        index, points = begins.nonzero().squeeze(1), state.points.clone()
        points[index] = self._draw(take(state.samples, index), "start", number[index])
        return points

    def _draw(self, samples: Samples, purpose: str, number: Tensor) -> Tensor:
        """Return a uniform draw from the ball around each image, clipped to the box."""
        return projection(samples.inputs, self.norm, self.eps)(samples.inputs + self._noise(samples, purpose, number))

    def _noise(self, samples: Samples, purpose: str, number: Tensor) -> Tensor:
        keys = derive(samples.keys, f"cr-{purpose}", number)
        return sample_ball(keys, tuple(samples.inputs.shape[1:]), self.norm, self.eps).to(samples.inputs)


def _with_margins(state: RelaxationState, result: QueryResult) -> RelaxationState:
    """Set the unit after the first query, the targets after the warm-up, and the smallest margins in a start."""
    first, chosen = ~state.warm & (state.query == 0), ~state.warm & state.last
    spread = result.logits.std(dim=1, unbiased=False).to(state.unit)
    wrong = result.logits.scatter(1, state.samples.labels[:, None], -torch.inf)
    margins = torch.where(state.warm & state.inside, -result.loss, torch.inf)[:, None]
    return replace(
        state,
        unit=torch.where(first, spread, state.unit),
        targets=choose(chosen, wrong.topk(state.targets.shape[1], dim=1).indices, state.targets),
        closest=state.closest.scatter_reduce(1, state.position, margins, "amin"),
    )


def cr(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    eps: float = 8 / 255,
    restarts: int = CR_RESTARTS,
    rng: int | SampleRng = 0,
    ids: Ids | None = None,
    batch_size: int = DEFAULT_BATCH,
    query_budget: QueryBudget | None = None,
) -> Tensor:
    """Attack by constraint relaxation (AAAI 2025, article 32670), with thresholds that do not depend on the scale.

    Args:
        model: Maps images to logits (N, K). Its mode and weights are not changed.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), integers in 0…K−1.
        norm: "linf" as published, "l2" or "l1".
        eps: Radius of the ball, in units of [0, 1] pixels.
        restarts: Starts after the first one, of targets that are almost reached.
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
    >>> [int(model(cr(model, x, torch.tensor([1]), eps=eps)).argmax()) for eps in (0.24, 0.26)]
    [1, 0]
    """
    with attack_call(
        "cr", model, inputs, labels, norm=norm, eps=eps, rng=rng, ids=ids, batch_size=batch_size,
        query_budget=query_budget, counts={"restarts": restarts},
    ) as call:  # fmt: skip
        if not len(inputs):
            return inputs.clone()
        return call.run(build_cr(norm, eps, call.ranking.shape[1], restarts=restarts), ranked=True)


def build_cr(norm: Norm, eps: float, num_classes: int, *, restarts: int = CR_RESTARTS) -> ConstraintRelaxation:
    """Build the search for a model of ``num_classes`` classes."""
    return ConstraintRelaxation(norm=norm, eps=eps, n_targets=relaxation_targets(num_classes), restarts=restarts)
