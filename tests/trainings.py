"""A tiny training for tests: its spec, its model, its images."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from bench.core.specs import DataSpec, ModelSpec, Recipe, TrainSpec, VariantSpec
from bench.data.tensors import ResidentImages
from bench.models.classifier import Classifier, Normalize
from bench.models.objective import Objective
from bench.runtime.progress import Progress
from bench.training.train import train, training_facts

CPU = torch.device("cpu")


def some_spec(**recipe: object) -> TrainSpec:
    return TrainSpec(
        data=DataSpec(name="d", train_sha="", num_classes=3, image_size=4),
        model=ModelSpec(name="m"),
        variant="v",
        variant_spec=VariantSpec(),
        recipe=dataclasses.replace(Recipe(epochs=3, batch_size=8, lr=1e-2), **recipe),  # type: ignore[arg-type]
        seed=0,
    )


def some_model() -> Classifier:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Dropout(0.5))
    return Classifier(Normalize((0.5,) * 3, (0.25,) * 3), backbone, nn.Identity(), nn.Linear(8, 3))


def some_images(count: int = 20) -> ResidentImages:
    pixels = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return ResidentImages([str(i) for i in range(count)], pixels, torch.arange(count) % 3)


def trained(spec: TrainSpec) -> Classifier:
    model, images = some_model(), some_images()
    train(model, images, spec, some_objective(spec), CPU, Progress())
    return model


def some_objective(spec: TrainSpec) -> Objective:
    return Objective(spec.variant_spec, training_facts(spec, count=20, latent_dim=8), latent_dim=8)
