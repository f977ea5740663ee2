"""Run a search on many samples at once. Each sample leaves the batch as soon as it is adversarial.

The path of a sample depends only on its own state (:mod:`bench.attacks.engine.search`). So finished samples can be
replaced by others, and the outcome of a sample does not depend on the other samples, on their order or on the batch
size. If few samples remain, the batch is filled with speculative rows of two kinds. The first kind are later attempts
of a sample, in the same batch as its current attempt (:mod:`bench.attacks.engine.scheduler`). The second kind are the
queries that a search would make next if its proposals were rejected (:mod:`bench.attacks.engine.query`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.attacks.engine.batching import NO_SPECULATION, batch_budget, select_kind
from bench.attacks.engine.checkpoint import checkpoint_of
from bench.attacks.engine.fast_model import confirming_model, logits_of, search_model, shrink_function
from bench.attacks.engine.query import queries_per_sample, query_ahead
from bench.attacks.engine.query_budget import QueryMeter
from bench.attacks.engine.scheduler import Pair, Scheduler
from bench.attacks.engine.search import QueryResult, Samples, Search, State, join, take, without_inference_mode
from bench.attacks.engine.search_run import Findings, Flight, SearchResult, SearchRun, saved_result, stored_result
from bench.core.errors import ran_out_of_memory
from bench.runtime.torch_state import harness_torch_state


@harness_torch_state()
def run_search(
    search: Search, model: nn.Module, samples: Samples, *, batch_size: int, allowance: Tensor | None = None
) -> SearchResult:
    """Search all samples, at most ``batch_size`` at a time.

    For a :class:`~bench.attacks.engine.fast_model.FastModel`, the search runs on its search model, and the search of a
    sample continues until the model under test confirms that a point is adversarial. If memory runs out, the batches
    become smaller. The current attempts then start again, with the same outcome, and finished samples do not change.
    ``allowance``, (N,) int64, is the number of queries per sample. If the harness passed a
    :class:`~bench.attacks.engine.checkpoint.Checkpoint` with the model, the state of the search is saved there, and a
    saved state is continued.
    """
    samples, checkpoint = without_inference_mode(samples), checkpoint_of(model)
    saved = checkpoint.begin() if checkpoint is not None else None
    if saved is not None and saved.finished:
        return stored_result(saved, samples)
    meter, shrink = QueryMeter(samples.labels, allowance), shrink_function(model)
    # Speculative queries would use up the allowance.
    budget = batch_budget(samples.inputs) if allowance is None else NO_SPECULATION
    scheduler = Scheduler(meter.begin(), search.attempts, ahead=budget.attempts)
    run = SearchRun(search, samples, scheduler, Findings.of(samples, search.attempts), meter, batch_size)
    if checkpoint is not None and saved is not None and not run.load(saved):
        checkpoint.reject()
    while scheduler:
        if checkpoint is not None and checkpoint.is_due():
            checkpoint.save(run.dump())
        step: _Step | None = None
        try:
            run.flight = _refilled(run.flight, scheduler.begin(run.batch_size), search, samples)
            step = _step(search, model, run.flight, rows=min(run.batch_size, budget.queries))
        except Exception as error:
            if shrink is None or not ran_out_of_memory(error):
                raise
        if step is None:  # outside of the except clause, which keeps the tensors of the failed step alive
            assert shrink is not None
            per_sample = queries_per_sample(search, scheduler.rows, min(run.batch_size, budget.queries))
            # An upper bound of the rows of the failed batch, which may have held one kind of query only.
            run.batch_size = shrink(min(run.batch_size, scheduler.rows * per_sample))
            meter.rewind(scheduler.restart())
            run.flight = None
            continue
        run.flight = _settled(step, scheduler, run.findings, meter)
    result = run.result()
    if checkpoint is not None:
        checkpoint.finish(saved_result(result))
    return result


@dataclass(frozen=True)
class _Step:
    """Outcomes of one batch of queries.

    They are recorded only when all outcomes have been computed, since memory may run out earlier.
    """

    n_queried: int  # number A of queried attempts, which are the first A of the flight
    points: Tensor  # (A, C, H, W), points of the queries
    hit: Tensor  # (A,), bool: the point is adversarial
    flight: Flight  # states after the query


def _step(search: Search, model: nn.Module, flight: Flight, *, rows: float) -> _Step:
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


def _settled(step: _Step, scheduler: Scheduler, findings: Findings, meter: QueryMeter) -> Flight | None:
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


def _refilled(flight: Flight | None, begun: list[Pair], search: Search, samples: Samples) -> Flight:
    """Add the attempts ``begun`` in this batch to the running attempts."""
    if not begun:
        assert flight is not None
        return flight
    position, attempt = torch.tensor(begun, device=samples.labels.device).unbind(1)
    state = search.start(take(samples, position), attempt)
    fresh = Flight(state, position, attempt, torch.zeros_like(state.over))
    return fresh if flight is None else join(flight, fresh)
