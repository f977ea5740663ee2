"""Questions with and without a gradient take turns, and what becomes of a sample is the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from bench.attacks.engine import run_search as active
from bench.attacks.engine.batching import select_kind
from bench.attacks.engine.fast_model import FastModel
from bench.attacks.engine.run_search import run_search
from bench.attacks.engine.scheduler import Scheduler
from bench.attacks.engine.search import QueryResult, Samples, State

COUNT, QUESTIONS = 5, 8


@pytest.mark.parametrize(
    ("needs", "waiting", "turn"),
    [
        ([1, 1, 1], [0, 0, 0], None),
        ([0, 0, 0], [0, 0, 1], None),
        ([1, 0, 0], [0, 0, 0], [0, 1, 1]),
        ([1, 1, 0], [0, 0, 0], [1, 1, 0]),
        ([1, 0, 0], [1, 0, 0], [1, 0, 0]),
        ([1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]),
    ],
)
def test_the_larger_kind_is_asked_and_nobody_waits_twice(
    needs: list[int], waiting: list[int], turn: list[int] | None
) -> None:
    found = select_kind(torch.tensor(needs).bool(), torch.tensor(waiting).bool())
    assert (None if found is None else found.int().tolist()) == turn


@dataclass(frozen=True)
class StepState(State):
    attempt: Tensor  # (B,)
    question: Tensor  # (B,), from 0
    seen: Tensor  # (B,), the sum of all gradients so far


@dataclass(frozen=True)
class OutOfStep:
    """A search whose every second query needs a gradient: the first of even samples, the second of odd ones.

    The last query succeeds at a point that contains the sum of the gradients; with ``late``, it succeeds from the
    attempt ``key % (attempts + 1)`` on.
    """

    attempts: int = 1
    late: bool = False  # whether only some attempts break
    steady: int = 0  # so many samples want a gradient every time

    def start(self, samples: Samples, attempt: Tensor) -> StepState:
        zeros = torch.zeros_like(attempt)
        return StepState(samples, samples.inputs, zeros.bool(), attempt, zeros, zeros.double())

    def loss(self, state: StepState, logits: Tensor) -> Tensor:
        return logits[:, 0] * (state.question + 1)

    def needs_gradient(self, state: StepState) -> Tensor:
        return ((state.question + state.samples.keys) % 2 == 0) | (state.samples.keys < self.steady)

    def is_adversarial(self, state: StepState, logits: Tensor) -> Tensor:
        return (state.question == QUESTIONS) & (state.attempt >= state.samples.keys % (self.attempts + 1) * self.late)

    def advance(self, state: StepState, answer: QueryResult) -> StepState:
        wanted = torch.where(self.needs_gradient(state), answer.gradient.flatten(1).sum(1), 0)
        seen = state.seen + wanted
        points = seen.view(-1, 1, 1, 1).expand_as(state.points)
        question = state.question + 1
        return replace(state, points=points, question=question, seen=seen, over=question > QUESTIONS)


class Sum(nn.Module):
    """Two logits, one of which has the slope 1 in the first pixel.

    Counts its batches. From batch number ``full`` on, only batches of up to ``room`` samples fit into memory.
    """

    def __init__(self, *, full: int = 10**9, room: int = 0) -> None:
        super().__init__()
        self.batches, self.full, self.room, self.failures = 0, full, room, 0

    def forward(self, inputs: Tensor) -> Tensor:
        if self.batches >= self.full and len(inputs) > self.room:
            self.failures += 1
            raise torch.OutOfMemoryError("tried to allocate everything")
        self.batches += 1
        return torch.stack((inputs[:, 0, 0, 0], inputs[:, 0, 0, 1]), dim=1)


def samples() -> Samples:
    inputs, labels = torch.zeros(COUNT, 1, 2, 2, dtype=torch.float64), torch.zeros(COUNT, dtype=torch.int64)
    return Samples(inputs, labels, torch.arange(COUNT), labels[:, None])


@pytest.mark.parametrize("allowance", [None, 0, 3, 12, 20])
@pytest.mark.parametrize("full", [10**9, 0, 2, 5])
def test_waiting_changes_nothing(full: int, allowance: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With several attempts, memory that runs out and searches that are cut; one at a time nobody waits."""
    monkeypatch.setattr(active, "Scheduler", partial(Scheduler, patience=2))
    search = OutOfStep(attempts=3, late=True)
    left = None if allowance is None else torch.full((COUNT,), allowance)
    crowded = Sum(full=full, room=3)
    model = FastModel(crowded, crowded, lambda n: n // 2)
    together = run_search(search, model, samples(), batch_size=12, allowance=left)
    alone = run_search(search, Sum(), samples(), batch_size=1, allowance=left)
    assert (crowded.failures > 0) == (full < crowded.batches)
    for name in ("adversarials", "success", "n_queries", "truncated"):
        assert torch.equal(getattr(together, name), getattr(alone, name)), name


def test_searches_that_are_out_of_step_wait_once_and_are_in_step_from_then_on() -> None:
    model = Sum()
    found = run_search(OutOfStep(), model, samples(), batch_size=COUNT)
    wanted = [sum(q + 1 for q in range(QUESTIONS) if (q + key) % 2 == 0) for key in range(COUNT)]
    assert found.success.all()
    assert found.adversarials[:, 0, 0, 0].tolist() == wanted
    # Those that waited once come to their end one question after the others.
    assert model.batches == QUESTIONS + 2


def test_one_that_asks_otherwise_than_all_others_has_every_second_turn() -> None:
    """Its first question is as theirs; from then on three batches serve two questions of each."""
    model = Sum()
    assert run_search(OutOfStep(steady=COUNT - 1), model, samples(), batch_size=COUNT).success.all()
    assert model.batches == 1 + QUESTIONS // 2 * 3
