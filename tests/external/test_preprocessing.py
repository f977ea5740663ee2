"""Preprocessing of foreign networks against closed forms, Pillow and timm's constants."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import timm.data.constants as timm_constants
import torch
from elsewhere import digits
from PIL import Image
from timm.models import get_pretrained_cfg
from torch import nn

from bench.core.errors import BenchError
from bench.core.specs import Fitting, Preprocessing
from bench.external.preprocessing import (
    NORMALIZATIONS,
    Preprocessed,
    config_notes,
    describe,
    fitting_from_config,
    from_config,
    parse_normalization,
    precision_of,
)


def given(mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None, **options: Any) -> Preprocessing:
    return Preprocessing(normalization="given", mean=mean, std=std, **options)


def linear(channels: int, side: int, classes: int = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, classes))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("name", "prefix"), [("imagenet", "IMAGENET_DEFAULT"), ("half", "IMAGENET_INCEPTION"), ("clip", "OPENAI_CLIP")]
)
def test_named_moments_are_those_of_timm(name: str, prefix: str) -> None:
    expected = getattr(timm_constants, f"{prefix}_MEAN"), getattr(timm_constants, f"{prefix}_STD")
    assert NORMALIZATIONS[name] == expected
    assert parse_normalization(name, None) == (name, *expected)


def test_other_values_of_normalize() -> None:
    assert parse_normalization("none", None) == ("none", None, None)
    assert parse_normalization("dataset", None, digits()) == ("dataset", (0.3054,), (0.3761,))
    assert parse_normalization(" 0.5, 0.25 ", None) == ("given", (0.5,), (0.25,))
    assert parse_normalization(".1,.2,.3,.4,.5,.6", None) == ("given", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    config = {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}
    assert parse_normalization("from-config", config) == ("from-config", (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ImageNet", "unknown normalisation 'ImageNet'; did you mean 'imagenet'?"),
        ("", "unknown normalisation ''"),
        ("0,5;0,25", "unknown normalisation"),
        ("0.5", "has 1 numbers; give numbers as m,s"),
        ("1,2,3,4", "has 4 numbers"),
        ("0.5,0", "a std above 0"),
        ("0.5,nan", "unknown normalisation"),
        ("inf,0.5", "unknown normalisation"),
        ("-0.5,0.5", "a mean must be at least 0"),
        ("127.5,127.5", "divide them by 255: --normalize 0.5,0.5"),
        ("from-config", "needs a model with a timm pretrained_cfg"),
        ("dataset", "needs a data set with measured moments"),
    ],
)
def test_what_is_no_normalisation_is_refused_in_a_sentence(text: str, message: str) -> None:
    with pytest.raises(BenchError) as error:
        parse_normalization(text, None)
    assert message in str(error.value)


def test_values_for_bytes_are_refused_with_those_for_unit_images() -> None:
    with pytest.raises(BenchError) as error:
        parse_normalization("123.675,116.28,103.53,58.395,57.12,57.375", None)
    way_out = str(error.value).split("--normalize ")[-1].rstrip(".")
    assert parse_normalization(way_out, None)[1:] == NORMALIZATIONS["imagenet"]


def test_a_config_of_timm() -> None:
    config = get_pretrained_cfg("resnet18.a1_in1k").to_dict()
    found = from_config(config)
    assert (found.mean, found.std) == NORMALIZATIONS["imagenet"]
    assert (found.normalization, found.channels, found.input_size, found.interpolation) == (
        "from-config",
        3,
        224,
        "bicubic",
    )
    fitting = Fitting(size=224, crop_pct=0.95, interpolation="bicubic")
    assert fitting_from_config(config) == fitting
    crop = "pretrained_cfg declares crop_pct 0.95, which is not applied: no margin is cut"
    assert config_notes(config, 224, fitting) == ()
    assert config_notes(config, 224, None) == (crop,)
    assert config_notes(config, 32, None) == ("pretrained_cfg declares images of 224×224, not 32×32", crop)


def test_other_configs() -> None:
    grey = from_config({"mean": (0.13,), "std": (0.3,), "input_size": (1, 28, 28), "interpolation": "lanczos"})
    assert (grey.channels, grey.input_size, grey.interpolation) == (1, 28, "bilinear")
    odd = {"mean": (0.5,), "std": (0.5,), "interpolation": "lanczos", "crop_pct": 1.0, "crop_mode": "squash"}
    assert fitting_from_config(odd) is None
    assert config_notes(odd, 32, Fitting(size=32)) == (
        "pretrained_cfg declares crop_mode squash; the centre is cropped",
        "pretrained_cfg declares interpolation lanczos; bilinear is used",
    )
    for crop in (-0.5, 1.5):
        with pytest.raises(BenchError, match="it must be above 0 and at most 1"):
            fitting_from_config(odd | {"crop_pct": crop})
    for bad in ({}, {"mean": (0.5,), "std": (0.5, 0.5)}, {"mean": (124, 116, 104), "std": (58, 57, 57)}):
        with pytest.raises(BenchError):
            from_config(bad)
    for size in ((4, 32, 32), (3, 32, 64)):
        with pytest.raises(BenchError, match=r"must be \(C, S, S\)"):
            from_config({"mean": (0.5,), "std": (0.5,), "input_size": size})


MEAN, STD = (0.1, 0.4, 0.6), (0.2, 0.5, 0.9)


@pytest.mark.parametrize("channels", [3, 1])
def test_gradient_is_the_closed_form(images: torch.Tensor, channels: int) -> None:
    """Compare with the gradient of logit k: w_k/σ_c per pixel; with one channel w_k/(3 σ̄), the same for all three."""
    network = linear(channels, 8)
    order = (2, 0, 3, 1)
    module = Preprocessed(network, given(MEAN, STD, channels=channels, class_order=order))
    points = images.requires_grad_()
    for output, known in enumerate(order):
        (gradient,) = torch.autograd.grad(module(points)[:, known].sum(), points)
        weight = network[1].weight[output].view(1, channels, 8, 8)
        std = torch.tensor(STD).view(1, 3, 1, 1) if channels == 3 else 3 * torch.tensor(STD).mean()
        torch.testing.assert_close(gradient, (weight / std).expand_as(gradient))


def test_gradient_through_resizing(images: torch.Tensor) -> None:
    """Resizing is linear: the gradient of a linear network is the adjoint, here by a finite difference in float64."""
    module = Preprocessed(linear(1, 13), given(MEAN, STD, channels=1, input_size=13)).double()
    assert torch.autograd.gradcheck(module, images[:1].double().requires_grad_())


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [5, 8, 20])
def test_resizing_is_that_of_pillow(images: torch.Tensor, interpolation: str, side: int) -> None:
    fed = Preprocessed(nn.Flatten(), given(input_size=side, interpolation=interpolation))(images).view(5, 3, side, side)
    how = getattr(Image.Resampling, interpolation.upper())
    for channel in range(3):
        expected = np.asarray(Image.fromarray(images[0, channel].numpy()).resize((side, side), how)).clip(0, 1)
        np.testing.assert_allclose(fed[0, channel].numpy(), expected, atol=1e-5)


def test_grey_images_and_the_mean_of_three_channels(images: torch.Tensor) -> None:
    fed = Preprocessed(nn.Flatten(), given(MEAN, STD, channels=1))(images).view(5, 1, 8, 8)
    torch.testing.assert_close(fed[:, 0], (images.mean(1) - sum(MEAN) / 3) / (sum(STD) / 3))


def test_class_order_puts_every_output_in_the_column_of_its_class(images: torch.Tensor) -> None:
    network = linear(3, 8)
    plain = Preprocessed(network, given())(images)
    for order in permutations(range(4)):
        logits = Preprocessed(network, given(class_order=order))(images)
        for output, known in enumerate(order):
            torch.testing.assert_close(logits[:, known], plain[:, output])


@pytest.mark.parametrize("order", [(0, 0, 1, 2), (1, 2, 3, 4), (0, 1, 2, -1)])
def test_class_order_is_a_permutation(order: tuple[int, ...]) -> None:
    with pytest.raises(BenchError, match="must have each of 0…3 once"):
        Preprocessed(linear(3, 8), given(class_order=order))


def test_class_order_of_another_length(images: torch.Tensor) -> None:
    with pytest.raises(BenchError, match="the class order has 2 classes"):
        Preprocessed(linear(3, 8), given(class_order=(1, 0)))(images)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_images_are_cast_to_the_network_and_logits_back(images: torch.Tensor, dtype: torch.dtype) -> None:
    network = linear(3, 8)
    expected = Preprocessed(network, given(MEAN, STD))(images)
    cast = network.to(dtype)
    assert precision_of(cast) == {torch.float64: "fp64", torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    module = Preprocessed(cast, given(MEAN, STD, precision=precision_of(cast)))
    logits = module(images)
    assert logits.dtype == torch.float32
    assert module.notes == (f"logits cast from {str(dtype).removeprefix('torch.')}",)
    torch.testing.assert_close(logits, expected, atol=0.1, rtol=0.05)
    doubled = module.double()  # as the float64 check of the audit does
    assert doubled(images.double()).dtype == torch.float64


def test_a_network_without_parameters_gets_the_images_as_they_are(images: torch.Tensor) -> None:
    assert precision_of(nn.Flatten()) == "fp32"
    torch.testing.assert_close(Preprocessed(nn.Flatten(), given())(images), images.flatten(1))


def test_description() -> None:
    assert describe(given()) == "images in [0, 1] are not normalised"
    inside = Preprocessing(normalization="inside", mean=None, std=None, class_order=(1, 0))
    assert describe(inside) == (
        "images in [0, 1] are normalised by the model itself; outputs are reordered to the data set's classes"
    )
    name, mean, std = parse_normalization("imagenet", None)
    whole = Preprocessing(
        normalization=name, mean=mean, std=std, channels=1, input_size=28, interpolation="bicubic", precision="fp16"
    )
    assert describe(whole) == (
        "images in [0, 1] are resized to 28×28 (bicubic), averaged over the channels, normalised with mean 0.449 and "
        "std 0.226 (imagenet), cast to fp16"
    )
