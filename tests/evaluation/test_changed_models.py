"""An attack that changes the model, and does not undo it, fails; later images and cells get the original model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_odd_attacks import N, attack, cell, images, labels_of, linear
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bench.sanity.model_parts import changed_parts, parts_of, restore_parts

__all__ = ["attack"]  # a fixture

Change = Callable[[nn.Module], Any]
HOOKS = torch.nn.modules.module


class Net(nn.Module):
    """A network with an activation, a slope, and a counter of its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.act, self.scale, self.shape = linear(), nn.LeakyReLU(0.3), 2.0, 0
        self.passes: int | None = None
        self.mean, self.factors, self.options, self.powers = torch.tensor(0.5), [1.0], {"bias": [0.0]}, (1.0,)

    def forward(self, inputs: Tensor) -> Tensor:
        self.passes = (self.passes or 0) + 1
        self.shape = len(inputs)
        inputs = (inputs - self.mean) * self.factors[0] + self.options["bias"][0]
        logits: Tensor = self.scale * self.act(self.net(inputs)) ** self.powers[0]
        return logits


def constant(*arguments: Any) -> Tensor:
    return torch.eye(3)[:1].expand(len(arguments[-1]), 3)


class Harmless(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


class HarmlessDispatch(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


CHANGES: dict[str, Change] = {
    "_forward_hooks": lambda net: net.register_forward_hook(constant),
    "act._forward_pre_hooks": lambda net: net.act.register_forward_pre_hook(lambda module, inputs: (-inputs[0],)),
    "net.1._is_full_backward_hook and": lambda net: net.net[1].register_full_backward_hook(lambda *_: None),
    "_global_forward_hooks of torch": lambda net: HOOKS.register_module_forward_hook(lambda *_: None),
    "net.1.weight._backward_hooks": lambda net: net.net[1].weight.requires_grad_().register_hook(torch.neg),
    "net.1.bias._post_accumulate_grad_hooks": lambda net: (
        net.net[1].bias.requires_grad_().register_post_accumulate_grad_hook(print)
    ),
    "act.__class__": lambda net: setattr(net.act, "__class__", nn.Tanh),
    "act and": lambda net: setattr(net, "act", nn.Softplus()),
    "net.0 and": lambda net: net.net.__setitem__(0, nn.Sequential(nn.Flatten(), nn.Tanh())),
    "extra and": lambda net: net.add_module("extra", nn.ReLU()),
    "forward and": lambda net: setattr(net, "forward", constant),
    "act.negative_slope": lambda net: setattr(net.act, "negative_slope", -1.0),
    "mean and": lambda net: setattr(net, "mean", torch.tensor(0.9)),
    "factors and": lambda net: net.factors.__setitem__(0, -1.0),
    "options and": lambda net: net.options["bias"].__setitem__(0, -1.0),
    "powers and": lambda net: setattr(net, "powers", (-1.0,)),
    "scale and": lambda net: delattr(net, "scale"),
    "Net.forward": lambda net: setattr(Net, "forward", constant),
    "LeakyReLU.__call__": lambda net: setattr(nn.LeakyReLU, "__call__", constant),  # inherited before
    "torch.nn.functional.linear": lambda net: setattr(nn.functional, "linear", constant),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_is_no_tensor_is_found_and_undone(name: str, attack: Any) -> None:
    model = Net()
    labels, before = labels_of(model), model(images()).detach()

    def change(returned: Tensor, inputs: Tensor) -> Tensor:
        CHANGES[name](model)
        return returned

    attack(change)
    record, _ = cell(model, labels, "odd")
    assert (record.status, record.reason) == ("failed", "model_changed")
    assert f"odd changed the model's {name}" in record.message
    assert torch.equal(model(images()), before)
    assert cell(model, labels, None)[0].n_correct == N


def test_a_tensor_that_is_no_buffer_is_restored_in_place(attack: Any) -> None:
    model = Net()
    labels, mean = labels_of(model), model.mean
    attack(lambda returned, inputs: model.mean.fill_(0.9) is not None and returned)
    assert "odd changed the model's mean and" in cell(model, labels, "odd")[0].message
    assert model.mean is mean
    assert float(mean) == 0.5


def test_changes_by_the_forward_pass_itself_are_allowed(attack: Any) -> None:
    model = Net()
    attack(lambda returned, inputs: model(inputs[:3]) is not None and returned)
    record, _ = cell(model, labels_of(model), "odd")
    assert (record.status, record.message, record.notes) == ("ok", "", ())


class Tiring(Net):
    """Answers with the next class after some passes, which it counts where nobody looks."""

    seen: list[int] = []  # noqa: RUF012 - shared on purpose

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen.append(len(inputs))
        return super().forward(inputs).roll(int(len(self.seen) > 20), 1)


def test_a_model_that_changes_during_an_attack_is_flagged(attack: Any) -> None:
    model = Tiring()
    labels = labels_of(model)

    def ask(returned: Tensor, inputs: Tensor) -> Tensor:
        for _ in range(20):
            model(inputs)
        return returned

    attack(ask)
    record, _ = cell(model, labels, "odd")
    assert (record.status, record.flags) == ("ok", ("randomised",))
    assert f"randomised: logits of {N} of {N} images changed during the attack" in record.notes


def test_an_attack_that_fails_leaves_the_model_as_it_was(attack: Any) -> None:
    model = Net()
    before = model(images()).detach()

    def change(returned: Tensor, inputs: Tensor) -> Tensor:
        model.act = nn.Softplus()
        raise ValueError("unlucky")

    attack(change)
    assert cell(model, labels_of(model), "odd")[0].reason == "attack_error"
    assert torch.equal(model(images()), before)


@pytest.mark.parametrize("mode", [Harmless, HarmlessDispatch])
def test_a_torch_mode_that_an_attack_leaves_active_fails_its_cell_only(mode: Any, attack: Any) -> None:
    def change(returned: Tensor, inputs: Tensor) -> Tensor:
        mode().__enter__()
        return returned

    attack(change)
    record, _ = cell(linear(), labels_of(linear()), "odd")
    assert (record.status, record.reason) == ("failed", "attack_error")
    assert f"odd left the torch mode {mode.__name__} active" in record.message
    assert cell(linear(), labels_of(linear()), None)[0].status == "ok"


def test_parts_are_restored_exactly() -> None:
    model = Net()
    parts = parts_of(model)
    for change in CHANGES.values():
        change(model)
    assert len(changed_parts(parts)) >= len(CHANGES)
    restore_parts(parts)
    assert changed_parts(parts) == []
