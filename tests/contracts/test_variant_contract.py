"""Every registered variant trains a step on a real backbone, and says where it comes from."""

from __future__ import annotations

import math
import re

import pytest
import torch

from bench.core.specs import DataSpec, ModelSpec, Recipe, TrainSpec
from bench.data.tensors import Images
from bench.models.build import build_classifier
from bench.models.objective import Objective
from bench.models.variants import VARIANTS
from bench.planning.recipes import RECIPES, resolve_budgets, resolve_variants
from bench.runtime.progress import Progress
from bench.training.train import train, training_facts

NAMES = [name for name in VARIANTS if VARIANTS.origin(name) == "bench.models.variants"]


@pytest.mark.parametrize("recipe", ["short", "auto"])
@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str, recipe: str) -> None:
    """Logits (N, K) from latents (N, d), a finite loss, and every parameter moved."""
    resolved = resolve_variants({name: VARIANTS.get(name).spec}, RECIPES.get(recipe), None)
    variant = resolve_budgets(resolved, asked=None, default=0.1)[name]
    spec = TrainSpec(
        data=DataSpec(name="d", train_sha="", num_classes=3, image_size=8),
        model=ModelSpec(name="resnet10t"),
        variant=name,
        variant_spec=variant,
        recipe=Recipe(epochs=2, batch_size=6),
        seed=0,
    )
    built = build_classifier(spec.model, variant, image_size=8, num_classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    pixels = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = Images([str(i) for i in range(12)], pixels, torch.arange(12) % 3)
    latents = built.classifier.eval().features(pixels)
    assert latents.shape == (12, built.latent_dim)
    assert torch.equal(built.classifier.output(latents), built.classifier(pixels))
    assert built.classifier(pixels).shape == (12, 3)
    before = {key: p.clone() for key, p in built.classifier.named_parameters()}
    facts = training_facts(spec, count=12, latent_dim=built.latent_dim)
    objective = Objective(variant, facts, latent_dim=built.latent_dim)
    history = train(built.classifier, images, spec, objective, torch.device("cpu"), Progress())
    assert len(history) == 2
    assert all(math.isfinite(record.loss) for record in history)
    assert [key for key, p in built.classifier.named_parameters() if torch.equal(p, before[key])] == []


@pytest.mark.parametrize("name", NAMES)
def test_entry_is_documented(name: str) -> None:
    assert VARIANTS.get(name).summary
    assert re.search(r"arXiv \d{4}\.\d{4,5}|OpenReview|ECCV", VARIANTS.get(name).source)


def test_equal_seeds_build_equal_weights_whatever_came_before() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.rand(17)
        spec = VARIANTS.get("lpc").spec
        built = build_classifier(
            ModelSpec(name="resnet10t"), spec, image_size=8, num_classes=3, mean=(0,) * 3, std=(1,) * 3, seed=seed
        )
        return torch.cat([p.flatten() for p in built.classifier.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))
