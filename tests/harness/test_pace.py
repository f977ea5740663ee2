"""The form of a network that is timed is the one that will be asked, and an adversary's passes are counted."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trainings import CPU, some_model, some_spec

from bench import pace
from bench.core.specs import AdversarySpec, AttackSpec, EvalSpec, TrainSpec, VariantSpec
from bench.estimate import _searched_in
from bench.pace import Pace, Rates
from bench.search_model import BFloat16


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image takes 2 s forwards and 5 s in both directions, 11 s in training, and half of it all in bfloat16."""

    def fastest(model: nn.Module, inputs: Tensor, *, gradient: bool, low_precision: bool = False) -> float:
        low = low_precision or any(isinstance(module, BFloat16) for module in model.modules())
        weights = any(parameter.requires_grad for parameter in model.parameters())
        return (11.0 if weights else 5.0 if gradient else 2.0) / (2 if low else 1)

    monkeypatch.setattr(pace, "_fastest", fastest)
    monkeypatch.setattr(pace, "build_run", lambda spec, workshop: SimpleNamespace(classifier=some_model()))


def pace_of(spec: TrainSpec) -> Pace:
    workshop: Any = SimpleNamespace(device=CPU)
    return Pace(spec, workshop)


@pytest.mark.usefixtures("timed")
@pytest.mark.parametrize(("precision", "part"), [("fp32", 1), ("bf16", 2)])
def test_a_training_is_timed_in_its_precision_with_the_passes_of_its_adversary(precision: str, part: int) -> None:
    spec = some_spec(precision=precision)
    assert pace_of(spec).training == 11 / part
    adversary = VariantSpec(adversary=AdversarySpec(eps=0.1, steps=4))
    assert pace_of(dataclasses.replace(spec, variant_spec=adversary)).training == (11 + 4 * 5) / part


@pytest.mark.usefixtures("timed")
def test_a_search_is_timed_in_its_precision_and_the_model_under_test_in_float32() -> None:
    found = pace_of(some_spec())
    assert found.rates(None) == found.rates("fp32") == Rates(2, 3)
    assert found.rates("bf16") == Rates(1, 1.5)


@pytest.mark.parametrize(
    ("name", "backend", "form"),
    [("autoattack", "native", "bf16"), ("autoattack", "reference", None), ("deepfool", "native", None)],
)
def test_which_form_an_attack_asks(name: str, backend: Any, form: str | None) -> None:
    attack = AttackSpec(name=name, norm="l2", eps=0.1, params={}, backend=backend, precision="bf16")
    cell = EvalSpec(run_id="r", data_sha="d", attack=attack, protocol="p", limit=None, batch_size=8, seed=0)
    assert _searched_in(cell) == form
    assert _searched_in(dataclasses.replace(cell, attack=None)) is None


def test_seconds_are_an_images() -> None:
    model = some_model().requires_grad_(False)
    inputs = torch.rand(3, 3, 4, 4)
    assert 0 < pace._fastest(model, inputs, gradient=True) < 1
