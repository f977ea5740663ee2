"""The active set: many images are searched at once, and each leaves the moment it is broken.

As a sample's path depends on its own state alone (:mod:`attacks.search`), the places of those that are broken or have
come to their end can be taken by others, and what becomes of a sample does not depend on its neighbours, on their order
or on the size of the batch. Where few are left, the room is for what may turn out to be in vain: later attempts of a
sample beside the present one (:mod:`attacks.agenda`), and questions that a search would ask next if the answer changed
nothing (:mod:`attacks.lookahead`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attacks.agenda import Agenda, Pair
from attacks.gradients import gradient_of, logits_at
from attacks.lookahead import Foreseeing, first_row
from attacks.prepared import Confirm, confirmation, search_model, shrinking
from attacks.queries import Meter
from attacks.room import NO_ROOM, room_for
from attacks.search import Answer, Samples, Search, State, join, take
from attacks.turns import whose_turn
from bench.core.errors import ran_out_of_memory


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
    meter, shrink = Meter(samples.labels, allowance), shrinking(model)
    room = room_for(samples.inputs) if allowance is None else NO_ROOM  # what is in vain would count
    agenda = Agenda(meter.begin(), search.attempts, ahead=room.attempts)
    found = _Findings.of(samples, search.attempts)
    flight: _Flight | None = None
    while agenda:
        step: _Step | None = None
        try:
            flight = _refilled(flight, agenda.begin(batch_size), search, samples)
            step = _step(search, model, flight, meter, rows=min(batch_size, room.questions))
        except Exception as error:
            if shrink is None or not ran_out_of_memory(error):
                raise
        if step is None:  # Outside of the clause above, which keeps alive what the memory was needed for.
            assert shrink is not None
            depth = _depth(search, agenda.rows, min(batch_size, room.questions))
            batch_size = shrink(min(batch_size, agenda.rows * depth))
            meter.rewind(agenda.restart())
            flight = None
            continue
        flight = _settled(step, agenda, found, meter)
    return Found(found.adversarial, found.broken, batch_size, meter.asked, meter.cut)


def ask(search: Search, model: nn.Module, state: State) -> Answer:
    """Logits, loss and, if the search looks at any, gradients at ``state.points``."""
    return (_differentiated if search.needs_gradient(state).any() else _evaluated)(search, model, state)


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
    """The attempts under way; a sample may have several."""

    state: State
    position: Tensor  # (B,), among all samples
    attempt: Tensor  # (B,)
    waiting: Tensor  # (B,), bool: not asked about in the last batch, see attacks.turns


@dataclass(frozen=True)
class _Step:
    """What a batch of questions brought. Nothing is taken down before all of it is there."""

    points: Tensor  # (A, C, H, W), what was asked about
    hit: Tensor  # (H,), int64: which were broken by it
    cut: Tensor  # (C,), int64: which were not, and have no allowance left
    flight: _Flight  # after the answers; those that were asked about come first


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


def _step(search: Search, model: nn.Module, flight: _Flight, meter: Meter, *, rows: float) -> _Step:
    turn = whose_turn(search.needs_gradient(flight.state), flight.waiting)
    asked = flight if turn.all() else take(flight, _where(turn))
    state, answer = _asked(search, search_model(model), asked.state, rows)
    hit = _hits(search, state, answer, confirmation(model))
    after = replace(asked, state=search.advance(state, answer), waiting=torch.zeros_like(hit))
    more = asked.attempt + 1 < search.attempts
    cut = meter.count(asked.position, ~hit & (~after.state.over | more))
    if not turn.all():
        others = take(flight, _where(~turn))
        after = join(after, replace(others, waiting=torch.ones_like(others.waiting)))
    return _Step(state.points, _where(hit), _where(cut), after)


def _asked(search: Search, model: nn.Module, state: State, rows: float) -> tuple[State, Answer]:
    """An answer about each sample, and the state that it answers: a later one if those before changed nothing."""
    size = len(state.over)
    depth = _depth(search, size, rows)
    if depth == 1 or not isinstance(search, Foreseeing):
        return state, ask(search, model, state)
    states = search.foresee(state, depth)
    answers = ask(search, model, states)
    moved = ~search.unmoved(states, answers.loss) | search.breaks(states, answers.logits)
    row = first_row(moved, states.over, size)
    return take(states, row), Answer(*(part[row] for part in answers))


def _depth(search: Search, size: int, rows: float) -> int:
    """How many questions about each of ``size`` samples are asked at once."""
    return max(int(rows) // size, 1) if isinstance(search, Foreseeing) else 1


def _settled(step: _Step, agenda: Agenda, found: _Findings, meter: Meter) -> _Flight | None:
    """Take down what was found, drop what is over or no longer matters, and say what is left."""
    flight, hit = step.flight, step.hit
    if len(hit):
        found.take_down(flight.position[hit], flight.attempt[hit], step.points[hit])
    gone = flight.state.over | (flight.attempt >= found.attempt[flight.position])
    gone[step.cut] = True
    if not gone.any():
        return flight
    for position, end in _pairs(flight.position[hit], flight.attempt[hit]):
        agenda.close(position, end)
    for position in flight.position[step.cut].tolist():
        agenda.close(position, 0)
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
