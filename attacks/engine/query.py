"""Query a model at the points of a search, with gradients or without.

Speculative queries: a random search keeps its best point for many proposals in a row, and its next proposal depends
only on the best point and on a counter. So several next proposals are queried in one batch, as if all were rejected.
The search continues from the first accepted proposal, or from the last proposal, and discards the later results. The
path is the same as with one query at a time, but needs fewer batches. The number of discarded passes grows with the
rate of acceptance.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from bench.attacks.engine.search import QueryResult, Search, State, take
from bench.attacks.gradients import differentiate, logits_at


@runtime_checkable
class Speculative(Protocol):
    """A search that can propose its next queries, assuming that the earlier proposals are rejected."""

    def propose_ahead(self, state: Any, count: int) -> Any:
        """Return ``state`` of B samples, followed by the states after 1, 2, … rejected proposals.

        The result has at most ``count``·B rows, ordered by the number of rejected proposals. ``over`` marks queries
        beyond the last query of a sample.
        """

    def keeps_state(self, state: Any, loss: Tensor) -> Tensor:
        """Mark the samples whose proposal is rejected because of its ``loss``, (B,): (B,) bool."""


def query(search: Search, model: nn.Module, state: State) -> QueryResult:
    """Return the logits, the loss and, if the search needs them, the gradients at ``state.points``."""
    return (_forward_and_backward if search.needs_gradient(state).any() else _forward)(search, model, state)


def query_ahead(search: Search, model: nn.Module, state: State, rows: float) -> tuple[State, QueryResult]:
    """Query each sample, with several proposals per sample if they fit in ``rows`` rows.

    Return the state and the result of one query per sample: of the first accepted proposal, or of the last proposal.
    """
    size = len(state.over)
    count = queries_per_sample(search, size, rows)
    if count == 1 or not isinstance(search, Speculative):
        return state, query(search, model, state)
    states = search.propose_ahead(state, count)
    results = query(search, model, states)
    accepted = ~search.keeps_state(states, results.loss) | search.is_adversarial(states, results.logits)
    row = first_row(accepted, states.over, size)
    return take(states, row), QueryResult(*(part[row] for part in results))


def queries_per_sample(search: Search, size: int, rows: float) -> int:
    """Return the number of queries per sample in one batch of ``size`` samples."""
    return max(int(rows) // size, 1) if isinstance(search, Speculative) else 1


def first_row(accepted: Tensor, over: Tensor, size: int) -> Tensor:
    """Return the first row of each of ``size`` samples with an accepted proposal, or its last row: (size,) int64.

    ``accepted`` and ``over``, (count·size,) bool, are ordered as in :meth:`Speculative.propose_ahead`. Rows that are
    over are ignored. The first row of a sample is never over.
    """
    accepts, ends = accepted.view(-1, size), over.view(-1, size)
    stops = accepts | torch.cat((ends[1:], torch.ones_like(ends[:1])))
    return stops.int().argmax(0) * size + torch.arange(size, device=accepted.device)


def _forward_and_backward(search: Search, model: nn.Module, state: State) -> QueryResult:
    result = differentiate(model, state.points, lambda logits: search.loss(state, logits))
    # A channels-last model gives a channels-last gradient. Steps with two memory layouts would be slower.
    return QueryResult(result.logits, result.loss, result.gradient.contiguous())


def _forward(search: Search, model: nn.Module, state: State) -> QueryResult:
    with torch.no_grad():
        logits = logits_at(model, state.points)
        return QueryResult(logits, search.loss(state, logits), torch.zeros_like(state.points))
