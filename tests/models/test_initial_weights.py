"""The authors' initial weights: their closed-form moments, and the networks that do not get them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.models.resnet import Bottleneck, ResNet
from torch import nn

from bench.core.specs import DataSpec, ModelSpec, Recipe, TrainSpec, VariantSpec
from bench.models.build import BuiltModel, build_classifier


def built(init: str, *, seed: int = 0, checkpoint: Path | None = None, name: str = "resnet18") -> BuiltModel:
    return build_classifier(
        ModelSpec(name=name), VariantSpec(), image_size=32, num_classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=seed,
        init=init, checkpoint_path=checkpoint,  # type: ignore[arg-type]
    )  # fmt: skip


def convolutions(model: BuiltModel) -> list[nn.Conv2d]:
    return [m for m in model.classifier.modules() if isinstance(m, nn.Conv2d)]


def test_convolutions_of_the_authors_are_uniform_and_narrower_than_timms() -> None:
    """U(±1/√fan_in) has the standard deviation √(1/(3·fan_in)); timm's is √(2/fan_out)."""
    ratios = []
    for theirs, timms in zip(convolutions(built("authors")), convolutions(built("timm")), strict=True):
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(theirs.weight)
        n = theirs.weight.numel()
        theirs, timms = theirs.requires_grad_(False), timms.requires_grad_(False)
        assert float(theirs.weight.abs().max()) <= 1 / math.sqrt(fan_in)
        assert float(theirs.weight.std()) == pytest.approx(math.sqrt(1 / (3 * fan_in)), rel=5 / math.sqrt(n))
        assert float(timms.weight.std()) == pytest.approx(math.sqrt(2 / fan_out), rel=5 / math.sqrt(n))
        ratios.append(float(timms.weight.std() / theirs.weight.std()))
    assert sorted(ratios)[len(ratios) // 2] == pytest.approx(math.sqrt(6), rel=0.01)


def test_no_batch_norm_of_the_authors_starts_at_zero() -> None:
    def zeros(init: str) -> int:
        norms = [m for m in built(init).classifier.modules() if isinstance(m, nn.BatchNorm2d)]
        assert all(len(m.weight.unique()) == 1 for m in norms)
        return sum(bool(m.weight[0] == 0) for m in norms)

    assert (zeros("authors"), zeros("timm")) == (0, 8)  # ResNet-18 has 8 blocks


def test_equal_seeds_give_equal_weights_and_the_heads_default_is_not_touched() -> None:
    first, again, other = (built("authors", seed=seed).classifier.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["backbone.conv1.weight"], other["backbone.conv1.weight"])


def test_loaded_weights_are_kept(tmp_path: Path) -> None:
    state = {k: v.clone() for k, v in built("timm", name="resnet10t", seed=3).classifier.backbone.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    loaded = built("authors", name="resnet10t", checkpoint=tmp_path / "w.safetensors").classifier.backbone.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_the_default_does_not_change_an_id_and_the_authors_weights_do() -> None:
    def run_id(**changes: object) -> str:
        return TrainSpec(
            data=DataSpec(name="digits", train_sha="t", num_classes=10, image_size=8), model=ModelSpec(name="resnet18"),
            variant="baseline", variant_spec=VariantSpec(), recipe=Recipe(epochs=1, **changes), seed=0, version=3,  # type: ignore[arg-type]
        ).run_id  # fmt: skip

    assert run_id() == run_id(init="timm") == run_id(noise_space="pixels") == "0cb372333656"
    assert len({run_id(), run_id(init="authors"), run_id(noise_space="normalized")}) == 3


def test_the_authors_wide_network_has_268_million_parameters() -> None:
    """Twice the channels and twice the bottleneck's width of ResNet-50, and a layer of 128 before 1000 classes."""
    with torch.device("meta"):
        network = ResNet(Bottleneck, (3, 4, 6, 3), num_classes=0, channels=(128, 256, 512, 1024), base_width=128)
        layers = nn.Sequential(network, nn.Linear(4096, 128), nn.Linear(128, 1000))
    assert round(sum(p.numel() for p in layers.parameters()) / 1e6) == 268
