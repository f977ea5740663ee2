"""Cells of attacks of other libraries, also of a library whose attack is broken: verified, counted, seeded."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks.registry import resolve
from bench.core.records import EvalRecord
from bench.core.specs import EvalSpec, Norm
from bench.data.tensors import ResidentImages
from bench.evaluation.cell import CellInput, Outcomes
from bench.evaluation.evaluate import evaluate_cell
from bench.models.classifier import freeze
from bench.runtime.progress import Progress

N, CLASSES, EPS = 12, 3, 0.1
IN_BALL, NEAREST = "foolbox:LinfPGD(steps=3)", "foolbox:LInfFMNAttack(steps=3)"


def linear() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(108, CLASSES))
    net[1].bias.data -= net(torch.full((1, 3, 6, 6), 0.5))[0].detach()
    return net


def images() -> Tensor:
    return 0.2 + 0.6 * torch.rand(N, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def labels() -> Tensor:
    with torch.no_grad():
        return linear()(images()).argmax(1)


def cell(name: str, norm: Norm = "linf", eps: float = EPS, seed: int = 0) -> tuple[EvalRecord, Outcomes | None]:
    attack = resolve(name)
    spec = EvalSpec(
        run_id="r", data_sha="d", attack=attack.spec(norm, eps, batch_size=6),
        protocol="standard", limit=None, batch_size=6, seed=seed,
    )  # fmt: skip
    cell_input = CellInput(
        model=freeze(linear()), weights_sha="", images=ResidentImages([f"x/{i}" for i in range(N)], images(), labels()),
        n_test=N, official=False, num_classes=CLASSES, device=torch.device("cpu"), entry=attack.entry,
    )  # fmt: skip
    return evaluate_cell(spec, cell_input, Progress())


Result = Callable[[Any, Tensor], Any]  # model and clean images -> what the attack of the library returns


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[[Result], None]:
    """Replace every attack of foolbox by one that returns what ``result`` computes."""

    def install(result: Result) -> None:
        class Attack:
            def __init__(self, *, steps: int = 1) -> None:
                self.steps = steps

            def run(self, model: Any, inputs: Tensor, criterion: object, **others: object) -> Any:
                return result(model, inputs)

        monkeypatch.setattr("bench.attacks.libraries.foolbox_adapter.find", lambda name: Attack)

    return install


def raises(model: object, inputs: Tensor) -> Tensor:
    raise RuntimeError("no adversarial image found")


#: Broken in any attack: what it returns, reason of the failed cell, part of the message.
BROKEN: dict[str, tuple[Result, str, str]] = {
    "NaN": (lambda model, x: x * torch.nan, "nan_input", "NaN"),
    "one NaN": (lambda model, x: x.index_fill(0, torch.tensor([1]), torch.nan), "nan_input", "NaN"),
    "inf": (lambda model, x: x / 0, "nan_input", "infinite"),
    "outside the box": (lambda model, x: x - 0.9, "budget_violation", "outside [0, 1]"),
    "far outside the box": (lambda model, x: x + 300, "budget_violation", "outside [0, 1]"),
    "fewer images": (lambda model, x: x[:-1], "wrong_shape", "returned (5, 3, 6, 6)"),
    "flat": (lambda model, x: x.flatten(1), "wrong_shape", "returned"),
    "None": (lambda model, x: None, "wrong_type", "NoneType"),
    "array": (lambda model, x: x.numpy(), "wrong_type", "ndarray"),
    "bytes": (lambda model, x: (x * 255).to(torch.uint8), "wrong_type", "uint8"),
    "an exception": (raises, "attack_error", "RuntimeError: no adversarial image found"),
    "sys.exit": (lambda model, x: sys.exit(0), "attack_error", "called sys.exit(0)"),
}


@pytest.mark.parametrize("attack", [IN_BALL, NEAREST])
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_attack_is_a_failed_cell(case: str, attack: str, library: Callable[[Result], None]) -> None:
    result, reason, message = BROKEN[case]
    library(result)
    record, outcomes = cell(attack)
    assert (record.status, record.reason, record.n_correct, outcomes) == ("failed", reason, None, None)
    assert message in record.message


def test_an_attack_in_the_ball_that_leaves_it_fails(library: Callable[[Result], None]) -> None:
    library(lambda model, x: 1 - x)
    record, _ = cell(IN_BALL)
    assert (record.status, record.reason) == ("failed", "budget_violation")


@pytest.mark.parametrize("attack", [IN_BALL, NEAREST])
def test_clean_images_count_as_correct(attack: str, library: Callable[[Result], None]) -> None:
    library(lambda model, x: x)
    record, _ = cell(attack)
    assert (record.status, record.n_correct) == ("ok", N)


def test_the_nearest_image_counts_only_inside_the_ball(library: Callable[[Result], None]) -> None:
    """Of each batch of six, three images move by 0.9·ε to another class and three by 1.1·ε."""
    weight = linear()[1].weight.detach()

    def nearest(model: object, inputs: Tensor) -> Tensor:
        label = linear()(inputs).argmax(1)
        direction = (weight[(label + 1) % CLASSES] - weight[label]).sign().view(inputs.shape)
        length = torch.tensor([0.9, 1.1]).repeat(3) * EPS
        return inputs + length[:, None, None, None] * direction

    library(nearest)
    record, outcomes = cell(NEAREST)
    with torch.no_grad():
        moved = torch.cat([nearest(None, part) for part in images().split(6)])
        fooled = linear()(moved).argmax(1) != labels()
    assert fooled.all()  # outside the ball, too
    assert outcomes is not None
    assert (record.status, record.n_correct) == ("ok", N // 2)
    assert (outcomes.adv_pred == labels()).tolist() == [False, True] * 6
    assert record.max_distance == pytest.approx(0.9 * EPS, rel=1e-4)
    assert any("outside the ball count as correct" in note for note in record.notes)


def test_a_misclassification_that_the_library_only_claims_is_none(library: Callable[[Result], None]) -> None:
    """The returned images are in the ball, but the float32 model still classifies them correctly."""
    library(lambda model, x: x + 1e-6)
    assert cell(IN_BALL)[0].n_correct == N


def test_passes_are_counted_by_the_harness(library: Callable[[Result], None]) -> None:
    def asks(model: Any, inputs: Tensor) -> Tensor:
        points = inputs.clone().requires_grad_()
        for _ in range(3):
            model(points)
        model(points).sum().backward()
        return inputs

    library(asks)
    record, _ = cell(IN_BALL)
    assert (record.n_forwards, record.n_backwards) == (4 * N, N)


def states() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), torch.get_rng_state().tolist(), kind, keys.tolist(), rest


@pytest.mark.parametrize("fails", [False, True])
def test_global_generators_are_seeded_and_restored(fails: bool, library: Callable[[Result], None]) -> None:
    drawn: list[tuple[float, ...]] = []

    def draws(model: object, inputs: Tensor) -> Tensor:
        drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))  # noqa: NPY002
        if fails:
            raise RuntimeError("after drawing")
        return inputs

    library(draws)
    random.seed(5), np.random.seed(6), torch.manual_seed(7)  # noqa: NPY002
    before = states()
    cell(IN_BALL)
    assert states() == before
    random.seed(50), np.random.seed(60), torch.manual_seed(70)  # noqa: NPY002
    cell(IN_BALL)
    half = len(drawn) // 2
    assert drawn[:half] == drawn[half:]
    cell(IN_BALL, seed=1)
    assert set(zip(*drawn[-half:], strict=True)).isdisjoint(zip(*drawn[:half], strict=True))
    assert all(new != old for new, old in zip(drawn[-1], drawn[0], strict=True))


@pytest.mark.parametrize("attack", ["foolbox:LinfPGD(steps=3)", "foolbox:LInfFMNAttack(steps=10)"])
def test_the_same_command_gives_the_same_row(attack: str) -> None:
    found = [cell(attack, eps=0.03) for _ in range(2)]
    (first, first_outcomes), (second, second_outcomes) = found
    assert first_outcomes is not None
    assert second_outcomes is not None
    assert torch.equal(first_outcomes.distance.nan_to_num(-1), second_outcomes.distance.nan_to_num(-1))
    assert (first.n_correct, first.n_forwards, first.n_backwards) == (
        second.n_correct, second.n_forwards, second.n_backwards,
    )  # fmt: skip
    assert (first.backend, first.backend_version) == ("foolbox", resolve(attack).params["library_version"])


def test_what_a_library_prints_is_not_shown(
    library: Callable[[Result], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def prints(model: object, inputs: Tensor) -> Tensor:
        print("progress of the library")
        return inputs

    library(prints)
    assert cell(IN_BALL)[0].status == "ok"
    assert "progress of the library" not in capsys.readouterr().out
