"""Test that no attack leaves a trace in a trainable model: modes, gradients, requires_grad and weights."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench import attacks
from bench.attacks import ATTACKS, AttackEntry, SampleRng
from bench.attacks.registry import load_function, resolve
from bench.core.specs import AttackSpec, EvalSpec, Norm
from bench.data.tensors import ResidentImages
from bench.evaluation.cell import CellInput
from bench.evaluation.evaluate import evaluate_cell
from bench.runtime.progress import Progress

PLAIN = ("apgd", "autoattack", "ddn", "deepfool", "fab", "fgsm", "fmn", "mim", "pgd", "square")
EPS = 0.001  # too small for most images, so that every stage of an ensemble runs
L2_ONLY = ("ddn", "deepfool")
SHORT: dict[str, dict[str, Any]] = {"autoattack": {"steps": 5, "queries": 10}, "square": {"queries": 20}}
REFERENCE = [(name, norm) for name in ("fgsm", "pgd-3", "pgd-3-r2") for norm in ("linf", "l2")] + [
    ("autoattack-apgd-ce+apgd-t+fab-t+square-i5-s20", norm) for norm in ("linf", "l2", "l1")
]


class Reentrant(nn.Module):
    """Layers with a reentrant checkpoint, which supports only ``backward``."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = checkpoint(self.layers, inputs, use_reentrant=True)
        return logits


def trainable(*, accumulated: bool = True) -> nn.Sequential:
    """Return a network in the middle of a training: mixed modes, one frozen tensor, gradients of an earlier step."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.SiLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(96, 10)
    )
    model[1].eval()
    model[1].weight.requires_grad_(False)
    model[1].register_buffer("scale", torch.ones(1, requires_grad=True))
    if accumulated:
        model(images()).square().sum().backward()
    return model


def images() -> Tensor:
    return torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def check_untouched(model: nn.Module, attack: Callable[[nn.Module, Tensor, Tensor], object]) -> None:
    """Call ``attack`` and assert that the model and the inputs are as before, in values and objects."""
    inputs = images()
    labels = deepcopy(model).eval()(inputs).argmax(1)  # attacks may leave misclassified images out
    inputs.requires_grad_()
    modes = [module.training for module in model.modules()]
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    before = {n: (t.requires_grad, t.grad, None if t.grad is None else t.grad.clone()) for n, t in tensors.items()}
    values = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    attack(model, inputs, labels)
    assert [module.training for module in model.modules()] == modes
    for name, tensor in tensors.items():
        required, gradient, numbers = before[name]
        assert tensor.requires_grad == required, name
        assert tensor.grad is gradient, name
        assert numbers is None or torch.equal(gradient, numbers), name
        assert torch.equal(tensor.detach(), values[name]), name
    assert inputs.requires_grad
    assert inputs.grad is None


def test_every_plain_function_is_tested() -> None:
    """The list above is complete: all functions of the namespace that take a model."""
    functions = {name for name in attacks.__all__ if name in attacks._MODULES and name[0].islower()}
    assert functions - {"corrupt"} == set(PLAIN)


@pytest.mark.parametrize("accumulated", [True, False])
@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_function_leaves_no_trace(name: str, accumulated: bool) -> None:
    norm: Norm = "l2" if name in L2_ONLY else "linf"

    def attack(model: nn.Module, inputs: Tensor, labels: Tensor) -> object:
        return getattr(attacks, name)(model, inputs, labels, norm=norm, eps=EPS, **SHORT.get(name, {}))

    check_untouched(trainable(accumulated=accumulated), attack)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "deepfool"])
def test_a_reentrant_checkpoint_accumulates_nothing(name: str) -> None:
    norm: Norm = "l2" if name in L2_ONLY else "linf"

    def attack(model: nn.Module, inputs: Tensor, labels: Tensor) -> object:
        return getattr(attacks, name)(model, inputs, labels, norm=norm, eps=EPS)

    check_untouched(Reentrant(trainable()), attack)


@pytest.mark.parametrize("accumulated", [True, False])
@pytest.mark.parametrize(("name", "norm"), REFERENCE)
def test_a_function_of_a_reference_backend_leaves_no_trace(name: str, norm: Norm, accumulated: bool) -> None:
    """It leaves none when it is called by itself, and it attacks the network in evaluation mode."""
    resolved = resolve(name, "reference")
    params = dict(resolved.params) | ({"batch_size": 4} if resolved.entry.batches_itself else {})
    results = []

    def attack(model: nn.Module, inputs: Tensor, labels: Tensor) -> None:
        rng = SampleRng(0, name, [str(i) for i in range(len(inputs))])
        function = load_function(resolved.entry)
        results.append(function(model, inputs, labels, norm=norm, eps=EPS, rng=rng, **params))

    check_untouched(trainable(accumulated=accumulated), attack)
    check_untouched(trainable(accumulated=accumulated).eval(), attack)
    assert torch.equal(*results), "dropout has no influence"
    assert not results[0].requires_grad


def test_every_reference_function_is_tested() -> None:
    """All functions that a reference backend computes are among those of the test above."""
    functions = {entry.reference.function for name in ATTACKS if (entry := ATTACKS.get(name)).reference}
    assert functions == {resolve(name, "reference").entry.function for name, _ in REFERENCE}


def meddler(model: nn.Module, inputs: Tensor, labels: Tensor, *, norm: Norm, eps: float, rng: SampleRng) -> Tensor:
    """Do to the model whatever a careless attack may do, except changes of its weights."""
    model.requires_grad_(True)
    model(inputs).sum().backward()
    model.train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return inputs


def test_a_cell_leaves_no_trace_even_if_the_attack_of_a_plugin_does() -> None:
    """Its images are verified in evaluation mode, too: dropout would misclassify some of them."""
    entry = AttackEntry(summary="a careless attack", source="this test", function=meddler, uses_gradient=True)

    def attack(model: nn.Module, inputs: Tensor, labels: Tensor) -> None:
        spec = EvalSpec(
            run_id="r", data_sha="d", attack=AttackSpec(name="meddler", norm="linf", eps=EPS, version=1),
            protocol="standard", limit=None, batch_size=4, seed=0,
        )  # fmt: skip
        given = CellInput(
            model=model, weights_sha="", images=ResidentImages(list("abcd"), inputs.detach(), labels), n_test=4,
            official=False, num_classes=10, device=torch.device("cpu"), entry=entry,
        )  # fmt: skip
        record, _ = evaluate_cell(spec, given, Progress())
        assert (record.status, record.n_correct) == ("ok", 4), record.message

    check_untouched(trainable().eval(), attack)


def test_the_model_is_restored_after_an_error() -> None:
    def attack(model: nn.Module, inputs: Tensor, labels: Tensor) -> None:
        model[5].register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            attacks.pgd(model, inputs, labels, eps=EPS)

    check_untouched(trainable(), attack)
