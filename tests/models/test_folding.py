"""Folding: the same function in float64, on backbones of timm and on networks that are made to trip it."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from bench.core.specs import ModelSpec, VariantSpec
from bench.models.build import build_classifier
from bench.models.cropped_kernels import CroppedConv2d
from bench.models.folding import folded

BACKBONES = {"resnet10t": 14, "mobilenetv3_small_050": 34, "convnext_atto": 0, "vit_tiny_patch16_224": 0}


def images(side: int = 28, count: int = 3, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def with_statistics(model: nn.Module, seed: int = 0) -> nn.Module:
    """As after a training: no norm is the identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.running_mean, module.weight, module.bias):
                if tensor is not None:
                    tensor.data.copy_(torch.randn(tensor.shape, generator=generator))
            if module.running_var is not None:
                module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.1)
    return model.eval().requires_grad_(False)


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


@pytest.mark.parametrize("name", BACKBONES)
def test_the_logits_of_a_folded_backbone_are_those_of_the_original(name: str) -> None:
    built = build_classifier(
        ModelSpec(name=name), VariantSpec(), image_size=28, num_classes=10, mean=[0.3] * 3, std=[0.4] * 3, seed=0
    )
    model = with_statistics(built.classifier).double()
    before = copy.deepcopy(model.state_dict())
    other = folded(model, images(count=2))
    assert norms(model) == BACKBONES[name]
    if name.startswith("vit"):  # no batch norm, and no convolution on a small map as in ConvNeXt
        assert other is None
        return
    assert other is not None
    assert norms(other) == 0
    fresh = images(seed=2).double()
    expected = model(fresh)
    assert float(expected.std()) > 1e-3
    assert float((other(fresh) - expected).abs().max()) <= 1e-10 * max(float(expected.abs().max()), 1)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in other.parameters())


def test_a_folded_copy_has_the_type_of_the_model_and_its_gradients() -> None:
    model = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3)))
    other = folded(model, images(4))
    assert other is not None
    assert {parameter.dtype for parameter in other.parameters()} == {torch.float32}
    found = []
    for net in (model, other):
        points = images(4).requires_grad_()
        found.append(torch.autograd.grad(net(points).square().sum(), points)[0])
    assert torch.allclose(*found, rtol=1e-4, atol=1e-5)


def test_the_activation_inside_a_norm_stays() -> None:
    model = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4), nn.Flatten()))
    other = folded(model, images(4))
    assert other is not None
    assert norms(other) == 0
    assert float(other(images(4)).min()) == 0.0


class Tapped(nn.Module):
    """The convolution's output goes past the norm, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, inputs: Tensor) -> Tensor:
        between = self.conv(inputs)
        return (self.bn(between) + between).flatten(1)


class OnePlace(Tapped):
    """Answers in the same memory every time."""

    def forward(self, inputs: Tensor) -> Tensor:
        logits = super().forward(inputs)
        if not hasattr(self, "place") or self.place.dtype != logits.dtype:
            self.place = torch.empty_like(logits)
        return self.place.copy_(logits)


class Memory(Tapped):
    """Answers at once what it was asked before."""

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs is not getattr(self, "last", None):
            self.last, self.answer = inputs, super().forward(inputs)
        return self.answer


class Twice(nn.Module):
    """One convolution before two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.two(self.conv(self.one(self.conv(inputs)))).flatten(1)


class Opaque(nn.Module):
    """Cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def __deepcopy__(self, memo: object) -> nn.Module:
        raise RuntimeError("there is only one of me")

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs).flatten(1)


def reparametrised() -> nn.Module:
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    return nn.Sequential(conv, nn.BatchNorm2d(4), nn.Flatten())


UNFOLDABLE = {
    "tapped": Tapped,
    "tapped, answers in one place": OnePlace,
    "tapped, remembers": Memory,
    "twice": Twice,
    "opaque": Opaque,
    "reparametrised": reparametrised,
    "no statistics": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten()
    ),
    "between": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.BatchNorm2d(4), nn.Flatten()),
    "nothing": lambda: nn.Flatten(),
    "needs other images": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten()),
}


@pytest.mark.parametrize("kind", UNFOLDABLE)
def test_what_cannot_be_folded_is_not(kind: str) -> None:
    assert folded(with_statistics(UNFOLDABLE[kind]()), images(4)) is None


def test_what_can_be_folded_beside_what_cannot_is() -> None:
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    model = with_statistics(nn.Sequential(*layers, nn.Flatten()))
    other = folded(model, images(8))
    assert other is not None
    assert norms(other) == 1


@pytest.mark.parametrize("affine", [True, False])
def test_a_linear_layer_and_a_norm_without_weights(affine: bool) -> None:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 5, bias=False), nn.BatchNorm1d(5, affine=affine))
    model = with_statistics(layers).double()
    other = folded(model, images(4))
    assert other is not None
    assert norms(other) == 0
    assert torch.allclose(other(images(4).double()), model(images(4).double()), rtol=0, atol=1e-10)


def test_kernels_on_small_maps_are_cropped_without_a_norm() -> None:
    model = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert folded(model, images(4)) is None
    cropped = folded(model, images(1))
    assert cropped is not None
    assert type(cropped[0]) is CroppedConv2d
    assert type(model[0]) is nn.Conv2d
    assert torch.allclose(cropped(images(1)), model(images(1)), atol=1e-6)
