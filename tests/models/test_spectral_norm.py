"""Spectral normalisation: singular values by a decomposition, stored weights, averages, and attacks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import pgd
from bench.core.specs import ModelSpec, VariantSpec
from bench.models.build import build_classifier
from bench.models.classifier import Classifier, freeze
from bench.models.spectral_norm import settle_spectral_norms

SPEC = VariantSpec(spectral_norm=True, head="linear", latent_dim=8)


def built(variant: VariantSpec = SPEC) -> Classifier:
    return build_classifier(
        ModelSpec(name="test_resnet"), variant, image_size=8, num_classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0
    ).classifier


def layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def largest(weight: Tensor) -> float:
    return float(torch.linalg.svdvals(weight.detach().flatten(1).double())[0])


def some_images() -> Tensor:
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_every_layer_has_singular_values_of_one_at_most() -> None:
    """The power method converges to the largest one; its estimate is never above it."""
    model, plain = built(), built(dataclasses.replace(SPEC, spectral_norm=False))
    assert len(layers(model)) > 10
    for _ in range(10):
        settle_spectral_norms(model)
    raw = dict(layers(plain))
    for name, layer in layers(model):
        assert largest(layer.weight) == pytest.approx(1, abs=1e-2)
        assert torch.allclose(layer.weight, raw[name].weight / largest(raw[name].weight), rtol=2e-2)  # equal draws


def test_evaluation_changes_nothing_and_stored_weights_give_the_same_network(tmp_path: Path) -> None:
    model = built().train()
    vectors = {name: value.clone() for name, value in model.state_dict().items() if name.endswith("_u")}
    model(some_images())
    assert all(not torch.equal(value, vectors[n]) for n, value in model.state_dict().items() if n in vectors)
    model.eval()
    expected = model(some_images())
    assert torch.equal(model(some_images()), expected)
    other = built().eval()
    other.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    assert torch.equal(other(some_images()), expected)


def test_after_an_average_of_weights_the_norms_are_found_again() -> None:
    model = built()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith(("_u", "_v")):
                value.mul_(0.5)  # an average of two vectors is shorter than 1
    model.eval()
    assert max(largest(layer.weight) for _, layer in layers(model)) > 2
    settle_spectral_norms(model)
    assert max(largest(layer.weight) for _, layer in layers(model)) < 1.05
    assert not any(module.training for module in model.modules())
    plain = built(VariantSpec())
    settle_spectral_norms(plain)


def test_attacks_find_their_way() -> None:
    model, labels = freeze(built()), torch.tensor([0, 1, 2, 0, 1, 2])
    images = some_images()
    found = pgd(model, images, labels, norm="linf", eps=0.1, steps=5)
    loss = nn.CrossEntropyLoss()
    assert float(loss(model(found), labels)) > float(loss(model(images), labels))
