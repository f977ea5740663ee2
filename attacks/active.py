"""The active set: many images are searched at once, and each leaves the moment it is broken.

As a sample's path depends on its own state alone (:mod:`bench.attacks.search`), the places of those that are broken or
have come to their end can be taken by others, and what becomes of a sample does not depend on its neighbours, on their
order or on the size of the batch. Where few are left, the room is for what may turn out to be in vain: later attempts
of a sample beside the present one (:mod:`bench.attacks.agenda`), and questions that a search would ask next if the
answer changed nothing (:mod:`bench.attacks.lookahead`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.attacks.agenda import Agenda, Pair
from bench.attacks.prepared import Confirm, confirmation, search_model, shrinking
from bench.attacks.queries import Meter
from bench.attacks.questions import ask_ahead, questions_each
from bench.attacks.room import NO_ROOM, room_for
from bench.attacks.search import Answer, Samples, Search, State, join, ordinary, take
from bench.attacks.turns import whose_turn
from bench.core.errors import ran_out_of_memory
from bench.runtime.torch_state import harness_torch_state


class Found(NamedTuple):
    """Outcomes of a search: per sample an adversarial image, or the clean image where none was found."""

    adversarial: Tensor  # (N, C, H, W)
    broken: Tensor  # (N,), bool
    batch_size: int  # the one that memory sufficed for
    asked: Tensor  # (N,), int64: questions, counted where there is an allowance
    cut: Tensor  # (N,), bool: not broken when the allowance was used up, and there was more to try


@harness_torch_state()
def hunt(
    search: Search, model: nn.Module, samples: Samples, *, batch_size: int, allowance: Tensor | None = None
) -> Found:
    """Search all samples, at most ``batch_size`` at a time.

    With a :class:`bench.attacks.prepared.Prepared` the search is on its search model, and a sample that the model under
    test does not confirm to be broken goes on. Where memory runs out the batches become smaller: the samples under way
    begin their attempt again, which ends as it would have, and the others stay what they are. ``allowance``, (N,)
    int64, is how often the search may ask about each sample.
    """
    samples = ordinary(samples)
    meter, shrink = Meter(samples.labels, allowance), shrinking(model)
    room = room_for(samples.inputs) if allowance is None else NO_ROOM  # what is in vain would count
    agenda = Agenda(meter.begin(), search.attempts, ahead=room.attempts)
    found = _Findings.of(samples, search.attempts)
    flight: _Flight | None = None
    while agenda:
        step: _Step | None = None
        try:
            flight = _refilled(flight, agenda.begin(batch_size), search, samples)
            step = _step(search, model, flight, rows=min(batch_size, room.questions))
        except Exception as error:
            if shrink is None or not ran_out_of_memory(error):
                raise
        if step is None:  # Outside of the clause above, which keeps alive what the memory was needed for.
            assert shrink is not None
            each = questions_each(search, agenda.rows, min(batch_size, room.questions))
            batch_size = shrink(min(batch_size, agenda.rows * each))  # it may have been fewer: see bench.attacks.turns
            meter.rewind(agenda.restart())
            flight = None
            continue
        flight = _settled(step, agenda, found, meter)
    return Found(found.adversarial, found.broken, batch_size, meter.asked, meter.cut)


@dataclass(frozen=True)
class _Flight:
    """The attempts under way; a sample may have several."""

    state: State
    position: Tensor  # (B,), among all samples
    attempt: Tensor  # (B,)
    waiting: Tensor  # (B,), bool: not asked about in the last batch, see bench.attacks.turns


@dataclass(frozen=True)
class _Step:
    """Outcomes of one batch of queries.

    They are recorded only once all of them are known, as memory may run out before that.
    """

    asked: int  # how many attempts were; they come first in the flight
    points: Tensor  # (A, C, H, W), where they were
    hit: Tensor  # (A,), bool: broken there
    flight: _Flight  # after the answers


@dataclass(frozen=True)
class _Findings:
    """The lowest attempt of each sample that has broken it, as far as is known, and its image."""

    adversarial: Tensor  # (N, C, H, W), the clean image where no attempt has
    attempt: Tensor  # (N,), the number of attempts where none has
    attempts: int

    @classmethod
    def of(cls, samples: Samples, attempts: int) -> _Findings:
        return cls(samples.inputs.clone(), torch.full_like(samples.labels, attempts), attempts)

    @property
    def broken(self) -> Tensor:
        return self.attempt < self.attempts

    def take_down(self, position: Tensor, attempt: Tensor, points: Tensor) -> None:
        """Attempts that have succeeded, (H,); a sample may have several, of which the lowest counts."""
        self.attempt.scatter_reduce_(0, position, attempt, "amin")
        lowest = self.attempt[position] == attempt
        self.adversarial[position[lowest]] = points[lowest]


def _step(search: Search, model: nn.Module, flight: _Flight, *, rows: float) -> _Step:
    turn = whose_turn(search.needs_gradient(flight.state), flight.waiting)
    asked = flight if turn is None else take(flight, _where(turn))
    state, answer = ask_ahead(search, search_model(model), asked.state, rows)
    hit = _hits(search, state, answer, confirmation(model))
    after = replace(asked, state=search.advance(state, answer), waiting=torch.zeros_like(hit))
    if turn is not None:
        others = take(flight, _where(~turn))
        after = join(after, replace(others, waiting=torch.ones_like(others.waiting)))
    return _Step(len(hit), state.points, hit, after)


def _settled(step: _Step, agenda: Agenda, found: _Findings, meter: Meter) -> _Flight | None:
    """Take down what was found, drop what is over or no longer matters, and say what is left."""
    flight = step.flight
    position, attempt, over = (each[: step.asked] for each in (flight.position, flight.attempt, flight.state.over))
    cut = meter.count(position, ~step.hit & (~over | (attempt + 1 < found.attempts)))
    if step.hit.any():
        found.take_down(position[step.hit], attempt[step.hit], step.points[step.hit])
    gone = flight.state.over | (flight.attempt >= found.attempt[flight.position])
    gone[: step.asked] |= cut
    if not gone.any():
        return flight
    for place, end in _pairs(position[step.hit], attempt[step.hit]):
        agenda.close(place, end)
    for place in position[cut].tolist():
        agenda.close(place, 0)
    meter.next_attempt(agenda.ended(_pairs(flight.position[gone], flight.attempt[gone])))
    return None if gone.all() else take(flight, _where(~gone))


def _where(mask: Tensor) -> Tensor:
    return mask.nonzero().squeeze(1)


def _pairs(position: Tensor, attempt: Tensor) -> list[Pair]:
    return list(zip(position.tolist(), attempt.tolist(), strict=True))


def _hits(search: Search, state: State, answer: Answer, confirm: Confirm | None) -> Tensor:
    hit = search.breaks(state, answer.logits)
    if confirm is not None and hit.any():
        hit = hit.clone()
        hit[hit.clone()] = confirm(state.points[hit], state.samples.labels[hit])
    return hit


def _refilled(flight: _Flight | None, begun: list[Pair], search: Search, samples: Samples) -> _Flight:
    if not begun:
        assert flight is not None
        return flight
    position, attempt = torch.tensor(begun, device=samples.labels.device).unbind(1)
    state = search.start(take(samples, position), attempt)
    fresh = _Flight(state, position, attempt, torch.zeros_like(state.over))
    return fresh if flight is None else join(flight, fresh)
