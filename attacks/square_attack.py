"""Square Attack, Andriushchenko et al. 2020 (arXiv 1912.00049): a random search that uses logits only.

The search maximises max_{k≠y} logit_k − logit_y from a striped start. Query i changes the best point so far, x̂ = x +
δ, inside a square window of side s_i, and keeps the changed point if the loss has risen. The share p_i = s_i²/(HW) of
the window is p_init at first. It is halved after the queries 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000, for any
number of queries, as in the standard version of AutoAttack.

Linf: the start is x + ε·u, u a random sign for every channel and column. Inside the window, every channel moves to a
random end of its range, Π(x̂ ± 2ε) = Π(x ± ε), with Π the clips to ball and box.

L2: the start is a grid of patterns η, five per side, each with a random sign for every channel, scaled to the length ε.
η has the length 1. It consists of a bump above a negative bump or, at random, of its transpose. A bump has the value
Σ_{k≥d} 1/(k+1)² at the distance d, in the maximum norm, from its centre. A step moves the length that δ has in two
windows, W₁ and W₂, into W₁, for every channel:

    ν = ±η + δ_{W₁}/‖δ_{W₁}‖,   δ_{W₂} ← 0,   δ_{W₁} ← ν/‖ν‖·√(‖δ_{W₁∪W₂}‖² + max(ε² − ‖δ‖², 0)/C),   δ ← ε·δ/‖δ‖,

and x̂ = x + δ is clipped to the box.

L1 is defined by the authors' program only. It is L2 with absolute values instead of squares and ε instead of ε². The
bumps are Σ_{k≥d} 1/(k+1)⁴. The length that one channel of a window receives is multiplied by C, and the exact
projection onto ball and box (:mod:`bench.attacks.geometry.l1_ball`) replaces the final scaling.

Differences from the published program: every sample draws its own window and orientation, while the program uses one
draw for the whole batch. The draws depend on the sample only (:mod:`bench.attacks.engine.counter_rng`). Points lie
within ε also in exact arithmetic, because the radius is smaller than ε by the largest possible rounding error. As in
the program, a window that is smaller than the image never covers the last row or the last column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.attacks.engine.attack_call import DEFAULT_BATCH, Ids, attack_call
from bench.attacks.engine.counter_rng import SampleRng, derive, signs
from bench.attacks.engine.query_budget import QueryBudget
from bench.attacks.engine.search import QueryResult, Samples, State, join, take
from bench.attacks.ensemble import SQUARE_QUERIES
from bench.attacks.geometry.l1_ball import project
from bench.attacks.objectives import margin
from bench.attacks.square_windows import (
    Window,
    on_device,
    pattern,
    pattern_table,
    phase_of,
    window_sizes,
    windows,
)
from bench.core.errors import BenchError
from bench.core.specs import Norm

_TINY = 1e-12
# Counters of the draws of a step: 0–3 are the corners of two windows, 4 is the orientation, 5 and higher are the signs
# of the channels.
_FLIP, _SIGNS = 4, 5


@dataclass(frozen=True)
class SquareState(State):
    """State of the Square Attack for a batch of samples: the best point, and the position in the schedule."""

    stream: Tensor  # (B,), int64, the keys of this attempt
    step: Tensor  # (B,), int64, number of windows drawn so far
    best: Tensor  # (B, C, H, W)
    best_loss: Tensor  # (B,), float64; −inf before the first query


@dataclass(frozen=True)
class Square:
    """Search of the Square Attack; see :mod:`bench.attacks.engine.search`.

    A sample has ``queries`` + 1 queries, because ``queries`` does not include the start. Raises ValueError for an
    unknown norm, for a negative ``eps`` or ``queries``, and for a ``p_init`` outside of (0, 1].
    """

    norm: Norm
    eps: float
    queries: int = 5000
    p_init: float = 0.8
    stage: str = "square"
    targeted: bool = False

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2", "l1"):
            raise ValueError(f"norm={self.norm!r}; 'linf', 'l2' or 'l1' is needed.")
        if not (self.eps >= 0 and self.queries >= 0 and 0 < self.p_init <= 1):
            raise ValueError(
                f"eps={self.eps}, queries={self.queries}, p_init={self.p_init}; "
                "the first two must not be negative, and p_init lies in (0, 1]."
            )

    @property
    def attempts(self) -> int:
        """Number of starts per sample, 1."""
        return 1

    def start(self, samples: Samples, attempt: Tensor) -> SquareState:
        """Return the first states, at the striped or tiled start.

        Raises ValueError for inputs of another shape or type and, except for Linf, for fewer than five rows.
        """
        inputs = samples.inputs
        if inputs.ndim != 4 or inputs.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"inputs are {inputs.dtype} {tuple(inputs.shape)}; float32 or float64 (B, C, H, W) needed."
            )
        stream = derive(samples.keys, self.stage, attempt)
        points = self._stripes(inputs, stream) if self.norm == "linf" else self._tiles(inputs, stream)
        return SquareState(
            samples=samples,
            points=points,
            over=torch.zeros_like(samples.labels, dtype=torch.bool),
            stream=stream,
            step=torch.zeros_like(samples.labels),
            best=points,
            best_loss=torch.full(points.shape[:1], -math.inf, dtype=torch.float64, device=points.device),
        )

    def loss(self, state: SquareState, logits: Tensor) -> Tensor:
        """Return max_{k≠y} logit_k − logit_y, (B,), or the negative margin of the target class if ``targeted``."""
        samples = state.samples
        return -margin(logits, samples.targets) if self.targeted else margin(logits, samples.labels)

    def needs_gradient(self, state: SquareState) -> Tensor:
        """Mark no sample, (B,) bool: the search uses logits only."""
        return torch.zeros_like(state.over)

    def is_adversarial(self, state: SquareState, logits: Tensor) -> Tensor:
        """Mark adversarial points, (B,) bool. All points lie within the budget."""
        return state.samples.fooled(logits, targeted=self.targeted)

    def advance(self, state: SquareState, result: QueryResult) -> SquareState:
        """Return the states after the query: keep the point if the loss has risen, and propose the next point.

        The loss always rises at the first adversarial point.
        """
        loss, better = result.loss.double(), ~self.keeps_state(state, result.loss)
        best = torch.lerp(state.best, state.points, _wide(better.to(state.points.dtype)))
        return replace(
            state,
            points=self._proposal(state, best),
            over=state.step >= self.queries,
            step=state.step + 1,
            best=best,
            best_loss=torch.where(better, loss, state.best_loss),
        )

    def keeps_state(self, state: SquareState, loss: Tensor) -> Tensor:
        """Mark the samples whose loss has not risen, (B,) bool; see :mod:`bench.attacks.engine.query`."""
        return ~(loss.double() > state.best_loss)

    def propose_ahead(self, state: SquareState, count: int) -> SquareState:
        """Append the next proposals, assuming that all are rejected; see :mod:`bench.attacks.engine.query`."""
        size = len(state.over)
        count = min(count, self.queries - int(state.step.min()) + 1)
        if count == 1 or not state.best_loss.isfinite().all():  # the first query always changes the best point
            return state
        ahead = torch.arange(1, count, device=state.step.device).repeat_interleave(size)
        later = take(state, torch.arange(size, device=state.step.device).repeat(count - 1))
        points = self._proposal(replace(later, step=later.step + ahead - 1), later.best)
        step = later.step + ahead
        return join(state, replace(later, points=points, step=step, over=step > self.queries))

    def _proposal(self, state: SquareState, best: Tensor) -> Tensor:
        phase = phase_of(state.step)
        height, width = best.shape[2:]
        size = on_device(window_sizes(self.norm, self.p_init, height, width), best.device)[phase]
        draws = derive(state.stream, state.step)
        if self.norm == "linf":
            return self._linf_proposal(state.samples.inputs, best, draws, size)
        return self._lp_proposal(state.samples.inputs, best, draws, size, phase)

    # Linf

    def _stripes(self, inputs: Tensor, stream: Tensor) -> Tensor:
        channels, width = inputs.shape[1], inputs.shape[3]
        sign = _signs(derive(stream, "start"), channels * width, inputs).view(-1, channels, 1, width)
        return (inputs + self._radius(inputs) * sign).clamp(0, 1)

    def _linf_proposal(self, inputs: Tensor, best: Tensor, draws: Tensor, size: Tensor) -> Tensor:
        """Return the best point, with every channel moved to a random end of its range inside the window.

        The new values do not depend on the current values, because all points lie at the ends of their ranges.
        """
        window = windows(draws, size, inputs, count=1)[0]
        sign = _signs(draws, inputs.shape[1], inputs, first=_SIGNS)[:, :, None, None]
        ends = (inputs + self._radius(inputs) * sign).clamp_(0, 1)
        return torch.lerp(best, ends, window.mask)  # Exact at the weights 0 and 1, and faster than where().

    # L2 and L1

    def _tiles(self, inputs: Tensor, stream: Tensor) -> Tensor:
        batch, channels, height, width = inputs.shape
        side = height // 5
        if side == 0:
            raise ValueError(f"images are {height}×{width}; a start of tiles needs at least five rows.")
        margin = height % 5 // 2
        down, across = height // side, width // side
        row, in_row, tile_row = _grid(height, side, margin, down, inputs.device)
        column, in_column, tile_column = _grid(width, side, margin, across, inputs.device)
        tiles, key = down * max(across, 1), derive(stream, "start")
        eta = pattern(side, self.norm).to(inputs)[row[:, None], column]
        flipped = pattern(side, self.norm).T.to(inputs)[row[:, None], column]
        tile = tile_row[:, None] * across + tile_column  # (H, W)
        flip = (_signs(key, tiles, inputs, first=0) > 0)[:, tile]
        sign = _signs(key, channels * tiles, inputs, first=tiles).view(batch, channels, tiles)[:, :, tile]
        delta = torch.where(flip, flipped, eta)[:, None] * sign * (in_row[:, None] & in_column)
        return self._at_length(inputs, delta)

    def _lp_proposal(self, inputs: Tensor, best: Tensor, draws: Tensor, size: Tensor, phase: Tensor) -> Tensor:
        target, source = windows(draws, size, inputs, count=2)
        both = torch.maximum(target.mask, source.mask)
        delta, channels = best - inputs, inputs.shape[1]
        mass = self._mass(delta)
        most = self.eps if self.norm == "l1" else self.eps**2
        spare = (most - mass.sum((1, 2, 3), keepdim=True)).clamp_min(0) / channels
        length = self._root(spare + _sum(mass * both)) * (channels if self.norm == "l1" else 1)
        sign = _signs(draws, inputs.shape[1], inputs, first=_SIGNS)[:, :, None, None]
        share = target.mask / (self._root(_sum(mass * target.mask)) + _TINY)
        fresh = torch.addcmul(self._placed_pattern(draws, phase, target, inputs) * sign, delta, share)
        fresh *= length / (self._root(_sum(self._mass(fresh))) + _TINY)
        return self._at_length(inputs, torch.addcmul(fresh, delta, 1 - both))

    def _placed_pattern(self, draws: Tensor, phase: Tensor, window: Window, inputs: Tensor) -> Tensor:
        """Return η in the window of each sample and 0 elsewhere, (B, 1, H, W)."""
        height, width = inputs.shape[2:]
        sides = window_sizes(self.norm, self.p_init, height, width)
        table = pattern_table(self.norm, sides, height, width, inputs.dtype, inputs.device)
        which = 2 * phase + (signs(draws, _FLIP) > 0)
        row = (torch.arange(height, device=draws.device) - window.top[:, None]) % height
        column = (torch.arange(width, device=draws.device) - window.left[:, None]) % width
        index = ((which[:, None] * height + row) * width)[:, :, None] + column[:, None, :]
        return table.index_select(0, index.flatten()).view(-1, 1, height, width)

    def _at_length(self, inputs: Tensor, delta: Tensor) -> Tensor:
        if self.norm == "l1":
            return project(inputs + delta, inputs, self._radius(inputs))
        scale = self._radius(inputs) / (delta.square().sum((1, 2, 3), keepdim=True).sqrt() + _TINY)
        return torch.addcmul(inputs, delta, scale).clamp_(0, 1)

    def _mass(self, delta: Tensor) -> Tensor:
        """Return the summands of the length (l1) or of its square (l2), in the shape of ``delta``."""
        return delta.abs() if self.norm == "l1" else delta.square()

    def _root(self, mass: Tensor) -> Tensor:
        return mass if self.norm == "l1" else mass.sqrt()

    def _radius(self, inputs: Tensor) -> float:
        """Return ε minus the largest rounding error of the length of x̂ − x.

        In the box, a unit in the last place (ulp) is at most finfo.eps/2. Linf: half an ulp for the sum and half an ulp
        for the radius itself. L2: half an ulp for every element, doubled, and a few ulps for the sum of squares and the
        scale. L1: half an ulp for every element, and the relative margin of 1e-6 of the authors' program.
        """
        unit = torch.finfo(inputs.dtype).eps
        if self.norm == "linf":
            return max(self.eps - unit / 2, 0.0)
        if self.norm == "l1":
            return max(self.eps * (1 - 1e-6) - unit / 2 * inputs[0].numel(), 0.0)
        return max(self.eps - unit * (math.sqrt(inputs[0].numel()) / 2 + 16 * self.eps), 0.0)


def _grid(length: int, side: int, margin: int, count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the position inside its tile, whether the tile exists, and the tile index of the pixels of a line.

    The line has ``length`` pixels. The first of ``count`` tiles of ``side`` pixels begins after ``margin`` pixels.
    """
    position = torch.arange(length, device=device) - margin
    tile = position.div(side, rounding_mode="floor")
    return position % side, (tile >= 0) & (tile < count), tile.clamp(0, max(count - 1, 0))


def _signs(keys: Tensor, count: int, like: Tensor, *, first: int = 0) -> Tensor:
    """Return random signs (B, count), in the type of ``like``."""
    return signs(keys[:, None], torch.arange(first, first + count, device=keys.device)).to(like.dtype)


def _sum(values: Tensor) -> Tensor:
    """Sum over rows and columns: (B, C, 1, 1)."""
    return values.sum((2, 3), keepdim=True)


def _wide(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def square(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    eps: float = 8 / 255,
    queries: int = SQUARE_QUERIES,
    targets: Tensor | None = None,
    rng: int | SampleRng = 0,
    ids: Ids | None = None,
    batch_size: int = DEFAULT_BATCH,
    query_budget: QueryBudget | None = None,
) -> Tensor:
    """Attack by the Square Attack (Andriushchenko et al. 2020, arXiv 1912.00049): a random search on logits.

    Changes a random square window of the best point so far, and keeps the change if max_{k≠y} z_k − z_y has risen.
    Needs no gradient. One additional forward pass per image ranks its classes.

    Args:
        model: Maps images to logits (N, K). Its mode and weights are not changed.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), integers in 0…K−1.
        norm: "linf", "l2" or "l1"; "l2" and "l1" need images of five rows or more.
        eps: Radius of the ball, in units of [0, 1] pixels.
        queries: Proposals per image.
        targets: Classes (N,) that the model must predict, for the targeted attack.
        rng: Seed of the windows, or a SampleRng.
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
    >>> [int(model(square(model, x, torch.tensor([1]), eps=eps, queries=99)).argmax()) for eps in (0.24, 0.26)]
    [1, 0]
    """
    with attack_call(
        "square", model, inputs, labels, norm=norm, eps=eps, targets=targets, rng=rng, ids=ids, batch_size=batch_size,
        query_budget=query_budget, counts={"queries": queries},
    ) as call:  # fmt: skip
        if norm != "linf" and inputs.shape[2] < 5:
            raise BenchError(f"square needs images of five rows or more for {norm}; these have {inputs.shape[2]}.")
        return call.run(Square(norm=norm, eps=eps, queries=queries, targeted=call.targeted), ranked=True)
