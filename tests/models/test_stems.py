"""The stem of backbones: for small images, as chosen, and what it replaces."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import timm
import torch
from torch import nn

from bench.core.errors import BenchError
from bench.models import stems
from bench.models.backbones import (
    Layout,
    build_backbone,
)


def features_of(backbone: nn.Module, batch: Any = 2) -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        return backbone.module.eval()(torch.randn(batch, 3, backbone.native_size, backbone.native_size))


def test_resnet18_gets_the_small_stem_for_small_images() -> None:
    backbone = build_backbone("resnet18", image_size=16, num_classes=10)
    conv = backbone.module.conv1
    assert (backbone.stem, backbone.img_size, backbone.native_size, backbone.num_features) == ("small", 16, 16, 512)
    assert (conv.kernel_size, conv.stride, conv.padding, conv.out_channels) == ((3, 3), (1, 1), (1, 1), 64)
    assert conv.bias is None
    assert isinstance(backbone.module.maxpool, nn.Identity)
    assert features_of(backbone).shape == (2, 512)


def test_resnet18_keeps_its_stem_for_large_images() -> None:
    backbone = build_backbone("resnet18", image_size=96, num_classes=10)
    assert backbone.stem == "native"
    assert backbone.module.conv1.kernel_size == (7, 7)
    assert isinstance(backbone.module.maxpool, nn.MaxPool2d)


def test_the_small_stem_ends_at_64_px() -> None:
    assert build_backbone("resnet18", image_size=64, num_classes=2).stem == "small"
    assert build_backbone("resnet18", image_size=65, num_classes=2).stem == "native"


@pytest.mark.parametrize(
    ("name", "stem"),
    [("resnet18", "native"), ("resnetblur18", "small"), ("mobilenetv3_small_050", "small")],  # enlarges; has no pool
)
def test_digits_keep_a_native_stem_with_a_pool_unless_it_enlarges_them(name: str, stem: str) -> None:
    backbone = build_backbone(name, image_size=8, num_classes=2)
    assert (backbone.stem, backbone.img_size) == (stem, 8)


@pytest.mark.parametrize(("side", "stem"), [(28, "native"), (96, "small")])  # the other one is the default
def test_a_stem_can_be_chosen_for_random_weights(side: int, stem: Literal["native", "small"]) -> None:
    backbone = build_backbone("resnet10t", image_size=side, num_classes=2, stem=stem)
    assert (backbone.stem, backbone.img_size) == (stem, side)
    reloaded = build_backbone("resnet10t", image_size=side, num_classes=2, layout=Layout(stem, side))
    images = torch.rand(2, 3, side, side)
    reloaded.module.load_state_dict(backbone.module.state_dict())
    assert torch.equal(backbone.module.eval()(images), reloaded.module.eval()(images))


def test_a_small_stem_that_an_architecture_does_not_have_is_one_sentence() -> None:
    with pytest.raises(BenchError, match=r"model 'vit_tiny_patch16_224' has no small stem: .*\. Leave --stem out\."):
        build_backbone("vit_tiny_patch16_224", image_size=28, num_classes=2, stem="small")


def test_a_deep_stem_loses_its_stride_and_its_pool() -> None:
    module = build_backbone("resnet10t", image_size=16, num_classes=10).module
    assert [c.stride for c in module.conv1 if isinstance(c, nn.Conv2d)] == [(1, 1)] * 3
    assert isinstance(module.maxpool, nn.Identity)


def test_an_anti_aliased_pool_goes_with_its_blur() -> None:
    module = build_backbone("resnetblur18", image_size=16, num_classes=10).module
    assert all(isinstance(m, nn.Identity) for m in module.maxpool)


def test_mobile_nets_have_no_pool_to_lose() -> None:
    backbone = build_backbone("efficientnet_b0", image_size=16, num_classes=10)
    assert backbone.stem == "small"
    assert (backbone.module.conv_stem.stride, backbone.module.conv_stem.padding) == ((1, 1), (1, 1))
    assert features_of(backbone).shape == (2, backbone.num_features)


def test_dense_nets_lose_their_pool() -> None:
    with torch.device("meta"):
        model = timm.create_model("densenet121")
    assert stems.shrink_stem(model)
    features = model.features
    assert features.conv0.kernel_size == (3, 3)
    assert isinstance(features.pool0, nn.Identity)


@pytest.mark.parametrize("name", ["convnext_atto", "vit_tiny_patch16_224", "darknet17"])
def test_a_stem_of_another_kind_stays(name: str) -> None:
    assert not stems.shrink_stem(timm.create_model(name))


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "nf_resnet26", "resnetv2_50x1_bit", "repvgg_a0", "resnet26d"])
def test_every_kind_of_first_convolution_keeps_the_side(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
        assert stems.shrink_stem(model)
    for conv in stems.first_convs(model):
        assert conv(torch.zeros(1, 3, 11, 11, device="meta")).shape[-2:] == (11, 11)


def test_the_3x3_kernel_is_drawn_as_wide_as_the_one_it_replaces() -> None:
    torch.manual_seed(0)
    native = timm.create_model("resnet18").conv1
    small = build_backbone("resnet18", image_size=32, num_classes=2).module.conv1
    output = [(c.weight.var() * c.weight[0].numel()).item() for c in (native, small)]  # of unit-variance input
    assert output[0] == pytest.approx(output[1], rel=0.15)
