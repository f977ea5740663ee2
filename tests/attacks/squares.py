"""Images, states and the published program for tests of the Square Attack."""

from __future__ import annotations

from functools import lru_cache

import torch
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from bench.attacks.engine.search import QueryResult, Samples
from bench.attacks.square_attack import Square, SquareState

NORMS = ("linf", "l2", "l1")
THEIRS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def samples(inputs: Tensor, labels: Tensor | None = None, *, first_key: int = 1) -> Samples:
    count = len(inputs)
    labels = torch.zeros(count, dtype=torch.int64) if labels is None else labels
    keys = (torch.arange(count) + first_key) * 0x1234567
    return Samples(inputs, labels, keys, torch.zeros(count, 2, dtype=torch.int64))


def noise(count: int, height: int = 10, width: int = 10, dtype: torch.dtype = torch.float64) -> Tensor:
    """From wall to wall: a third of the values lie at the walls."""
    generator = torch.Generator().manual_seed(height + width)
    return (torch.rand(count, 3, height, width, generator=generator).double() * 1.5 - 0.25).clamp(0, 1).to(dtype)


def grey(count: int, height: int = 10, width: int = 10) -> Tensor:
    return 0.5 + 0.01 * (noise(count, height, width) - 0.5)


def begun(search: Square, chosen: Samples) -> SquareState:
    return search.start(chosen, torch.zeros_like(chosen.labels))


def told(search: Square, state: SquareState, loss: Tensor | float) -> SquareState:
    """The state after a model of two classes has said that the loss is ``loss``."""
    loss = torch.as_tensor(loss).expand(len(state.points))
    return search.advance(state, QueryResult(torch.stack((-loss, torch.zeros_like(loss)), 1), loss, None))


def published(norm: str, eps: float, queries: int, model: nn.Module | None = None) -> SquareAttack:
    """As the standard version of the authors' AutoAttack calls it."""
    model = model or nn.Sequential(nn.Flatten(), nn.LazyLinear(2, dtype=torch.float64))
    return SquareAttack(model, norm=THEIRS[norm], n_queries=queries, eps=eps, resc_schedule=False)


@lru_cache
def network(classes: int = 5, side: int = 10) -> nn.Module:
    """A small random network, whose classes are equally likely on ``noise``."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        model = nn.Sequential(features, nn.Flatten(), nn.Linear(8 * (side // 2) ** 2, classes)).double().eval()
    model.requires_grad_(False)
    model[-1].bias -= model(noise(64, side, side)).mean(0)
    return model
