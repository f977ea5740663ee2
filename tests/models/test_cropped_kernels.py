"""Cropped kernels: equal outputs and gradients for every geometry, and only where taps are unused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import conv2d

from bench.models.cropped_kernels import Axis, CroppedConv2d, crop_axis, crop_kernel, cropped_kernels


def images(height: int, width: int, channels: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.rand(2, channels, height, width, generator=generator, dtype=torch.float64)


def geometries() -> list[tuple[int, int, int, int, int]]:
    """Sizes, kernels, strides, paddings and dilations with at least one output pixel."""
    ranges = (range(1, 9), range(1, 8), range(1, 4), range(5), range(1, 4))
    return [g for g in product(*ranges) if g[0] + 2 * g[3] > g[4] * (g[1] - 1)]


@pytest.mark.parametrize("groups", [1, 2])
def test_every_geometry_gives_the_output_of_the_whole_kernel(groups: int) -> None:
    """Also one that differs between the axes: the width is 9, where a kernel of up to 7 pixels is whole."""
    cropped = 0
    for size, kernel, stride, padding, dilation in geometries():
        for width in (size, max(9, dilation * (kernel - 1) + 1)):
            layer = nn.Conv2d(2, 4, kernel, stride, padding, dilation, groups=groups).double()
            inputs = images(size, width)
            expected = layer(inputs)
            with cropped_kernels(layer):
                assert torch.allclose(layer(inputs), expected, atol=1e-12), (size, kernel, stride, padding, dilation)
            cropped += crop_kernel(layer, inputs)
    assert cropped > 200


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        ((1, 3, 1, 1, 1), Axis(slice(1, 2), 0, slice(0, 1, 1))),  # 1×1 map: only the centre
        ((2, 3, 2, 1, 1), Axis(slice(1, 3), 0, slice(0, 2, 1))),  # 2×2 map, stride 2: the first tap reads padding
        ((2, 3, 1, 1, 1), Axis(slice(0, 3), 1, None)),
        ((1, 7, 2, 3, 1), Axis(slice(3, 4), 0, slice(0, 1, 1))),
        ((3, 3, 1, 4, 4), Axis(slice(1, 2), 0, None)),  # dilation 4 on 3 pixels
        ((5, 2, 3, 1, 4), Axis(slice(1, 2), None, slice(3, 4, 4))),
    ],
)
def test_the_used_taps_of_known_cases(geometry: tuple[int, int, int, int, int], expected: Axis) -> None:
    assert crop_axis(*geometry) == expected


def test_gradients_equal_those_of_the_whole_kernel() -> None:
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2).double()
    found = []
    for context in (False, True):
        inputs = images(2, 1, 4).requires_grad_()
        layer.zero_grad()
        if context:
            with cropped_kernels(layer):
                layer(inputs).square().sum().backward()
        else:
            layer(inputs).square().sum().backward()
        assert inputs.grad is not None
        assert layer.weight.grad is not None
        found.append((inputs.grad, layer.weight.grad))
    assert all(torch.allclose(*pair, atol=1e-12) for pair in zip(*found, strict=True))
    assert not found[1][1][:, :, 0].any()  # the first row of taps only multiplies padding


def test_frozen_weights_that_change_are_read_again() -> None:
    layer = nn.Conv2d(2, 3, 3, padding=1).double().requires_grad_(False)
    inputs = images(1, 1)
    assert crop_kernel(layer, inputs)
    assert isinstance(layer, CroppedConv2d)
    before = layer(inputs)
    layer.weight.mul_(2)
    layer.bias = None
    doubled = layer(inputs)
    assert not torch.allclose(doubled, before)
    plain = nn.Conv2d(2, 3, 3, padding=1, bias=False).double()
    plain.load_state_dict(layer.state_dict())
    assert torch.allclose(doubled, plain(inputs))
    assert layer.float()(inputs.float()).dtype == torch.float32
    assert torch.allclose(layer.double()(images(4, 4)), plain.to(layer.weight).double()(images(4, 4)), atol=1e-6)


def test_other_sizes_than_the_first_are_right() -> None:
    """A model may resize its input at random."""
    layer = nn.Conv2d(2, 3, 3, padding=1).double().requires_grad_(False)
    plain = copy.deepcopy(layer)
    assert crop_kernel(layer, images(1, 1))
    for height, width in ((1, 1), (1, 5), (5, 1), (4, 4), (1, 1)):
        assert torch.allclose(layer(images(height, width)), plain(images(height, width)), atol=1e-12)


@pytest.mark.parametrize("kind", ["reflect", "same", "hook", "subclass"])
def test_other_convolutions_are_left(kind: str) -> None:
    layer = nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect" if kind == "reflect" else "zeros")
    if kind == "same":
        layer = nn.Conv2d(2, 3, 3, padding="same")
    elif kind == "hook":
        layer.register_forward_pre_hook(lambda module, inputs: None)
    elif kind == "subclass":
        layer = CroppedConv2d(2, 3, 3, padding=1)
    before = type(layer)
    assert not crop_kernel(layer, images(1, 1))
    assert type(layer) is before


def test_the_context_restores_the_layers() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU())
    names, attributes = list(model.state_dict()), set(vars(model[0]))
    with cropped_kernels(model):
        assert "_conv_forward" in vars(model[0])
        assert type(model[0]) is nn.Conv2d  # penalties may choose layers by their class
        assert list(model.state_dict()) == names
        torch.nn.utils.parametrizations.weight_norm(model[0], "weight")
        model(images(1, 1).float())
    model(images(1, 1).float())
    torch.nn.utils.parametrize.remove_parametrizations(model[0], "weight")
    assert set(vars(model[0])) == attributes


def scaled_in_place(layer: nn.Conv2d) -> nn.Conv2d:
    layer.weight.data.mul_(2)
    return layer


def replaced(layer: nn.Conv2d) -> nn.Conv2d:
    layer.weight.data = layer.weight.data + 1
    return layer


def changed_copy(layer: nn.Conv2d) -> nn.Conv2d:
    other = copy.deepcopy(layer)
    for _ in range(layer.weight._version):  # the numbers of changes agree, but not the weights
        other.weight.mul_(2)
    return other


@pytest.mark.parametrize("change", [scaled_in_place, replaced, changed_copy])
def test_frozen_weights_may_change_unseen_by_torch(change: Callable[[nn.Conv2d], nn.Conv2d]) -> None:
    """A mean teacher inside of the model is updated like this during a training."""
    layer = nn.Conv2d(2, 3, 3, padding=1).double().requires_grad_(False)
    layer.load_state_dict(layer.state_dict())
    with cropped_kernels(layer):
        layer(images(1, 1))
        changed = change(layer)
        found = changed(images(1, 1))
    assert torch.allclose(found, conv2d(images(1, 1), changed.weight, changed.bias, padding=1), atol=1e-12)


def test_forward_derivatives_pass_the_kernel() -> None:
    layer = nn.Conv2d(2, 3, 3, padding=1).double().requires_grad_(False)
    weights = {"weight": layer.weight}
    found = []
    for context in (nullcontext(), cropped_kernels(layer)):
        with context:
            outputs = partial(functional_call, layer, args=(images(1, 1),))
            found.append(torch.func.jvp(outputs, (weights,), (weights,))[1])
    assert torch.allclose(*found, atol=1e-12)


def test_a_layer_with_its_own_convolution_keeps_it() -> None:
    layer = nn.Conv2d(2, 3, 3, padding=1)
    layer._conv_forward = lambda inputs, weight, bias: inputs  # type: ignore[method-assign, assignment]
    with cropped_kernels(layer):
        assert torch.equal(layer(images(1, 1)), images(1, 1))
    assert torch.equal(layer(images(1, 1)), images(1, 1))
