"""Run a search on many samples at once. Each sample leaves the batch as soon as it is adversarial.

The path of a sample depends only on its own state (:mod:`bench.attacks.engine.search`). So finished samples can be
replaced by others, and the outcome of a sample does not depend on the other samples, on their order or on the batch
size. If few samples remain, the batch is filled with speculative rows of two kinds. The first kind are later attempts
of a sample, in the same batch as its current attempt (:mod:`bench.attacks.engine.scheduler`). The second kind are the
queries that a search would make next if its proposals were rejected (:mod:`bench.attacks.engine.query`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.attacks.engine.batching import NO_SPECULATION, batch_budget, select_kind
from bench.attacks.engine.fast_model import confirming_model, logits_of, search_model, shrink_function
from bench.attacks.engine.query import queries_per_sample, query_ahead
from bench.attacks.engine.query_budget import QueryMeter
from bench.attacks.engine.scheduler import Pair, Scheduler
from bench.attacks.engine.search import QueryResult, Samples, Search, State, join, take, without_inference_mode
from bench.core.errors import ran_out_of_memory
from bench.runtime.torch_state import harness_torch_state


class SearchResult(NamedTuple):
    """Outcomes of a search: for each sample an adversarial image, or the clean image if none was found."""

    adversarials: Tensor  # (N, C, H, W)
    success: Tensor  # (N,), bool
    batch_size: int  # possibly reduced after running out of memory
    n_queries: Tensor  # (N,), int64, counted only with an allowance
    truncated: Tensor  # (N,), bool: the allowance ended the search early and without success


@harness_torch_state()
def run_search(
    search: Search, model: nn.Module, samples: Samples, *, batch_size: int, allowance: Tensor | None = None
) -> SearchResult:
    """Search all samples, at most ``batch_size`` at a time.

    For a :class:`~bench.attacks.engine.fast_model.FastModel`, the search runs on its search model, and the search of a
    sample continues until the model under test confirms that a point is adversarial. If memory runs out, the batches
    become smaller. The current attempts then start again, with the same outcome, and finished samples do not change.
    ``allowance``, (N,) int64, is the number of queries per sample.
    """
    samples = without_inference_mode(samples)
    meter, shrink = QueryMeter(samples.labels, allowance), shrink_function(model)
    # Speculative queries would use up the allowance.
    budget = batch_budget(samples.inputs) if allowance is None else NO_SPECULATION
    scheduler = Scheduler(meter.begin(), search.attempts, ahead=budget.attempts)
    findings = _Findings.of(samples, search.attempts)
    flight: _Flight | None = None
    while scheduler:
        step: _Step | None = None
        try:
            flight = _refilled(flight, scheduler.begin(batch_size), search, samples)
            step = _step(search, model, flight, rows=min(batch_size, budget.queries))
        except Exception as error:
            if shrink is None or not ran_out_of_memory(error):
                raise
        if step is None:  # outside of the except clause, which keeps the tensors of the failed step alive
            assert shrink is not None
            per_sample = queries_per_sample(search, scheduler.rows, min(batch_size, budget.queries))
            batch_size = shrink(min(batch_size, scheduler.rows * per_sample))  # upper bound: one kind of query only
            meter.rewind(scheduler.restart())
            flight = None
            continue
        flight = _settled(step, scheduler, findings, meter)
    return SearchResult(findings.adversarials, findings.success, batch_size, meter.n_queries, meter.truncated)


@dataclass(frozen=True)
class _Flight:
    """The running attempts. A sample may have several attempts."""

    state: State
    position: Tensor  # (B,), position of the sample among all samples
    attempt: Tensor  # (B,)
    waiting: Tensor  # (B,), bool: not queried in the last batch, see bench.attacks.engine.batching


@dataclass(frozen=True)
class _Step:
    """Outcomes of one batch of queries.

    They are recorded only when all outcomes have been computed, since memory may run out earlier.
    """

    n_queried: int  # number A of queried attempts, which are the first in the flight
    points: Tensor  # (A, C, H, W), points of the queries
    hit: Tensor  # (A,), bool: the point is adversarial
    flight: _Flight  # states after the query


@dataclass(frozen=True)
class _Findings:
    """The lowest successful attempt of each sample so far, and its adversarial image."""

    adversarials: Tensor  # (N, C, H, W), the clean image if no attempt has succeeded
    attempt: Tensor  # (N,), lowest successful attempt; the number of attempts if none has succeeded
    attempts: int

    @classmethod
    def of(cls, samples: Samples, attempts: int) -> _Findings:
        return cls(samples.inputs.clone(), torch.full_like(samples.labels, attempts), attempts)

    @property
    def success(self) -> Tensor:
        return self.attempt < self.attempts

    def record(self, position: Tensor, attempt: Tensor, points: Tensor) -> None:
        """Record successful attempts, (H,). If a sample has several successes, the lowest attempt is kept."""
        self.attempt.scatter_reduce_(0, position, attempt, "amin")
        lowest = self.attempt[position] == attempt
        self.adversarials[position[lowest]] = points[lowest]


def _step(search: Search, model: nn.Module, flight: _Flight, *, rows: float) -> _Step:
    """Query one batch and advance its samples. All other samples wait."""
    kind = select_kind(search.needs_gradient(flight.state), flight.waiting)
    queried = flight if kind is None else take(flight, _where(kind))
    state, result = query_ahead(search, search_model(model), queried.state, rows)
    hit = _hits(search, state, result, confirming_model(model))
    after = replace(queried, state=search.advance(state, result), waiting=torch.zeros_like(hit))
    if kind is not None:
        others = take(flight, _where(~kind))
        after = join(after, replace(others, waiting=torch.ones_like(others.waiting)))
    return _Step(len(hit), state.points, hit, after)


def _settled(step: _Step, scheduler: Scheduler, findings: _Findings, meter: QueryMeter) -> _Flight | None:
    """Record successes, drop attempts that are over or superseded, and return the remaining attempts."""
    flight = step.flight
    position, attempt, over = (x[: step.n_queried] for x in (flight.position, flight.attempt, flight.state.over))
    cut = meter.count(position, ~step.hit & (~over | (attempt + 1 < findings.attempts)))
    if step.hit.any():
        findings.record(position[step.hit], attempt[step.hit], step.points[step.hit])
    dropped = flight.state.over | (flight.attempt >= findings.attempt[flight.position])
    dropped[: step.n_queried] |= cut
    if not dropped.any():
        return flight
    for index, end in _pairs(position[step.hit], attempt[step.hit]):
        scheduler.close(index, end)
    for index in position[cut].tolist():
        scheduler.close(index, 0)
    meter.next_attempt(scheduler.ended(_pairs(flight.position[dropped], flight.attempt[dropped])))
    return None if dropped.all() else take(flight, _where(~dropped))


def _where(mask: Tensor) -> Tensor:
    return mask.nonzero().squeeze(1)


def _pairs(position: Tensor, attempt: Tensor) -> list[Pair]:
    return list(zip(position.tolist(), attempt.tolist(), strict=True))


def _hits(search: Search, state: State, result: QueryResult, model: nn.Module | None) -> Tensor:
    """Mark adversarial points, (B,) bool. Points of a search model must also be adversarial for ``model``."""
    hit = search.is_adversarial(state, result.logits)
    if model is not None and hit.any():
        hit, proposed = hit.clone(), take(state, _where(hit))
        hit[hit.clone()] = search.is_adversarial(proposed, logits_of(model, proposed.points))
    return hit


def _refilled(flight: _Flight | None, begun: list[Pair], search: Search, samples: Samples) -> _Flight:
    """Add the attempts ``begun`` in this batch to the running attempts."""
    if not begun:
        assert flight is not None
        return flight
    position, attempt = torch.tensor(begun, device=samples.labels.device).unbind(1)
    state = search.start(take(samples, position), attempt)
    fresh = _Flight(state, position, attempt, torch.zeros_like(state.over))
    return fresh if flight is None else join(flight, fresh)
