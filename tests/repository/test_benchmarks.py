"""The benchmarks' own arithmetic; the benchmarks themselves are run by hand."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers import LinearModel

PATH = Path(__file__).parents[2] / "benchmarks" / "measure.py"


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["measure"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def target(measure: ModuleType, margin: float, count: int = 4) -> object:
    """Images of class 1 at an exact Linf distance from the boundary of a linear model."""
    weight = torch.randn(75, generator=torch.Generator().manual_seed(0))
    model = LinearModel(weight, bias=float(-0.5 * weight.sum())).requires_grad_(False)
    inputs = (0.5 + margin * weight.sign()).expand(count, 75).reshape(count, 3, 5, 5).contiguous()
    return measure.Target(model, inputs, torch.ones(count, dtype=torch.int64), list("abcd"))


def test_the_floor_is_the_references_passes_at_the_bare_models_speed(
    measure: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def typical(self: object, function: Callable[[], object], repeats: int = 15) -> float:
        function()
        return {"forward": 4.0, "both": 10.0}[function.__name__]

    monkeypatch.setattr(measure.Bench, "typical", typical)
    engine = measure.Bench(torch.device("cpu"), 2, "wall", [])
    assert engine.floor(target(measure, 0.1), 0) == 0
    # Batches of two: 2 s a forward pass, 5 s both.
    assert engine.floor(target(measure, 0.1), 3) == 3 * ((7881 - 1903) * 2 + 1903 * 5)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_what_is_measured_is_an_attack(measure: ModuleType, backend: str) -> None:
    engine = measure.Bench(torch.device("cpu"), 3, "cpu", [])
    near, far = (engine.attack(target(measure, 0.1), "pgd-5", eps, backend=backend) for eps in (0.105, 0.095))
    assert (near.robust, near.survivors, far.robust, far.survivors) == (0, 0, 1, 4)
    assert far.backwards == {"native": 6, "reference": 5}[backend] * 4
    assert near.agreement(near) == 1
    assert near.agreement(far) == 0
