"""Attempts and proposals side by side end where one after the other would, in fewer batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial

import pytest
import torch
from torch import Tensor, nn

from bench.attacks.apgd_attack import Apgd
from bench.attacks.engine import run_search as active
from bench.attacks.engine.batching import NO_SPECULATION, batch_budget
from bench.attacks.engine.fast_model import FastModel
from bench.attacks.engine.query import first_row
from bench.attacks.engine.run_search import SearchResult, run_search
from bench.attacks.engine.scheduler import Scheduler
from bench.attacks.engine.search import QueryResult, Samples, Search, State
from bench.attacks.fab_attack import TargetedFab
from bench.attacks.square_attack import Square

COUNT, SIDE, CLASSES = 8, 6, 6


class Net(nn.Module):
    """A small convolutional net in float64 that counts its batches. ``off`` shifts the logits, as another net would."""

    def __init__(self, off: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(72, CLASSES)
            )
        self.double().requires_grad_(False)
        self.off = off
        self.batches = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.batches += 1
        logits: Tensor = self.layers(inputs)
        return logits + self.off * torch.sin(40 * logits)


@cache
def samples() -> Samples:
    inputs = torch.rand(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    logits = Net()(inputs)
    return Samples(inputs, logits.argmax(1), torch.arange(COUNT) * 7919, logits.argsort(1, descending=True))


SEARCHES: dict[str, Search] = {
    "apgd-t": Apgd(norm="linf", eps=0.018, objective="dlr-targeted", steps=8, attempts=5),
    "apgd restarts": Apgd(norm="l2", eps=0.1, objective="ce", steps=5, attempts=6),
    "fab-t": TargetedFab(norm="l2", eps=0.12, n_iter=12, attempts=5),
    "square linf": Square("linf", 0.025, queries=70),
    "square l2": Square("l2", 0.3, queries=70),
    "square l1": Square("l1", 3.0, queries=70),
}


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The searches here are shorter than it is."""
    monkeypatch.setattr(active, "Scheduler", partial(Scheduler, patience=0))


def searched(name: str, *, batch_size: int, lying: bool = False) -> tuple[SearchResult, int]:
    """Return the outcomes of a search, and the number of batches that it took."""
    net, judge = Net(), Net(off=0.05)
    model = FastModel(judge, net) if lying else net
    return run_search(SEARCHES[name], model, samples(), batch_size=batch_size), net.batches


@cache
def one_by_one(name: str, lying: bool) -> tuple[SearchResult, int]:
    return searched(name, batch_size=1, lying=lying)


@pytest.mark.parametrize(
    ("name", "batch_size", "lying"),
    [
        *[(name, 200, False) for name in SEARCHES],
        *[(name, 20, True) for name in ("apgd restarts", "fab-t", "square linf")],
    ],
)
def test_the_images_are_those_of_one_after_the_other(name: str, batch_size: int, lying: bool) -> None:
    """With a search model that the model under test does not always confirm, too."""
    together, _ = searched(name, batch_size=batch_size, lying=lying)
    alone, _ = one_by_one(name, lying)
    assert 0 < int(alone.success.sum()) < COUNT
    assert torch.equal(together.success, alone.success)
    assert torch.allclose(together.adversarials, alone.adversarials, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "share"), [("apgd-t", 5), ("apgd restarts", 6), ("square linf", 3), ("square l2", 3)])
def test_a_batch_with_room_ends_sooner(name: str, share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A survivor's attempts fit into one flight; of proposals those after the first that is accepted are in vain."""
    _, batches = searched(name, batch_size=400)
    monkeypatch.setattr(active, "batch_budget", lambda _: NO_SPECULATION)
    _, without = searched(name, batch_size=400)
    assert batches * share <= without * 1.2


@dataclass(frozen=True)
class LateState(State):
    attempt: Tensor  # (B,)
    question: Tensor  # (B,), from 1


@dataclass(frozen=True)
class Late:
    """Attempt a breaks its sample with question ``when[a]``, by painting the image in the colour a/10."""

    when: tuple[int, ...]

    @property
    def attempts(self) -> int:
        return len(self.when)

    def start(self, samples: Samples, attempt: Tensor) -> LateState:
        points = (attempt.double() / 10).view(-1, 1, 1, 1).expand_as(samples.inputs)
        return LateState(samples, points, torch.zeros_like(attempt).bool(), attempt, torch.ones_like(attempt))

    def loss(self, state: LateState, logits: Tensor) -> Tensor:
        return logits[:, 0]

    def needs_gradient(self, state: LateState) -> Tensor:
        return torch.zeros_like(state.over)

    def is_adversarial(self, state: LateState, logits: Tensor) -> Tensor:
        return state.question == torch.tensor(self.when)[state.attempt]

    def advance(self, state: LateState, answer: QueryResult) -> LateState:
        return replace(state, question=state.question + 1)


@pytest.mark.parametrize(("when", "batches"), [((4, 3, 2, 1), 4), ((2, 9, 9, 9), 2)])
def test_the_lowest_attempt_counts_and_those_above_it_are_called_off(when: tuple[int, ...], batches: int) -> None:
    net = Net()
    found = run_search(Late(when), net, samples(), batch_size=4 * COUNT)
    assert found.success.all()
    assert torch.equal(found.adversarials, torch.zeros_like(found.adversarials))
    assert net.batches == batches


def test_rows() -> None:
    """Three samples, four rows: the first moves in row 1, the second never, the third is over after row 2."""
    moved = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]]).bool().flatten()
    over = torch.tensor([[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]).bool().flatten()
    assert first_row(moved, over, 3).tolist() == [1 * 3 + 0, 3 * 3 + 1, 2 * 3 + 2]


def test_first_attempts_of_all_come_before_second_ones_of_any() -> None:
    agenda = Scheduler([4, 7, 9], attempts=2, ahead=5, patience=0)
    assert agenda.begin(2) == [(4, 0), (7, 0)]
    assert agenda.begin(5) == [(9, 0), (4, 1), (7, 1)]
    assert agenda.rows == 5


def test_what_may_be_in_vain_fills_no_more_than_it_is_allowed_to() -> None:
    agenda = Scheduler(range(3), attempts=9, ahead=4, patience=0)
    assert len(agenda.begin(64)) == 4
    agenda = Scheduler(range(6), attempts=9, ahead=4, patience=0)
    assert len(agenda.begin(64)) == 6


def test_a_sample_waits_again_when_its_last_attempt_under_way_is_over() -> None:
    agenda = Scheduler([3], attempts=3, ahead=2, patience=0)
    assert agenda.begin(8) == [(3, 0), (3, 1)]
    assert agenda.ended([(3, 0)]) == []
    assert agenda.begin(8) == [(3, 2)]
    assert agenda.ended([(3, 2)]) == []
    assert agenda.ended([(3, 1)]) == []
    assert not agenda


def test_an_attempt_ahead_begins_when_the_first_has_stood_for_some_turns() -> None:
    agenda = Scheduler([3, 5], attempts=4, ahead=4, patience=2)
    assert agenda.begin(1) == [(3, 0)]
    assert agenda.begin(8) == [(5, 0)]
    assert agenda.begin(3) == [(3, 1)]
    assert agenda.begin(8) == [(3, 2)]
    assert agenda.ended([(3, 0), (3, 1)]) == []
    assert agenda.begin(4) == [(3, 3), (5, 1)]


def test_without_room_ahead_attempts_follow_each_other() -> None:
    agenda = Scheduler([3], attempts=2, ahead=0, patience=0)
    assert agenda.begin(8) == [(3, 0)]
    assert agenda.begin(8) == []
    assert agenda.ended([(3, 0)]) == [3]
    assert agenda.begin(8) == [(3, 1)]


def test_a_closed_sample_begins_nothing_above_its_end() -> None:
    agenda = Scheduler([3], attempts=9, ahead=2, patience=0)
    assert agenda.begin(8) == [(3, 0), (3, 1)]
    agenda.close(3, 1)
    assert agenda.ended([(3, 1)]) == []
    assert agenda.begin(8) == []
    assert agenda.ended([(3, 0)]) == []
    assert not agenda


def test_a_restart_begins_with_the_lowest_attempt_under_way() -> None:
    agenda = Scheduler([1, 2], attempts=4, ahead=8, patience=0)
    agenda.begin(8)
    agenda.ended([(1, 0), (2, 1)])
    assert agenda.restart() == [1, 2]
    assert agenda.begin(2) == [(1, 1), (2, 0)]


def test_large_images_fill_a_processor_by_themselves() -> None:
    assert batch_budget(torch.empty(0, 3, 300, 300)) == NO_SPECULATION
    assert batch_budget(torch.empty(1, 3, 32, 32)) == (64, 16)
