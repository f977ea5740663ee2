"""Square Attack, Andriushchenko et al. 2020 (arXiv 1912.00049): a random search that asks for logits alone.

The search raises max_{k≠y} logit_k − logit_y from a striped start. Query i changes the best point so far, x̂ = x + δ,
inside a square window of side s_i, and the changed point takes its place if the loss has risen. The share p_i =
s_i²/(HW) of the window is p_init, halved after the queries 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 whatever
the number of queries, as AutoAttack's standard version has it.

Linf: the start is x + ε·u, u a random sign for every channel and column. In the window every channel goes to a random
end of its range, Π(x̂ ± 2ε) = Π(x ± ε), Π the clips to ball and box.

L2: the start is a grid of patterns η, five a side, each with a random sign for every channel, scaled to the length ε.
η, of length 1, is a bump above the negative of one, or the same on its side, at random; a bump is Σ_{k≥d} 1/(k+1)² at
the distance d, in the maximum norm, from its middle. A step moves the length that δ has in two windows, W₁ and W₂,
into W₁, for every channel:

    ν = ±η + δ_{W₁}/‖δ_{W₁}‖,   δ_{W₂} ← 0,   δ_{W₁} ← ν/‖ν‖·√(‖δ_{W₁∪W₂}‖² + max(ε² − ‖δ‖², 0)/C),   δ ← ε·δ/‖δ‖,

and x̂ = x + δ is clipped to the box.

L1, which is in the authors' program alone: as L2 with absolute values for squares and ε for ε², the bumps being
Σ_{k≥d} 1/(k+1)⁴; what a window of a channel receives is multiplied by C, and in the end the exact projection on ball
and box (:mod:`bench.attacks.geometry.l1_ball`) takes the place of the scaling.

Departures from the published program: every sample draws its own window and orientation, where a batch shares them
there, and the draws belong to the sample (see bench.attacks.engine.counter_rng); a point lies within ε in exact
arithmetic too, since the radius falls short of ε by what rounding may add. As there, a window that is smaller than the
image touches neither the last row nor the last column.
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
# What a step draws: two corners of two windows, an orientation, and from here on a sign for every channel.
_FLIP, _SIGNS = 4, 5


@dataclass(frozen=True)
class SquareState(State):
    """The best point so far, and how far along its schedule each sample is."""

    stream: Tensor  # (B,), int64, the keys of this attempt
    step: Tensor  # (B,), int64, windows that were drawn
    best: Tensor  # (B, C, H, W)
    best_loss: Tensor  # (B,), float64; −inf before the first answer


@dataclass(frozen=True)
class Square:
    """The search; see bench.attacks.engine.search. A sample has ``queries`` + 1 queries: the start is not counted."""

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
        return 1

    def start(self, samples: Samples, attempt: Tensor) -> SquareState:
        """Raises ValueError for inputs of another shape or type, and but for Linf for fewer than five rows."""
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
        """max_{k≠y} logit_k − logit_y, (B,); the negative of that of the target in the targeted form."""
        samples = state.samples
        return -margin(logits, samples.targets) if self.targeted else margin(logits, samples.labels)

    def needs_gradient(self, state: SquareState) -> Tensor:
        return torch.zeros_like(state.over)

    def is_adversarial(self, state: SquareState, logits: Tensor) -> Tensor:
        """All points are within the budget."""
        return state.samples.fooled(logits, targeted=self.targeted)

    def advance(self, state: SquareState, answer: QueryResult) -> SquareState:
        """Keep the point if the loss has risen, as it always has at the first adversarial point."""
        loss, better = answer.loss.double(), ~self.keeps_state(state, answer.loss)
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
        """The loss has not risen, see bench.attacks.engine.query."""
        return ~(loss.double() > state.best_loss)

    def propose_ahead(self, state: SquareState, count: int) -> SquareState:
        """Proposals after the present one change the same best point, see bench.attacks.engine.query."""
        size = len(state.over)
        count = min(count, self.queries - int(state.step.min()) + 1)
        if count == 1 or not state.best_loss.isfinite().all():  # the first answer always changes the best point
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
            return self._repainted(state.samples.inputs, best, draws, size)
        return self._transferred(state.samples.inputs, best, draws, size, phase)

    # Linf

    def _stripes(self, inputs: Tensor, stream: Tensor) -> Tensor:
        channels, width = inputs.shape[1], inputs.shape[3]
        sign = _signs(derive(stream, "start"), channels * width, inputs).view(-1, channels, 1, width)
        return (inputs + self._radius(inputs) * sign).clamp(0, 1)

    def _repainted(self, inputs: Tensor, best: Tensor, draws: Tensor, size: Tensor) -> Tensor:
        """All points lie on ends of their ranges, so that the end a window goes to needs no look at where it is."""
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

    def _transferred(self, inputs: Tensor, best: Tensor, draws: Tensor, size: Tensor, phase: Tensor) -> Tensor:
        to, source = windows(draws, size, inputs, count=2)
        both = torch.maximum(to.mask, source.mask)
        delta, channels = best - inputs, inputs.shape[1]
        mass = self._mass(delta)
        most = self.eps if self.norm == "l1" else self.eps**2
        spare = (most - mass.sum((1, 2, 3), keepdim=True)).clamp_min(0) / channels
        length = self._root(spare + _sum(mass * both)) * (channels if self.norm == "l1" else 1)
        sign = _signs(draws, inputs.shape[1], inputs, first=_SIGNS)[:, :, None, None]
        share = to.mask / (self._root(_sum(mass * to.mask)) + _TINY)
        fresh = torch.addcmul(self._placed_pattern(draws, phase, to, inputs) * sign, delta, share)
        fresh *= length / (self._root(_sum(self._mass(fresh))) + _TINY)
        return self._at_length(inputs, torch.addcmul(fresh, delta, 1 - both))

    def _placed_pattern(self, draws: Tensor, phase: Tensor, window: Window, inputs: Tensor) -> Tensor:
        """η in each sample's window and 0 around it, (B, 1, H, W)."""
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
        """Return the terms that add up to the length (l1) or to its square (l2), in the shape of ``delta``."""
        return delta.abs() if self.norm == "l1" else delta.square()

    def _root(self, mass: Tensor) -> Tensor:
        return mass if self.norm == "l1" else mass.sqrt()

    def _radius(self, inputs: Tensor) -> float:
        """ε less what rounding may add to the length of x̂ − x; points lie in the box, where an ulp is ≤ finfo.eps/2.

        Linf: half an ulp for the sum and half a one for the radius itself. L2: half an ulp for every element, doubled,
        and a few for the sum of squares and the scale. L1: half an ulp for every element, and the authors' share.
        """
        unit = torch.finfo(inputs.dtype).eps
        if self.norm == "linf":
            return max(self.eps - unit / 2, 0.0)
        if self.norm == "l1":
            return max(self.eps * (1 - 1e-6) - unit / 2 * inputs[0].numel(), 0.0)
        return max(self.eps - unit * (math.sqrt(inputs[0].numel()) / 2 + 16 * self.eps), 0.0)


def _grid(length: int, side: int, margin: int, count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For places 0…length−1 behind ``margin``: the place in its tile, whether there is a tile, and which."""
    place = torch.arange(length, device=device) - margin
    tile = place.div(side, rounding_mode="floor")
    return place % side, (tile >= 0) & (tile < count), tile.clamp(0, max(count - 1, 0))


def _signs(keys: Tensor, count: int, like: Tensor, *, first: int = 0) -> Tensor:
    """(B, count), the type of ``like``."""
    return signs(keys[:, None], torch.arange(first, first + count, device=keys.device)).to(like.dtype)


def _sum(values: Tensor) -> Tensor:
    """Over rows and columns: (B, C, 1, 1)."""
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
    """Attack by the Square Attack (Andriushchenko et al. 2020, arXiv 1912.00049): random search on logits alone.

    Changes a random square window of the best point so far, and keeps the change if max_{k≠y} z_k − z_y has risen.
    Needs no gradient. One further forward pass per image is made on the clean image.

    Args:
        model: Maps images to logits (N, K). Its mode and its weights stay as they are.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), whole numbers in 0…K−1.
        norm: "linf", "l2" or "l1"; but for "linf" images need five rows or more.
        eps: Radius of the ball, in units of [0, 1] pixels.
        queries: Proposals per image.
        targets: Classes (N,) that the model shall predict, for the targeted form.
        rng: Seed of the windows, or a SampleRng.
        ids: Names of the images, on which the random draws depend; 0…N−1 by default.
        batch_size: Images per batch; it does not change the result.
        query_budget: Bound on the forward passes per image.

    Returns:
        Images (N, C, H, W) in the ball and in [0, 1]; the clean image where no adversarial one was found.

    Raises:
        BenchError: If an argument does not fit.

    A linear model has its boundary at the distance margin/‖w‖₁:

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
