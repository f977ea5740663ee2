"""Query a model at the points of a search, with gradients or without.

Speculative queries: a random search keeps its best point for many proposals in a row, and its next proposal depends
only on that point and on a counter. So several next proposals are queried in one batch, as if all were rejected. The
search continues from the first that is accepted, or from the last, and discards the results after it. The path is the
same as with one query at a time, in fewer batches; the number of discarded passes grows with the rate of acceptance.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from bench.attacks.engine.search import QueryResult, Search, State, take
from bench.attacks.gradients import differentiate, logits_at


@runtime_checkable
class Speculative(Protocol):
    """A search that knows its next queries, provided that the results before them change nothing."""

    def propose_ahead(self, state: Any, count: int) -> Any:
        """Return ``state`` of B samples and what it would be after 1, 2, … rejected proposals, ``count``·B rows.

        The rows are ordered by that number, and may be fewer; ``over`` marks queries beyond the last one.
        """

    def keeps_state(self, state: Any, loss: Tensor) -> Tensor:
        """Whether a result with this ``loss``, (B,), rejects the proposal, (B,) bool."""


def query(search: Search, model: nn.Module, state: State) -> QueryResult:
    """Return logits, loss and, if the search needs any, gradients at ``state.points``."""
    return (_forward_and_backward if search.needs_gradient(state).any() else _forward)(search, model, state)


def query_ahead(search: Search, model: nn.Module, state: State, rows: float) -> tuple[State, QueryResult]:
    """Query each sample, several proposals ahead where up to ``rows`` rows allow it.

    Return the result for each sample, and the state that it belongs to: a later one if the results before it changed
    nothing.
    """
    size = len(state.over)
    count = queries_per_sample(search, size, rows)
    if count == 1 or not isinstance(search, Speculative):
        return state, query(search, model, state)
    states = search.propose_ahead(state, count)
    results = query(search, model, states)
    moved = ~search.keeps_state(states, results.loss) | search.is_adversarial(states, results.logits)
    row = first_row(moved, states.over, size)
    return take(states, row), QueryResult(*(part[row] for part in results))


def queries_per_sample(search: Search, size: int, rows: float) -> int:
    """Return the number of queries about each of ``size`` samples in one batch."""
    return max(int(rows) // size, 1) if isinstance(search, Speculative) else 1


def first_row(moved: Tensor, over: Tensor, size: int) -> Tensor:
    """Return the row in which each of ``size`` samples first moves, or its last one that is not over: (size,) int64.

    ``moved`` and ``over``, (count·size,) bool, are ordered as in :meth:`Speculative.propose_ahead`; no first row is
    over.
    """
    moves, ends = moved.view(-1, size), over.view(-1, size)
    stops = moves | torch.cat((ends[1:], torch.ones_like(ends[:1])))
    return stops.int().argmax(0) * size + torch.arange(size, device=moved.device)


def _forward_and_backward(search: Search, model: nn.Module, state: State) -> QueryResult:
    found = differentiate(model, state.points, lambda logits: search.loss(state, logits))
    # A channels-last model gives such a gradient, and every step with two memory layouts would be slower.
    return QueryResult(found.logits, found.loss, found.gradient.contiguous())


def _forward(search: Search, model: nn.Module, state: State) -> QueryResult:
    with torch.no_grad():
        logits = logits_at(model, state.points)
        return QueryResult(logits, search.loss(state, logits), torch.zeros_like(state.points))
