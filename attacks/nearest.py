"""Run a search for the smallest perturbation to its end and return the nearest adversarial image that it visited.

An attack at a budget stops its search at the first adversarial image within ε (:mod:`bench.attacks.minimal`). A
distance needs the whole search.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.attacks.gradients import take_logits
from bench.attacks.norms import length
from bench.attacks.questions import ask
from bench.attacks.search import Answer, Samples, Search, State, take
from bench.core.errors import CellFailure
from bench.core.specs import Norm


class Nearest(NamedTuple):
    """Result of a search for the smallest perturbation."""

    points: Tensor  # (N, C, H, W), the nearest adversarial point; the clean image if none was found
    stopped: Tensor  # (N,), bool: an attempt ended early, at NaN or infinite logits


def nearest(search: Search, model: nn.Module, samples: Samples, *, norm: Norm) -> Nearest:
    """Return the nearest adversarial point of every sample.

    Build ``search`` with a negative ``eps``, so that it does not end early; all its attempts are run. A point counts as
    adversarial if its logits during the search have another argmax than the label; the caller must verify it. NaN or
    infinite logits end the attempt of their sample alone.
    """
    found, stopped = samples.inputs.clone(), torch.zeros_like(samples.labels, dtype=torch.bool)
    distance = torch.full_like(samples.labels, torch.inf, dtype=torch.float64)
    for attempt in range(search.attempts):
        active = torch.arange(len(samples), device=samples.labels.device)
        state = search.start(samples, torch.full_like(samples.labels, attempt))
        while len(active):
            answer = _ask(search, model, state)
            if answer is None:
                finite = _finite(model, state.points)
                stopped[active[~finite]] = True
                state, active = take(state, finite.nonzero().squeeze(1)), active[finite]
                continue
            away = length((state.points - state.samples.inputs).double(), norm)
            closer = (answer.logits.argmax(1) != state.samples.labels) & (away < distance[active])
            distance[active[closer]], found[active[closer]] = away[closer], state.points[closer]
            state = search.advance(state, answer)
            going = (~state.over).nonzero().squeeze(1)
            if len(going) < len(active):
                state, active = take(state, going), active[going]
    return Nearest(found, stopped)


def _ask(search: Search, model: nn.Module, state: State) -> Answer | None:
    """Ask the model; None if it returns NaN or infinite logits at any point."""
    try:
        return ask(search, model, state)
    except CellFailure as failure:
        if failure.reason != "nan_logits" or _finite(model, state.points).all():
            raise
        return None


def _finite(model: nn.Module, points: Tensor) -> Tensor:
    """Whether all logits of a point are finite, (B,) bool."""
    with torch.no_grad():
        return take_logits(model(points.clone()), points)[0].isfinite().all(1)
