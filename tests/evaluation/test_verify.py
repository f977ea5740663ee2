"""The independent check: what leaves it is inside, what violates the budget fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bench.core.errors import CellFailure
from bench.evaluation.pass_counter import CountingModel
from bench.evaluation.verify import distances, predict, verified

NORMS = ["linf", "l2", "l1"]


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), eps=st.sampled_from([1 / 255, 0.05, 8 / 255, 0.1, 0.5, 1.0]))
@pytest.mark.parametrize("norm", NORMS)
def test_what_passes_is_inside_in_exact_arithmetic(norm: str, seed: int, eps: float) -> None:
    """Float32 rounding may push an honest attack over the edge; afterwards it is not over by a single bit."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(4, 3, 4, 4, generator=generator)
    delta = torch.randn(4, 3, 4, 4, generator=generator)
    size = delta.flatten(1).norm(dim=1, p={"linf": torch.inf, "l2": 2, "l1": 1}[norm])
    adversarials = (inputs + delta * (eps / size).view(-1, 1, 1, 1)).clamp(0, 1)
    inside = verified(inputs, adversarials, norm, eps)
    assert distances(inputs, inside, norm).max() <= eps
    assert inside.min() >= 0
    assert inside.max() <= 1
    assert (inside - adversarials).abs().max() < 2e-6


@pytest.mark.parametrize(("norm", "expected"), [("linf", 0.4), ("l2", 0.5), ("l1", 0.7)])
def test_distances_are_those_of_their_norms(norm: str, expected: float) -> None:
    inputs = torch.zeros(2, 3, 4, 4)
    others = inputs.clone()
    others[1, 0, 1, 2], others[1, 2, 0, 0] = 0.3, 0.4
    assert distances(inputs, others, norm).tolist() == pytest.approx([0, expected], rel=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_step_too_far_is_a_violation(norm: str) -> None:
    inputs = torch.full((2, 3, 4, 4), 0.5)
    far = inputs.clone()
    far[1, 0, 0, 0] += 0.102
    with pytest.raises(CellFailure, match=r"distance 0\.102") as caught:
        verified(inputs, far, norm, 0.1)
    assert caught.value.reason == "budget_violation"


def test_leaving_the_box_is_a_violation() -> None:
    inputs = torch.zeros(1, 3, 4, 4)
    with pytest.raises(CellFailure, match="outside") as caught:
        verified(inputs, inputs - 0.01, "linf", 0.1)
    assert caught.value.reason == "budget_violation"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pixels_that_are_no_numbers_are_no_robustness(value: float) -> None:
    inputs = torch.zeros(1, 3, 4, 4)
    with pytest.raises(CellFailure) as caught:
        verified(inputs, inputs + value, "linf", 0.1)
    assert caught.value.reason == "nan_input"


def test_another_shape_is_refused() -> None:
    with pytest.raises(CellFailure) as caught:
        verified(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4), "linf", 0.1)
    assert caught.value.reason == "wrong_shape"


def test_logits_that_are_no_numbers_are_no_verdict() -> None:
    class Broken(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.full((len(inputs), 3), float("nan"))

    with pytest.raises(CellFailure) as caught:
        predict(Broken(), torch.zeros(2, 3, 4, 4), 3)
    assert caught.value.reason == "nan_logits"


def test_passes_are_counted_by_image_and_direction() -> None:
    model = CountingModel(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)))
    inputs = torch.rand(5, 3, 2, 2, requires_grad=True)
    with torch.no_grad():
        model(inputs)
    assert (model.forwards, model.backwards) == (5, 0)
    logits = model(inputs)
    logits.sum().backward(retain_graph=True)
    logits[:, 0].sum().backward()
    assert (model.forwards, model.backwards) == (10, 10)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_distances_of_many_pixels_are_computed_in_parts(norm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, images = torch.rand(2, 7, 3, 5, 5).unbind()
    whole = distances(inputs, images, norm)
    sizes: list[int] = []
    real = torch.linalg.vector_norm
    monkeypatch.setattr(torch.linalg, "vector_norm", lambda x, **o: sizes.append(len(x)) or real(x, **o))
    monkeypatch.setattr("bench.evaluation.verify.PART", 3 * 75)
    assert torch.equal(distances(inputs, images, norm), whole)
    assert sizes == [4, 3]
