"""Networks for given weights: width, stem and grid are read from the tensors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.models import architectures, candidates
from bench.models.architectures import build_network
from bench.models.registry import MODELS, ModelEntry
from bench.models.weights import read_checkpoint


def same(network: nn.Module, model: nn.Module, *, channels: int) -> bool:
    """Whether both give the same logits, bit for bit."""
    images = torch.rand(2, channels, network.input_size, network.input_size)
    with torch.no_grad():
        return torch.equal(network.module(images), model.eval()(images))


def stirred(model: nn.Module) -> nn.Module:
    """Running statistics that are not those of a new network."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 2)
    return model


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet10t", 3),
        ("resnet10t", 1),
        ("vit_tiny_patch16_224", 1),
        ("convnext_atto", 4),
        ("efficientnet_b0", 1),
        ("mobilenetv3_small_050", 2),
    ],
)
def test_architectures_of_timm_are_built_as_they_were(name: str, channels: Any) -> None:
    model = stirred(timm.create_model(name, num_classes=13, in_chans=channels))
    network = build_network(name, {f"module.{k}": v for k, v in model.state_dict().items()}, image_size=32)
    assert (network.in_chans, network.num_classes) == (channels, 13)
    assert network.input_size == (224 if "vit" in name else 32)
    assert same(network, model, channels=channels)
    assert not network.module.training
    assert not any(p.requires_grad for p in network.module.parameters())


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "mobilenet_v2", "squeezenet1_0", "efficientnet_b0", "googlenet"]
)
def test_architectures_of_torchvision_are_built_as_they_were(name: str) -> None:
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    model = stirred(torchvision.models.get_model(name, num_classes=13, **options))
    network = build_network(
        f"torchvision:{name}", {"net." + k: v for k, v in model.state_dict().items()}, image_size=32
    )
    assert (network.in_chans, network.num_classes) == (3, 13)
    assert same(network, model, channels=3)


@pytest.mark.slow
def test_the_largest_network_of_torchvision_that_is_tested() -> None:
    model = stirred(torchvision.models.vgg11_bn(num_classes=13))
    network = build_network("torchvision:vgg11_bn", model.state_dict(), image_size=32)
    assert network.num_classes == 13
    assert same(network, model, channels=3)


def cifar_resnet(*, pool: bool, channels: int = 3) -> Any:
    model = stirred(torchvision.models.resnet18(num_classes=10))
    model.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
    if not pool:
        model.maxpool = nn.Identity()
    return model


@pytest.mark.parametrize("name", ["torchvision:resnet18", "resnet18"])
def test_a_resnet_with_the_stem_for_small_images(name: str) -> None:
    model = cifar_resnet(pool=False, channels=1)
    network = build_network(name, model.state_dict(), image_size=28)
    assert network.in_chans == 1
    assert same(network, model, channels=1)
    (note,) = network.notes
    assert "weights do not show whether the network had a max-pool, and stem 'native' keeps it" in note


@pytest.mark.parametrize("name", ["torchvision:resnet18", "resnet18"])
def test_the_max_pool_that_weights_do_not_show_is_an_argument(name: str) -> None:
    without, with_pool = cifar_resnet(pool=False), cifar_resnet(pool=True)
    with_pool.load_state_dict(without.state_dict())
    state = without.state_dict()
    assert same(build_network(name, state, image_size=32, stem="small"), without, channels=3)
    assert same(build_network(name, state, image_size=32, stem="native"), with_pool, channels=3)
    assert build_network(name, state, image_size=32, stem="native").notes == ()
    assert build_network(name, state, image_size=32).other_stem == "native"


def test_a_small_stem_for_weights_of_the_native_one_does_not_fit(no_suggestions: Any) -> None:
    state = torchvision.models.resnet18(num_classes=10).state_dict()
    with pytest.raises(BenchError, match=r"conv1\.weight \(64, 3, 7, 7\) for \(64, 3, 3, 3\)"):
        build_network("torchvision:resnet18", state, image_size=32, stem="small")


def test_stems_of_equal_shapes_are_noted() -> None:
    state = timm.create_model("resnet10t", num_classes=4).state_dict()
    network = build_network("resnet10t", state, image_size=32)
    assert "have the same shapes; the stem of the architecture was used" in network.notes[0]
    assert network.other_stem == "small"
    chosen = build_network("resnet10t", state, image_size=32, stem="native")
    large = build_network("resnet10t", state, image_size=96)  # too large for a small stem
    for network in (chosen, large):
        assert (network.notes, network.other_stem) == ((), None)
    native = build_network("resnet18", timm.create_model("resnet18", num_classes=4).state_dict(), image_size=32)
    assert (native.notes, native.other_stem) == ((), None)


def test_a_transformer_of_another_grid_is_built_and_not_resampled() -> None:
    model = timm.create_model("test_vit", img_size=32, patch_size=4, num_classes=10)
    for image_size in (32, 64):
        network = build_network("test_vit", model.state_dict(), image_size=image_size)
        assert network.input_size == 32
        assert same(network, model, channels=3)


def test_published_weights_are_renamed_and_never_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    model = timm.create_model("test_vit", num_classes=10)
    state = {f"x_{key}": value for key, value in model.state_dict().items()}

    def renaming(name: str, network: nn.Module) -> Any:
        return lambda given: {key.removeprefix("x_"): value for key, value in given.items()}

    def resampling(name: str, network: nn.Module) -> Any:
        return lambda given: {**model.state_dict(), "pos_embed": network.pos_embed.detach()}

    monkeypatch.setattr(architectures, "similar_names", lambda _: [])
    monkeypatch.setattr(candidates, "converter", renaming)
    network = build_network("test_vit", state, image_size=160, num_classes_hint=10)
    assert same(network, model, channels=3)
    monkeypatch.setattr(candidates, "converter", resampling)
    smaller = {**model.state_dict(), "pos_embed": torch.zeros(1, 9, 64)}
    with pytest.raises(BenchError, match=r"has another shape \(pos_embed \(1, 9, 64\)"):
        build_network("test_vit", smaller, image_size=160)


@pytest.fixture
def no_suggestions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Similar architectures are not tried, which takes seconds."""
    monkeypatch.setattr(architectures, "similar_names", lambda _: [])


@pytest.mark.slow
def test_weights_of_another_model_name_those_that_fit() -> None:
    state = torchvision.models.resnet18(num_classes=10).state_dict()
    with pytest.raises(BenchError, match=r"do not fit model 'torchvision:resnet34': 80 .*\. They fit .*resnet18'"):
        build_network("torchvision:resnet34", state, image_size=32)


def test_a_classifier_of_other_layers_is_one_sentence(no_suggestions: Any) -> None:
    model = torchvision.models.resnet18(num_classes=10)
    model.fc = nn.Sequential(nn.Linear(512, 16), nn.ReLU(), nn.Linear(16, 10))
    with pytest.raises(BenchError, match=r"2 weights are missing \(fc\.weight, fc\.bias\), 4 are unexpected \(fc\.0"):
        build_network("torchvision:resnet18", model.state_dict(), image_size=32)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("torchvision:resnet19", "unknown torchvision model 'resnet19'; did you mean"),
        ("resnet1812", "unknown model 'resnet1812'"),
    ],
)
def test_unknown_names_are_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        build_network(name, {"a": torch.ones(1)}, image_size=32)


def test_images_that_a_network_cannot_take_are_one_sentence() -> None:
    state = torchvision.models.squeezenet1_0(num_classes=10).state_dict()
    with pytest.raises(BenchError, match=r"does not accept images of 3 × 8 × 8: .*Resize the images"):
        build_network("torchvision:squeezenet1_0", state, image_size=8)


def test_random_numbers_of_the_caller_are_untouched() -> None:
    state = timm.create_model("test_resnet", num_classes=4).state_dict()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build_network("test_resnet", state, image_size=32)
    assert torch.equal(torch.rand(3), expected)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 6)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images).mean((2, 3)))


def test_a_model_of_a_plug_in(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    MODELS.register("mine", ModelEntry(summary="", source="", build=lambda image_size: Plain()), origin="a plug-in")
    request.addfinalizer(partial(MODELS.remove, "mine"))
    model = Plain()
    torch.save({"model": model.state_dict(), "n": 1}, tmp_path / "c.pth")
    network = build_network("mine", read_checkpoint(tmp_path / "c.pth").state, image_size=8)
    assert (network.num_classes, network.in_chans) == (6, 3)
    assert same(network, model, channels=3)


def test_bookkeeping_that_was_left_out_is_noted() -> None:
    state = timm.create_model("test_vit", num_classes=4).state_dict()
    averaged = {"n_averaged": torch.tensor(2), **{f"module.{key}": value for key, value in state.items()}}
    notes = build_network("test_vit", averaged, image_size=32).notes
    assert notes == ("entries that are not weights of the network were left out: 'n_averaged'",)
