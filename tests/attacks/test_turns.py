"""Questions with and without a gradient take turns, and what becomes of a sample is the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from attacks.active import hunt
from attacks.search import Answer, Samples, State
from attacks.turns import whose_turn

COUNT, QUESTIONS = 5, 8


@pytest.mark.parametrize(
    ("needs", "waiting", "turn"),
    [
        ([1, 1, 1], [0, 0, 0], [1, 1, 1]),
        ([0, 0, 0], [0, 0, 1], [1, 1, 1]),
        ([1, 0, 0], [0, 0, 0], [0, 1, 1]),
        ([1, 1, 0], [0, 0, 0], [1, 1, 0]),
        ([1, 0, 0], [1, 0, 0], [1, 0, 0]),
        ([1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]),
    ],
)
def test_the_larger_kind_is_asked_and_nobody_waits_twice(needs: list[int], waiting: list[int], turn: list[int]) -> None:
    assert whose_turn(torch.tensor(needs).bool(), torch.tensor(waiting).bool()).tolist() == [bool(t) for t in turn]


@dataclass(frozen=True)
class StepState(State):
    question: Tensor  # (B,), from 0
    seen: Tensor  # (B,), the sum of all gradients so far


@dataclass(frozen=True)
class OutOfStep:
    """Every second question wants a gradient: the even samples' first, the odd ones' second. The last one breaks, at
    a point that holds the gradients' sum."""

    attempts: int = 1

    def start(self, samples: Samples, attempt: Tensor) -> StepState:
        zeros = torch.zeros_like(attempt)
        return StepState(samples, samples.inputs, zeros.bool(), zeros, zeros.double())

    def loss(self, state: StepState, logits: Tensor) -> Tensor:
        return logits[:, 0] * (state.question + 1)

    def needs_gradient(self, state: StepState) -> Tensor:
        return (state.question + state.samples.keys) % 2 == 0

    def breaks(self, state: StepState, logits: Tensor) -> Tensor:
        return state.question == QUESTIONS

    def advance(self, state: StepState, answer: Answer) -> StepState:
        wanted = torch.where(self.needs_gradient(state), answer.gradient.flatten(1).sum(1), 0)
        seen = state.seen + wanted
        points = seen.view(-1, 1, 1, 1).expand_as(state.points)
        return replace(state, points=points, question=state.question + 1, seen=seen)


class Sum(nn.Module):
    """Two logits, one of which has the slope 1 in the first pixel; counts its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.batches += 1
        return torch.stack((inputs[:, 0, 0, 0], inputs[:, 0, 0, 1]), dim=1)


def test_searches_that_are_out_of_step_wait_once_and_are_in_step_from_then_on() -> None:
    inputs = torch.zeros(COUNT, 1, 2, 2, dtype=torch.float64)
    labels = torch.zeros(COUNT, dtype=torch.int64)
    samples = Samples(inputs, labels, torch.arange(COUNT), labels[:, None])
    model = Sum()
    found = hunt(OutOfStep(), model, samples, batch_size=COUNT)
    wanted = [sum(q + 1 for q in range(QUESTIONS) if (q + key) % 2 == 0) for key in range(COUNT)]
    assert found.broken.all()
    assert found.adversarial[:, 0, 0, 0].tolist() == wanted
    # Those that waited once come to their end one question after the others.
    assert model.batches == QUESTIONS + 2
