"""Backbones: the size they compute on, names, and where their weights come from."""

from __future__ import annotations

import pickle
import urllib.error
from pathlib import Path
from typing import Any, Never

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from bench.core.errors import BenchError
from bench.models import backbones, input_size, registry
from bench.models.backbones import (
    ModelEntry,
    Resize,
    build_backbone,
    check_model_name,
    expand_models,
    register_model,
)
from bench.models.weights import read_weights


def features_of(backbone: nn.Module, batch: Any = 2) -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        return backbone.module.eval()(torch.randn(batch, 3, backbone.native_size, backbone.native_size))


# --- the size -------------------------------------------------------------------------------------------------------


def test_a_transformer_gets_enlarged_images_and_says_so() -> None:
    backbone = build_backbone("vit_tiny_patch16_224", image_size=8, num_classes=10)
    assert (backbone.native_size, backbone.img_size, backbone.stem) == (8, 32, "native")
    assert isinstance(backbone.module.resize, Resize)
    assert features_of(backbone).shape == (2, 192)


def test_convnext_gets_the_smallest_side_that_its_patches_divide() -> None:
    assert build_backbone("convnext_atto", image_size=28, num_classes=10).img_size == 32
    assert build_backbone("convnext_atto", image_size=64, num_classes=10).img_size == 64


def test_no_border_of_the_image_is_left_out() -> None:
    pit = input_size.find_fit("pit_ti_224", 28, "native")  # patches of 16 px at every 8 px
    assert pit == input_size.Fit(32, passes_size=True)
    dino = input_size.find_fit("vit_small_patch14_dinov2", 32, "native")
    assert dino == input_size.Fit(42, passes_size=True)


def test_a_size_is_told_to_the_architecture_that_needs_it() -> None:
    backbone = build_backbone("vit_tiny_patch16_224", image_size=48, num_classes=10)
    assert backbone.img_size == 48
    assert backbone.module.patch_embed.grid_size == (3, 3)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto"])
def test_gradients_reach_every_pixel_through_the_resizing(name: str) -> None:
    backbone = build_backbone(name, image_size=8, num_classes=10)
    assert isinstance(backbone.module.resize, Resize)
    images = torch.randn(2, 3, 8, 8, requires_grad=True)
    features = backbone.module.eval()(images)
    (features * torch.randn_like(features)).sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad != 0).all()


def test_resize_is_bilinear_without_antialiasing() -> None:
    images = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    quarter = torch.tensor([0.0, 0.25, 0.75, 1.0])  # pixel centres, edges repeated
    assert torch.allclose(Resize(4)(images)[0, 0], quarter[None, :] + 2 * quarter[:, None])
    assert torch.autograd.gradcheck(Resize(3), torch.randn(1, 1, 2, 2, dtype=torch.float64, requires_grad=True))


def test_weights_do_not_depend_on_whether_the_size_was_known() -> None:
    def draw() -> Any:
        torch.manual_seed(3)
        return build_backbone("convnext_atto", image_size=8, num_classes=10).module.state_dict()

    input_size.find_fit.cache_clear()
    first, second = draw(), draw()
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_an_architecture_without_any_size_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "find_fit", lambda *_: "it wants two images")
    with pytest.raises(BenchError, match=r"model 'vgg11' cannot be a backbone for plain images: it wants two images\."):
        build_backbone("vgg11", image_size=8, num_classes=10)


def test_the_width_is_what_comes_out() -> None:
    backbone = build_backbone("lcnet_035", image_size=8, num_classes=10)
    assert backbone.num_features == features_of(backbone).shape[1] == 1280


@pytest.mark.parametrize(
    ("output", "width", "expected"),
    [
        (torch.ones(2, 5), None, (2, 5)),
        (torch.ones(2, 5, 3, 3), 5, (2, 5)),
        (torch.ones(2, 3, 3, 5), 5, (2, 5)),
        (torch.ones(2, 7, 5), 5, (2, 5)),
        ((torch.ones(2, 5), torch.zeros(2, 5)), 5, (2, 5)),
    ],
)
def test_any_map_is_averaged_to_features(output: Any, width: int, expected: Any) -> None:
    flat = input_size.flatten_features(output, width)
    assert flat.shape == expected
    assert (flat == (0.5 if isinstance(output, tuple) else 1.0)).all()


def test_what_is_no_map_is_not_averaged() -> None:
    with pytest.raises(TypeError, match="it returns a dict"):
        input_size.flatten_features({})


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the models that a test registers when the test ends."""
    for table in ("_entries", "_origins"):
        monkeypatch.setattr(registry.MODELS, table, dict(getattr(registry.MODELS, table)))


def linear_entry() -> Any:
    return ModelEntry(
        "one layer", "none", lambda *, image_size: nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, 4))
    )


def test_an_unknown_name_suggests() -> None:
    with pytest.raises(
        BenchError, match=r"unknown model 'resnt18'; did you mean 'resnet18'.* See 'bench list models'\."
    ):
        build_backbone("resnt18", image_size=8, num_classes=10)
    with pytest.raises(BenchError, match=r"unknown model 'resnet18\.nowhere'"):
        check_model_name("resnet18.nowhere")
    check_model_name("resnet18.a1_in1k")


def test_wildcards_expand() -> None:
    assert {"resnet18", "resnet18d"} <= set(expand_models("resnet18*"))
    with pytest.raises(BenchError, match="no model matches 'nothing\\*'"):
        expand_models("nothing*")


@pytest.mark.usefixtures("clean_registry")
def test_a_registered_model_is_built() -> None:
    register_model("one_layer", linear_entry(), "a test")
    backbone = build_backbone("one_layer", image_size=8, num_classes=10)
    assert (backbone.num_features, backbone.img_size, backbone.stem, backbone.classifier) == (4, 8, "native", None)
    assert "one_layer" in expand_models("one_*")
    with pytest.raises(BenchError, match="has no pretrained weights"):
        build_backbone("one_layer", image_size=8, num_classes=10, pretrained=True)


@pytest.mark.usefixtures("clean_registry")
def test_a_name_belongs_to_one_origin() -> None:
    with pytest.raises(BenchError, match="'resnet18' is registered twice: by timm and by a test"):
        register_model("resnet18", linear_entry(), "a test")
    register_model("one_layer", linear_entry(), "a test")
    with pytest.raises(BenchError, match="registered twice: by a test and by another"):
        register_model("one_layer", linear_entry(), "another")


# --- weights --------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained() -> Any:
    """A network with 7 classes whose every weight and statistic differs from a fresh one's."""
    torch.manual_seed(1)
    model = timm.create_model("test_resnet", num_classes=7)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand_like(tensor) * 0.1)
    return model.eval()


def write(path: Path, model: nn.Module, wrap: Any) -> None:
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3} if wrap else state, path)


@pytest.mark.parametrize(("file", "wrap"), [("w.safetensors", False), ("w.pth", False), ("w.pth", True)])
def test_a_checkpoint_comes_back(tmp_path: Path, trained: Any, file: Path, wrap: Any) -> None:
    write(tmp_path / file, trained, wrap)
    backbone = build_backbone("test_resnet", image_size=32, num_classes=7, checkpoint_path=tmp_path / file)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits = backbone.classifier(backbone.module.eval()(images))
        assert torch.allclose(logits, trained(images), atol=1e-5)
    assert backbone.stem == "native"


def test_a_classifier_of_other_classes_is_dropped(tmp_path: Path, trained: Any) -> None:
    write(tmp_path / "w.pth", trained, False)
    backbone = build_backbone("test_resnet", image_size=32, num_classes=10, checkpoint_path=tmp_path / "w.pth")
    assert backbone.classifier is None
    assert torch.equal(backbone.module.conv1[0].weight, trained.conv1[0].weight)


def test_weights_of_a_small_stem_are_recognised(tmp_path: Path) -> None:
    small = build_backbone("resnet18", image_size=32, num_classes=10).module
    write(tmp_path / "w.pth", small, False)
    backbone = build_backbone("resnet18", image_size=32, num_classes=10, checkpoint_path=tmp_path / "w.pth")
    assert backbone.stem == "small"
    assert torch.equal(backbone.module.conv1.weight, small.conv1.weight)


def test_weights_of_a_transformer_are_carried_to_the_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    write(tmp_path / "w.safetensors", timm.create_model("test_vit", num_classes=5), False)
    backbone = build_backbone("test_vit", image_size=8, num_classes=5, checkpoint_path=tmp_path / "w.safetensors")
    assert backbone.img_size == 32
    assert backbone.classifier is not None


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, trained: Any) -> None:
    write(tmp_path / "w.pth", trained, False)
    with pytest.raises(BenchError, match=r"w\.pth does not fit .* 'lcnet_035': \d+ weights are missing.*Give the"):
        build_backbone("lcnet_035", image_size=32, num_classes=7, checkpoint_path=tmp_path / "w.pth")


def test_a_weight_too_many_is_refused(tmp_path: Path, trained: Any) -> None:
    torch.save({**trained.state_dict(), "extra": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(BenchError, match=r"1 is unexpected \(extra\)"):
        build_backbone("test_resnet", image_size=32, num_classes=7, checkpoint_path=tmp_path / "w.pth")


class Trap:
    """An object that says when it is unpickled."""

    sprung = False

    def __reduce__(self) -> Any:
        return setattr, (Trap, "sprung", True)


@pytest.mark.parametrize("file", ["w.pth", "w.safetensors"])
def test_pickled_objects_are_refused_and_never_made(tmp_path: Path, file: Path) -> None:
    if file == "w.pth":
        torch.save({"state_dict": Trap()}, tmp_path / file)
    else:
        (tmp_path / file).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BenchError, match=r"holds a pickled setattr, .*|holds pickled objects, which are never loaded"):
        build_backbone("test_resnet", image_size=8, num_classes=7, checkpoint_path=tmp_path / file)
    assert not Trap.sprung


def test_bytes_that_are_no_checkpoint_end_in_one_sentence(tmp_path: Path) -> None:
    for first in range(256):
        (tmp_path / "w.pth").write_bytes(bytes([first]) + b"oot:x:0:0:root:/root:/bin/bash\n")
        with pytest.raises(BenchError, match="cannot be read: it is damaged"):
            read_weights(tmp_path / "w.pth")


def test_a_checkpoint_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"gone\.pth does not exist; --checkpoint-path takes"):
        build_backbone("test_resnet", image_size=8, num_classes=7, checkpoint_path=tmp_path / "gone.pth")


def test_a_file_that_is_no_state_dict_is_a_sentence(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(BenchError, match="is not a state dict"):
        build_backbone("test_resnet", image_size=8, num_classes=7, checkpoint_path=tmp_path / "w.pth")


def test_weights_that_timm_does_not_have_are_a_sentence() -> None:
    with pytest.raises(BenchError, match=r"no pretrained weights for model 'darknet17'; .* --checkpoint-path"):
        build_backbone("darknet17", image_size=8, num_classes=10, pretrained=True)


def test_weights_come_from_one_place(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="one of them"):
        build_backbone("resnet18", image_size=8, num_classes=2, pretrained=True, checkpoint_path=tmp_path / "w.pth")


def test_no_network_is_a_sentence_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_args: Any, **_kwargs: Any) -> Never:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(backbones, "create", offline)
    with pytest.raises(
        BenchError, match=r"weights of model 'resnet18' could not be loaded \(URLError: .*no route.*path"
    ):
        build_backbone("resnet18", image_size=32, num_classes=10, pretrained=True)


@pytest.mark.parametrize(("num_classes", "kept"), [(7, True), (10, False)])
def test_the_pretrained_classifier_is_kept_for_its_own_classes(
    monkeypatch: pytest.MonkeyPatch, trained: Any, num_classes: int, kept: Any
) -> None:
    monkeypatch.setattr(backbones, "create", lambda *_args, **_kwargs: trained)
    backbone = build_backbone("test_resnet", image_size=32, num_classes=num_classes, pretrained=True)
    assert backbone.stem == "native"
    assert (backbone.classifier is not None) is kept


def test_weights_that_cannot_change_their_size_are_loaded_at_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(name: str, fit: Any, _stem: Any, **_options: Any) -> Any:
        if fit.img_size != 160:
            raise RuntimeError("size mismatch for pos_embed")
        return timm.create_model(name, img_size=160)

    monkeypatch.setattr(backbones, "create", create)
    assert build_backbone("test_vit", image_size=32, num_classes=10, pretrained=True).img_size == 160
