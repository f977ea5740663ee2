"""Asking a model about the points of a search: with gradients or without, one question of each sample or several."""

from __future__ import annotations

import torch
from torch import nn

from bench.attacks.gradients import differentiate, logits_at
from bench.attacks.lookahead import Foreseeing, first_row
from bench.attacks.search import Answer, Search, State, take


def ask(search: Search, model: nn.Module, state: State) -> Answer:
    """Logits, loss and, if the search looks at any, gradients at ``state.points``."""
    return (_differentiated if search.needs_gradient(state).any() else _evaluated)(search, model, state)


def ask_ahead(search: Search, model: nn.Module, state: State, rows: float) -> tuple[State, Answer]:
    """An answer about each sample, and the state that it answers: a later one if those before changed nothing.

    Up to ``rows`` questions are asked at once.
    """
    size = len(state.over)
    count = questions_each(search, size, rows)
    if count == 1 or not isinstance(search, Foreseeing):
        return state, ask(search, model, state)
    states = search.foresee(state, count)
    answers = ask(search, model, states)
    moved = ~search.unmoved(states, answers.loss) | search.breaks(states, answers.logits)
    row = first_row(moved, states.over, size)
    return take(states, row), Answer(*(part[row] for part in answers))


def questions_each(search: Search, size: int, rows: float) -> int:
    """Return the number of queries about each of ``size`` samples in one batch."""
    return max(int(rows) // size, 1) if isinstance(search, Foreseeing) else 1


def _differentiated(search: Search, model: nn.Module, state: State) -> Answer:
    found = differentiate(model, state.points, lambda logits: search.loss(state, logits))
    # A model whose channels lie last gives such a gradient, and every step with two layouts would be slower.
    return Answer(found.logits, found.loss, found.gradient.contiguous())


def _evaluated(search: Search, model: nn.Module, state: State) -> Answer:
    with torch.no_grad():
        logits = logits_at(model, state.points)
        return Answer(logits, search.loss(state, logits), torch.zeros_like(state.points))
