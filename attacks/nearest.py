"""Run a search for the smallest perturbation to its end and return the nearest adversarial image that it visited.

An attack at a budget stops its search at the first adversarial image within ε (:mod:`attacks.minimal`). A distance
needs the whole search.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attacks.norms import length
from attacks.questions import ask
from attacks.search import Samples, Search, take
from bench.core.specs import Norm


def nearest(search: Search, model: nn.Module, samples: Samples, *, norm: Norm) -> Tensor:
    """Return the nearest adversarial point of every sample, (N, C, H, W); the clean image if none was found.

    Build ``search`` with a negative ``eps``, so that it does not end early; all its attempts are run. A point counts as
    adversarial if its logits during the search have another argmax than the label; the caller must verify it. Raises
    CellFailure("nan_logits") if the model returns NaN or infinite logits.
    """
    found = samples.inputs.clone()
    distance = torch.full_like(samples.labels, torch.inf, dtype=torch.float64)
    for attempt in range(search.attempts):
        active = torch.arange(len(samples), device=samples.labels.device)
        state = search.start(samples, torch.full_like(samples.labels, attempt))
        while len(active):
            answer = ask(search, model, state)
            away = length((state.points - state.samples.inputs).double(), norm)
            closer = (answer.logits.argmax(1) != state.samples.labels) & (away < distance[active])
            distance[active[closer]], found[active[closer]] = away[closer], state.points[closer]
            state = search.advance(state, answer)
            going = (~state.over).nonzero().squeeze(1)
            if len(going) < len(active):
                state, active = take(state, going), active[going]
    return found
