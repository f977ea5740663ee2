"""The form of a network that is timed is the one that will be asked, and every pass is counted at its own rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trainings import CPU, some_spec

from bench.attacks.registry import Cost
from bench.config import RunConfig
from bench.core.specs import AdversarySpec, AttackSpec, EvalSpec, TrainSpec, VariantSpec
from bench.evaluation import cost_estimate as estimates
from bench.evaluation import throughput
from bench.evaluation.cost_estimate import estimate, search_precision
from bench.evaluation.fast_model import BFloat16
from bench.evaluation.throughput import Pace, Rates
from bench.models.classifier import Classifier, Normalize
from bench.planning.plan import RunPlan


def model_with_a_norm() -> Classifier:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 4), nn.BatchNorm2d(4), nn.Flatten())
    return Classifier(Normalize((0.5,) * 3, (0.25,) * 3), backbone, nn.Identity(), nn.Linear(4, 3))


def modules_of(asked: Any) -> list[nn.Module]:
    return list((asked.args[0] if isinstance(asked, partial) else asked).modules())


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image takes 2 s in a forward pass, 5 s with the backward pass and 11 s in training.

    In bfloat16 it takes half of that, and without norm layers a second less.
    """

    def fastest(asked: Any, inputs: Tensor, *, differentiated: bool) -> float:
        modules = modules_of(asked)
        training = any(p.requires_grad for module in modules for p in module.parameters())
        low = any(isinstance(m, BFloat16) for m in modules)
        if isinstance(asked, partial):
            low = asked.keywords["low_precision"]
            weight = next(m for m in modules if isinstance(m, nn.Conv2d)).weight
            assert weight.is_contiguous(memory_format=torch.channels_last) == low
        folded = not any(isinstance(m, nn.BatchNorm2d) for m in modules)
        return (11.0 if training else 5.0 if differentiated else 2.0) / (2 if low else 1) - folded

    monkeypatch.setattr(throughput, "seconds_per_image", fastest)
    monkeypatch.setattr(throughput, "build_run", lambda spec, context: SimpleNamespace(classifier=model_with_a_norm()))


def pace_of(spec: TrainSpec) -> Pace:
    context: Any = SimpleNamespace(device=CPU)
    return Pace(spec, context)


@pytest.mark.usefixtures("timed")
@pytest.mark.parametrize(("precision", "part"), [("fp32", 1), ("bf16", 2)])
def test_a_training_is_timed_in_its_precision_with_the_passes_of_its_adversary(precision: str, part: int) -> None:
    spec = some_spec(precision=precision)
    assert pace_of(spec).training == 11 / part
    adversary = VariantSpec(adversary=AdversarySpec(eps=0.1, steps=4))
    assert pace_of(dataclasses.replace(spec, variant_spec=adversary)).training == (11 + 4 * 5) / part


@pytest.mark.usefixtures("timed")
def test_a_search_is_timed_in_its_precision_and_folded_and_the_model_under_test_as_it_is() -> None:
    found = pace_of(some_spec(precision="bf16"))
    assert found.rates(None) == Rates(2, 3)
    assert found.rates("fp32") == Rates(1, 3)
    assert found.rates("bf16") == Rates(0, 1.5)


def cell(name: str | None, *, backend: Any = "native", precision: Any = "fp32", limit: int = 4) -> EvalSpec:
    attack = None
    if name is not None:
        attack = AttackSpec(name=name, norm="l2", eps=0.1, params={}, backend=backend, precision=precision)
    return EvalSpec(run_id="r", data_sha="d", attack=attack, protocol="p", limit=limit, batch_size=8, seed=0)


@pytest.mark.parametrize(
    ("name", "backend", "form"),
    [
        ("autoattack", "native", "bf16"),
        ("autoattack", "reference", None),
        ("deepfool", "native", None),
        (None, "native", None),
    ],
)
def test_which_form_an_attack_asks(name: str | None, backend: str, form: str | None) -> None:
    assert search_precision(cell(name, backend=backend, precision="bf16")) == form


class FakePace:
    """3 s a training image; 1, 10 and 100 s a pass by the form that is asked."""

    training = 3.0
    made = 0

    def __init__(self, spec: TrainSpec, context: Any) -> None:
        FakePace.made += 1

    def rates(self, precision: str | None) -> Rates:
        seconds = {None: 1.0, "fp32": 10.0, "bf16": 100.0}[precision]
        return Rates(seconds, 0.0)


def test_every_pass_is_counted_at_the_rate_of_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds, one of them trained and one diagnosed; each cell costs 5 passes an image at most, and 2 at least."""
    monkeypatch.setattr(estimates, "Pace", FakePace)
    monkeypatch.setattr(FakePace, "made", 0)
    monkeypatch.setattr(estimates, "cell_cost", lambda cell, classes: Cost(5, 9, 2, 9))
    monkeypatch.setattr(estimates, "diagnosis_costs", lambda spec, n_train, n_test: [(Cost(7, 0, 6, 0), 10)])
    first, second = (dataclasses.replace(some_spec(epochs=2), seed=seed) for seed in (0, 1))
    cells = (cell(None), cell("pgd-20"), cell("apgd-ce", precision="bf16"), cell("pgd-20", backend="reference"))
    pending = {first.run_id: cells, second.run_id: (cell(None, limit=1),)}
    finished: Callable[[str], object] = lambda run_id: object() if run_id == first.run_id else None  # noqa: E731
    dataset = SimpleNamespace(train=range(20), test=range(8))
    context: Any = SimpleNamespace(config=RunConfig(), store=SimpleNamespace(finished_run=finished), dataset=dataset)
    plan = [RunPlan(first, cells), RunPlan(second, pending[second.run_id])]
    least, most = estimate(plan, pending, {second.run_id}, context)
    per_pass = 4 * (1 + 10 + 100 + 1) + 1
    assert least == 2 * per_pass + 6 * 10 + 2 * 20 * 3
    assert most == 5 * per_pass + 7 * 10 + 2 * 20 * 3
    assert FakePace.made == 1


def test_seconds_are_an_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest batch, of three images, takes 6 seconds."""
    seconds = iter([9.0, 6.0, 7.0, 8.0])
    monkeypatch.setattr(throughput, "time_batch", lambda asked, inputs, *, differentiated: next(seconds))
    assert throughput.seconds_per_image(nn.Identity(), torch.rand(3, 3, 4, 4), differentiated=True) == 2


@pytest.mark.parametrize(("differentiated", "frozen"), [(True, True), (False, True), (False, False)])
def test_what_is_differentiated(differentiated: bool, frozen: bool) -> None:
    layer = nn.Conv2d(3, 1, 4).requires_grad_(not frozen)
    seen: list[Tensor] = []

    def asked(images: Tensor) -> Tensor:
        seen.append(images)
        outputs: Tensor = layer(images)
        return outputs

    assert throughput.time_batch(asked, torch.rand(2, 3, 4, 4), differentiated=differentiated) > 0
    assert seen[0].requires_grad == differentiated
    assert (layer.weight.grad is not None) == (not frozen)
