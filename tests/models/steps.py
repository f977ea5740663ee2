"""A training step of a linear classifier in float64, whose losses can be computed by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.core.specs import AdversarySpec, VariantSpec
from bench.data.sample_random import SampleRandom
from bench.models.auxiliary_losses import Batch
from bench.models.classifier import Classifier
from bench.models.objective import Objective
from bench.models.schedules import TrainingFacts
from bench.models.training_steps import StepContext, TrainingBatch

COUNT, CLASSES, SIDE = 5, 4, 3
FACTS = TrainingFacts(epochs=1, steps_per_epoch=1, lr=0.1, num_classes=CLASSES, latent_dim=6, gamma=0.7)


class DoubleRandom(SampleRandom):
    """Random numbers in float64."""

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        return super().uniform(purpose, *shape).double()

    def normal(self, purpose: str, *shape: int) -> Tensor:
        return super().normal(purpose, *shape).double()


def linear_model(*, norm: bool = False) -> Classifier:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(3 * SIDE**2, 6)]
    backbone = nn.Sequential(*layers, *([nn.BatchNorm1d(6)] if norm else []))
    return Classifier(nn.Identity(), backbone, nn.Identity(), nn.Linear(6, CLASSES)).double()


def some_batch() -> TrainingBatch:
    images = torch.rand(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return TrainingBatch(images * 0.6 + 0.2, torch.arange(COUNT) % CLASSES)


def some_context(variant: VariantSpec, model: Classifier | None = None) -> StepContext:
    model, batch = model or linear_model(), some_batch()

    def compute(images: Tensor, labels: Tensor) -> Batch:
        features = model.embed(images)
        latents = model.head(features)
        return Batch(features, latents, model.output(latents), labels)

    return StepContext(
        model=model,
        objective=Objective(variant, FACTS, latent_dim=6),
        batch=batch,
        epoch=1,
        epochs=1,
        gamma=variant.gamma or 0.0,
        weight=variant.step_weight,
        compute=compute,
        random=DoubleRandom(0, 1, torch.arange(COUNT)),
    )


def pgd(norm: str = "linf", eps: float = 0.1) -> AdversarySpec:
    return AdversarySpec(norm=norm, eps=eps)  # type: ignore[arg-type]
