"""The active set: many images are searched at once, and each leaves the moment it is broken.

A :class:`Search` is a state machine for one sample, written for a batch of them: it names a point to ask the model
about, is told the answer, and names the next. As a sample's path depends on its own state alone, the places of those
that are broken or have come to their end can be taken by others, and what becomes of a sample does not depend on its
neighbours, on their order or on the size of the batch.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from attacks.gradients import gradient_of, logits_at
from attacks.prepared import Confirm, confirmation, search_model, shrinking
from attacks.queries import Meter
from bench.core.errors import ran_out_of_memory


@dataclass(frozen=True)
class Samples:
    """What is attacked. ``ranking`` are the classes by falling logit of the clean image."""

    inputs: Tensor  # (N, C, H, W), in [0, 1]
    labels: Tensor  # (N,), int64
    keys: Tensor  # (N,), int64, see attacks.counter
    ranking: Tensor  # (N, K), int64

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class State:
    """Where a search stands; every field of it and of its subclasses is a tensor that begins with the sample."""

    samples: Samples
    points: Tensor  # (B, C, H, W), what to ask the model about
    over: Tensor  # (B,), bool: there is nothing left to ask


class Answer(NamedTuple):
    """What the model says about ``state.points``."""

    logits: Tensor  # (B, K)
    loss: Tensor  # (B,)
    gradient: Tensor  # (B, C, H, W), of the loss; 0 where the search did not ask for it


class Search(Protocol):
    """One attack as a state machine; all methods are pure."""

    @property
    def attempts(self) -> int:
        """How often a sample may start: restarts, or target classes."""

    def start(self, samples: Samples, attempt: Tensor) -> State:
        """The states of samples that begin their ``attempt``, (B,) int64 from 0."""

    def loss(self, state: Any, logits: Tensor) -> Tensor:
        """What is to rise, (B,)."""

    def needs_gradient(self, state: Any) -> Tensor:
        """Where the gradient of the loss at ``state.points`` will be looked at, (B,) bool."""

    def breaks(self, state: Any, logits: Tensor) -> Tensor:
        """Whether ``state.points`` are adversarial and allowed, (B,) bool."""

    def advance(self, state: Any, answer: Answer) -> State:
        """The states after the answer, with the points to ask about next."""


T = TypeVar("T")


class Found(NamedTuple):
    """What became of the samples; an adversarial image is the clean one where the sample is not broken."""

    adversarial: Tensor  # (N, C, H, W)
    broken: Tensor  # (N,), bool
    batch_size: int  # the one that memory sufficed for
    asked: Tensor  # (N,), int64: questions, counted where there is an allowance
    cut: Tensor  # (N,), bool: not broken when the allowance was used up, and there was more to try


def hunt(
    search: Search, model: nn.Module, samples: Samples, *, batch_size: int, allowance: Tensor | None = None
) -> Found:
    """Search all samples, at most ``batch_size`` at a time.

    With a :class:`attacks.prepared.Prepared` the search is on its search model, and a sample that the model under test
    does not confirm to be broken goes on. Where memory runs out the batches become smaller: the samples under way begin
    their attempt again, which ends as it would have, and the others stay what they are. ``allowance``, (N,) int64, is
    how often the search may ask about each sample.
    """
    adversarial, broken = samples.inputs.clone(), torch.zeros_like(samples.labels, dtype=torch.bool)
    meter, shrink = Meter(samples.labels, allowance), shrinking(model)
    waiting = deque((position, 0) for position in meter.begin())
    flight: _Flight | None = None
    while waiting or flight is not None:
        step: _Step | None = None
        try:
            flight = _refilled(flight, waiting, search, samples, batch_size)
            step = _step(search, model, flight, meter)
        except Exception as error:
            if shrink is None or not ran_out_of_memory(error):
                raise
        if step is None:  # Outside of the clause above, which keeps alive what the memory was needed for.
            assert shrink is not None
            waiting.extendleft(reversed(_begun(flight)))
            meter.rewind([position for position, _ in _begun(flight)])
            flight = None
            batch_size = shrink(min(batch_size, len(waiting)))
            continue
        adversarial[step.hits], broken[step.hits] = step.points, True
        waiting.extend(step.again)
        meter.next_attempt([position for position, _ in step.again])
        flight = step.flight
    return Found(adversarial, broken, batch_size, meter.asked, meter.cut)


def ask(search: Search, model: nn.Module, state: State) -> Answer:
    """Logits, loss and, where the search looks at it, gradient at ``state.points``."""
    needs = search.needs_gradient(state)
    if needs.all():
        return _differentiated(search, model, state)
    if not needs.any():
        return _evaluated(search, model, state)
    sloping, level = needs.nonzero().squeeze(1), (~needs).nonzero().squeeze(1)
    parts = _differentiated(search, model, take(state, sloping)), _evaluated(search, model, take(state, level))
    back = torch.cat((sloping, level)).argsort()
    return Answer(*(torch.cat(pair)[back] for pair in zip(*parts, strict=True)))


def _differentiated(search: Search, model: nn.Module, state: State) -> Answer:
    points = state.points.detach().requires_grad_()
    with torch.enable_grad():
        logits = logits_at(model, points)
        loss = search.loss(state, logits)
    # A model whose channels lie last gives such a gradient, and every step with two layouts would be slower.
    return Answer(logits.detach(), loss.detach(), gradient_of(loss.sum(), points).contiguous())


def _evaluated(search: Search, model: nn.Module, state: State) -> Answer:
    with torch.no_grad():
        logits = logits_at(model, state.points)
        return Answer(logits, search.loss(state, logits), torch.zeros_like(state.points))


@dataclass(frozen=True)
class _Flight:
    """The samples whose search is under way."""

    state: State
    position: Tensor  # (B,), among all samples
    attempt: Tensor  # (B,)


@dataclass(frozen=True)
class _Step:
    """What one question brought. Nothing is taken down before all of it is there."""

    hits: Tensor  # (H,), positions of the samples that are broken
    points: Tensor  # (H, C, H, W), by what
    again: list[tuple[int, int]]  # position and attempt of those that have another one
    flight: _Flight | None


def _step(search: Search, model: nn.Module, flight: _Flight, meter: Meter) -> _Step:
    answer = ask(search, search_model(model), flight.state)
    hit = _hits(search, flight.state, answer, confirmation(model))
    after = _Flight(search.advance(flight.state, answer), flight.position, flight.attempt)
    over, more = after.state.over, flight.attempt + 1 < search.attempts
    cut = meter.count(flight.position, ~hit & (~over | more))
    again = over & ~hit & more & ~cut
    pairs = zip(flight.position[again].tolist(), (flight.attempt[again] + 1).tolist(), strict=True)
    left = _remaining(after, ~(hit | over | cut))
    return _Step(flight.position[hit], flight.state.points[hit], list(pairs), left)


def _begun(flight: _Flight | None) -> list[tuple[int, int]]:
    return [] if flight is None else list(zip(flight.position.tolist(), flight.attempt.tolist(), strict=True))


def _hits(search: Search, state: State, answer: Answer, confirm: Confirm | None) -> Tensor:
    hit = search.breaks(state, answer.logits)
    if confirm is not None and hit.any():
        hit = hit.clone()
        hit[hit.clone()] = confirm(state.points[hit], state.samples.labels[hit])
    return hit


def _refilled(
    flight: _Flight | None, waiting: deque[tuple[int, int]], search: Search, samples: Samples, batch_size: int
) -> _Flight:
    room = min(len(waiting), batch_size - (0 if flight is None else len(flight.position)))
    if not room and flight is not None:
        return flight
    chosen = list(islice(waiting, room))
    position, attempt = torch.tensor(chosen, device=samples.labels.device).unbind(1)
    fresh = _Flight(search.start(take(samples, position), attempt), position, attempt)
    filled = fresh if flight is None else _zipped(flight, fresh, lambda a, b: torch.cat((a, b)))
    for _ in chosen:  # not before memory has sufficed for their states
        waiting.popleft()
    return filled


def _remaining(flight: _Flight, keep: Tensor) -> _Flight | None:
    if keep.all():
        return flight
    return take(flight, keep.nonzero().squeeze(1)) if keep.any() else None


def take(tree: T, index: Tensor) -> T:
    """The samples at ``index`` of a dataclass whose leaves are tensors that begin with the sample."""
    return _zipped(tree, tree, lambda a, _: a[index])


def choose(mask: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """``one`` of the samples where ``mask``, (B,) bool, is true and ``other`` elsewhere; copied only if both occur."""
    if mask.all():
        return one
    return torch.where(mask.view(-1, *[1] * (one.ndim - 1)), one, other) if mask.any() else other


def _zipped(one: T, other: T, combine: Callable[[Tensor, Tensor], Tensor]) -> T:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(one):  # type: ignore[arg-type]
        a, b = getattr(one, field.name), getattr(other, field.name)
        changes[field.name] = combine(a, b) if isinstance(a, Tensor) else _zipped(a, b, combine)
    return dataclasses.replace(one, **changes)  # type: ignore[type-var]
