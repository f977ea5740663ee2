"""Memory that runs out in the middle of an attack: smaller batches, the same verdicts, and nothing done twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.attacks.apgd_attack import Apgd
from bench.attacks.auto_attack import autoattack
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.fast_model import FastModel
from bench.attacks.engine.run_search import SearchResult, run_search
from bench.attacks.engine.search import Samples
from bench.attacks.registry import resolve
from bench.core.records import EvalRecord
from bench.core.specs import EvalSpec
from bench.data.tensors import ResidentImages
from bench.evaluation.cell import CellInput, Outcomes
from bench.evaluation.evaluate import evaluate_cell
from bench.runtime.progress import Progress

COUNT, EPS = 48, 0.01
BEFORE = 10  # passes before the attack, two per check: predictions, again, gradients, logits to compare afterwards


class Net(nn.Module):
    """Looks at all pixels but the first of every image, which says which image it is."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(75, 4, generator=torch.Generator().manual_seed(3))
        weight[0] = 0
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tanh(4 * inputs.flatten(1) - 2) @ self.weight.to(inputs.dtype)


class Crowded(nn.Module):
    """After ``calls`` passes of any size only batches up to ``room`` fit; it keeps what it was asked about."""

    def __init__(self, *, calls: int, room: int) -> None:
        super().__init__()
        self.net, self.calls, self.room = Net(), calls, room
        self.asked: list[list[int]] = []
        self.failures = 0

    def forward(self, inputs: Tensor) -> Tensor:
        if len(self.asked) >= self.calls and len(inputs) > self.room:
            self.failures += 1
            raise torch.OutOfMemoryError("tried to allocate everything")
        self.asked.append((inputs[:, 0, 0, 0] * COUNT).round().long().tolist())
        logits: Tensor = self.net(inputs)
        return logits


def images() -> tuple[Tensor, Tensor]:
    """Float64; the first pixel of image i is i/COUNT, and no search moves what no logit looks at by half a step."""
    inputs = torch.rand(COUNT, 3, 5, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    inputs[:, 0, 0, 0] = torch.arange(COUNT) / COUNT
    return inputs, Net()(inputs).argmax(1)


def search(model: nn.Module, *, batch_size: int, shrink: bool = True, allowance: int | None = None) -> SearchResult:
    inputs, labels = images()
    ranking = Net()(inputs).argsort(1, descending=True)
    attack = Apgd(norm="linf", eps=EPS, objective="dlr-targeted", steps=15, attempts=3)
    halve = (lambda size: size // 2) if shrink else None
    samples = Samples(inputs, labels, torch.arange(COUNT), ranking)
    left = None if allowance is None else torch.full((COUNT,), allowance)
    return run_search(attack, FastModel(model, model, halve), samples, batch_size=batch_size, allowance=left)


@pytest.mark.parametrize("calls", [0, 1, 6, 20])
def test_the_verdicts_are_those_of_small_batches_from_the_start(calls: int) -> None:
    model = Crowded(calls=calls, room=8)
    found, small = search(model, batch_size=32), search(Net(), batch_size=8)
    assert 0 < int(small.success.sum()) < COUNT
    assert torch.equal(found.success, small.success)
    assert torch.allclose(found.adversarials, small.adversarials, rtol=0, atol=1e-9)
    assert 4 <= found.batch_size <= small.batch_size == 8
    assert model.failures == 2


@pytest.mark.parametrize("calls", [6, 20])
def test_what_is_asked_twice_for_want_of_memory_is_not_charged_twice(calls: int) -> None:
    """With 25 questions an image, the second attempt is under way when the bound ends it."""
    model = Crowded(calls=calls, room=8)
    found, small = search(model, batch_size=32, allowance=25), search(Net(), batch_size=8, allowance=25)
    assert model.failures
    assert small.truncated.any()
    for name in ("success", "truncated", "n_queries"):
        assert torch.equal(getattr(found, name), getattr(small, name)), name


def test_what_is_broken_is_not_attacked_again() -> None:
    """Images that are broken within six passes are not queried again, although memory runs out after these passes."""
    calls = 6
    whole = Crowded(calls=calls, room=COUNT)
    search(whole, batch_size=COUNT)
    gone = set(range(COUNT)) - set(whole.asked[calls])
    assert gone
    model = Crowded(calls=calls, room=8)
    search(model, batch_size=COUNT)
    assert model.failures
    assert model.asked[:calls] == whole.asked[:calls]
    later = {name for batch in model.asked[calls:] for name in batch}
    assert not later & gone
    assert later


def test_without_anybody_to_tell_it_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        search(Crowded(calls=0, room=8), batch_size=32, shrink=False)


def test_another_error_is_not_taken_for_it() -> None:
    class Broken(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        search(Broken(), batch_size=32)


def test_the_stages_of_autoattack_keep_the_size_that_fitted() -> None:
    model = Crowded(calls=2, room=8)
    inputs, labels = images()
    asked: list[int] = []

    def halve(size: int) -> int:
        asked.append(size)
        return size // 2

    rng = SampleRng(0, "two", [str(i) for i in range(COUNT)])
    autoattack(FastModel(model, model, halve), inputs.float(), labels, eps=1e-4, version="rand", steps=3, rng=rng)
    assert asked == [48, 24, 12]


def cell(model: nn.Module, *, batch_size: int, auto: bool) -> tuple[EvalRecord, Outcomes | None]:
    inputs, labels = images()
    attack = resolve("pgd")
    spec = EvalSpec(
        run_id="r", data_sha="d", attack=attack.spec("linf", EPS, batch_size=batch_size), protocol="standard",
        limit=None, batch_size=batch_size, seed=0,
    )  # fmt: skip
    context = CellInput(
        model=model, weights_sha="", images=ResidentImages([str(i) for i in range(COUNT)], inputs.float(), labels),
        n_test=COUNT, official=False, num_classes=4, device=torch.device("cpu"), entry=attack.entry, auto_batch=auto,
    )  # fmt: skip
    return evaluate_cell(spec, context, Progress())


def test_the_cell_records_the_size_that_fitted_and_counts_what_was_done() -> None:
    model = Crowded(calls=BEFORE + 3, room=8)
    record, outcomes = cell(model, batch_size=32, auto=True)
    small, expected = cell(Net(), batch_size=8, auto=True)
    assert (record.status, record.batch_size, model.failures) == ("ok", 8, 2)
    assert record.n_correct == small.n_correct
    assert outcomes is not None
    assert expected is not None
    assert torch.equal(outcomes.adv_pred, expected.adv_pred)
    again = record.n_forwards - small.n_forwards
    assert 0 < again <= 3 * 32  # what was under way was begun again, and nothing else


@pytest.mark.parametrize(("auto", "room"), [(False, 8), (True, 7)])
def test_a_size_that_was_asked_for_stays_and_there_is_a_smallest(auto: bool, room: int) -> None:
    record, _ = cell(Crowded(calls=BEFORE + 3, room=room), batch_size=32, auto=auto)
    assert (record.status, record.reason) == ("failed", "out_of_memory")
