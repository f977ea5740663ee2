"""A model that differentiates while it answers, by whichever door, is found; one that only could is not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
from oddities import Changed, images, linear
from torch import Tensor, nn
from torch.autograd import grad as bound_early

from bench.core.records import Finding
from bench.sanity.model_checks import GRADIENT_FUNCTIONS, check_model, gradient_calls, optimizes_at_test_time

BATCH = 10


class Purifying(nn.Module):
    """Three steps of ``gradient`` that make the image's logits larger before it is classified."""

    def __init__(self, gradient: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.gradient = linear(), gradient

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.enable_grad():
            for _ in range(3):
                inputs = inputs.detach().requires_grad_()
                inputs = inputs + 0.1 * self.gradient(self.net(inputs).square().sum(), inputs)
        logits: Tensor = self.net(inputs.detach())
        return logits


def by_backward(energy: Tensor, inputs: Tensor) -> Tensor:
    energy.backward()
    assert inputs.grad is not None
    return inputs.grad


def by_autograd_backward(energy: Tensor, inputs: Tensor) -> Tensor:
    torch.autograd.backward(energy)
    assert inputs.grad is not None
    return inputs.grad


GRADIENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grad": lambda energy, inputs: torch.autograd.grad(energy, inputs)[0],
    "backward": by_backward,
    "autograd.backward": by_autograd_backward,
    "bound early": lambda energy, inputs: bound_early(energy, inputs)[0],
    "functional": lambda _, inputs: torch.func.grad(lambda x: x.square().sum())(inputs),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_inside_the_forward_pass(name: str) -> None:
    (found,) = check_model(Purifying(GRADIENTS[name]), images(), BATCH)
    assert found.flag == "test_time_optimization"
    assert "one forward pass computes gradients 3 times" in found.note


def test_a_model_that_optimises_where_gradients_are_on() -> None:
    """An attack calls it so."""

    def change(logits: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            torch.autograd.grad(logits.sum(), logits)
        return logits

    with torch.no_grad():
        found = optimizes_at_test_time(Changed(change), images())
    assert found == Finding(
        "test_time_optimization", "test_time_optimization: one forward pass computes gradients once (grad)"
    )


@pytest.mark.filterwarnings("ignore:Guards may run slower:RuntimeWarning")  # Python 3.13.0
def test_a_model_that_is_compiled_differentiates_only_then() -> None:
    model = torch.compile(linear(), backend="aot_eager")
    assert optimizes_at_test_time(model, images()) is None


def test_the_watched_functions_are_what_they_were() -> None:
    before = [getattr(owner, name) for owner, name in GRADIENT_FUNCTIONS]
    with contextlib.suppress(KeyError), gradient_calls():
        assert all(
            getattr(owner, name) is not old for (owner, name), old in zip(GRADIENT_FUNCTIONS, before, strict=True)
        )
        raise KeyError
    assert [getattr(owner, name) for owner, name in GRADIENT_FUNCTIONS] == before

    def broken(energy: Tensor, inputs: Tensor) -> Tensor:
        raise KeyError

    with pytest.raises(KeyError):
        optimizes_at_test_time(Purifying(broken), images())
    assert [getattr(owner, name) for owner, name in GRADIENT_FUNCTIONS] == before


def test_a_call_that_fails_counts_and_leaves_the_next_one_to_be_counted() -> None:
    with gradient_calls() as calls:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="does not require grad"):
                torch.autograd.grad(torch.zeros(()), torch.zeros(()))
    assert calls == ["grad", "grad"]
