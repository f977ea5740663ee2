"""Shared functions of the attacks that search for the smallest perturbation.

These attacks need no budget. But a cell has a budget ε, and it records only whether an adversarial image within ε was
found. In a cell, the search therefore stops at the first such image. The full search would give the same verdict,
because it keeps the nearest image. :func:`nearest` runs the full search, for measurements of the distance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.attacks.engine.query import query
from bench.attacks.engine.search import QueryResult, Samples, Search, State, take
from bench.attacks.geometry.norms import length
from bench.attacks.gradients import take_logits
from bench.core.errors import CellFailure
from bench.core.specs import Norm
from bench.runtime.interrupt import check_stop


def annealed(first: float, last: float, step: Tensor, steps: int) -> Tensor:
    """Anneal from ``first`` at step 0 to ``last`` at ``steps`` along half a cosine: (B,), float64."""
    return last + (first - last) * (1 + (math.pi / steps * step.double()).cos()) / 2


def farthest(inputs: Tensor, norm: Norm) -> Tensor:
    """Return the largest possible length of a perturbation inside the box [0, 1], (B,)."""
    return length(torch.maximum(inputs, 1 - inputs), norm)


def adversarial_within(state: State, logits: Tensor, norm: Norm, eps: float, *, targeted: bool = False) -> Tensor:
    """Mark ``state.points`` that are adversarial and at most ``eps`` away, (B,) bool."""
    within = length(state.points - state.samples.inputs, norm) <= eps
    return state.samples.fooled(logits, targeted=targeted) & within


class Nearest(NamedTuple):
    """Result of a search for the smallest perturbation."""

    points: Tensor  # (N, C, H, W), the nearest adversarial point, or the clean image if no such point was found
    stopped: Tensor  # (N,), bool: an attempt ended early, at NaN or infinite logits


def nearest(search: Search, model: nn.Module, samples: Samples, *, norm: Norm, targeted: bool = False) -> Nearest:
    """Return the nearest adversarial point of every sample.

    All attempts run to their end, also if ``search`` has a budget. A point is treated as adversarial if the class
    predicted during the search differs from the label or, if ``targeted``, equals the target. The caller must verify
    the result. NaN or infinite logits end the attempt of the affected sample only.
    """
    points, stopped = samples.inputs.clone(), torch.zeros_like(samples.labels, dtype=torch.bool)
    distance = torch.full_like(samples.labels, torch.inf, dtype=torch.float64)
    for attempt in range(search.attempts):
        active = torch.arange(len(samples), device=samples.labels.device)
        state = search.start(samples, torch.full_like(samples.labels, attempt))
        while len(active):
            check_stop()
            result = _query(search, model, state)
            if result is None:
                finite = _finite(model, state.points)
                stopped[active[~finite]] = True
                state, active = take(state, finite.nonzero().squeeze(1)), active[finite]
                continue
            current = length((state.points - state.samples.inputs).double(), norm)
            closer = state.samples.fooled(result.logits, targeted=targeted) & (current < distance[active])
            distance[active[closer]], points[active[closer]] = current[closer], state.points[closer]
            state = search.advance(state, result)
            running = (~state.over).nonzero().squeeze(1)
            if len(running) < len(active):
                state, active = take(state, running), active[running]
    return Nearest(points, stopped)


def _query(search: Search, model: nn.Module, state: State) -> QueryResult | None:
    """Query the model; None if it returns NaN or infinite logits at any point."""
    try:
        return query(search, model, state)
    except CellFailure as failure:
        if failure.reason != "nan_logits" or _finite(model, state.points).all():
            raise
        return None


def _finite(model: nn.Module, points: Tensor) -> Tensor:
    """Mark the points for which all logits are finite, (B,) bool."""
    with torch.no_grad():
        return take_logits(model(points.clone()), points)[0].isfinite().all(1)
