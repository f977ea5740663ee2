"""A head on backbones of several widths, with and without the penultimate layer."""

from __future__ import annotations

import pytest
import torch

from bench.core.specs import ModelSpec
from bench.models.build import build_classifier
from bench.models.variants import VARIANTS

# A head sees flat features only, whose shape and gradients test_families checks for every family of timm.
NAMES = ("test_byobnet", "test_nfnet", "test_resnet", "efficientvit_m0", "levit_128s", "xcit_nano_12_p8_384")


@pytest.mark.parametrize("variant", ["baseline", "lpc"])
@pytest.mark.parametrize("name", NAMES)
def test_logits_and_gradients(name: str, variant: str) -> None:
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
