"""A head on a backbone of every timm family: with and without the penultimate layer."""

from __future__ import annotations

import pytest
import torch
from families import FAMILY_MODELS

from bench.core.specs import ModelSpec
from bench.models.build import build_classifier
from bench.models.input_size import find_fit
from bench.models.variants import VARIANTS

# A head sees flat features only, so that one light architecture for every width is enough.
QUICK = ("test_byobnet", "test_nfnet", "test_resnet", "efficientvit_m0", "levit_128s", "xcit_nano_12_p8_384")


def check(name: str, variant: str) -> None:
    spec = VARIANTS.get(variant).spec
    built = build_classifier(
        ModelSpec(name=name), spec, image_size=8, num_classes=5, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0
    )
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    logits = built.classifier.eval().requires_grad_(False)(images)
    assert logits.shape == (2, 5)
    assert built.classifier.output.in_features == built.latent_dim == (spec.latent_dim or built.latent_dim)
    logits.logsumexp(1).sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()


@pytest.mark.parametrize("variant", ["baseline", "lpc"])
@pytest.mark.parametrize("name", QUICK)
def test_logits_and_gradients(name: str, variant: str) -> None:
    check(name, variant)


@pytest.mark.slow
def test_logits_and_gradients_of_every_family() -> None:
    """With the layer only: the classifier without it is that of the families' own test."""
    light = {name for name in FAMILY_MODELS.values() if getattr(find_fit(name, 8, "native"), "img_size", 999) <= 16}
    assert len(light) > 40
    for name in sorted(light - set(QUICK)):
        check(name, "lpc")
