"""A plug-in of models and variants, each of which breaks one rule. Tests check it by ``bench check-plugin``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.specs import VariantSpec
from bench.models.heads import HEADS, HeadEntry
from bench.models.penalties import PENALTIES, PenaltyEntry
from bench.models.registry import ModelEntry, register_model
from bench.models.training_steps import TRAINING_STEPS, StepContext, StepEntry, TrainingBatch
from bench.models.variants import VARIANTS, VariantEntry


class Then(nn.Module):
    """Apply ``function`` to the features of a linear layer."""

    def __init__(self, image_size: int, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, 8), nn.SiLU())
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return self.function(features)


class Counter(Then):
    """Change a buffer in every pass."""

    def __init__(self, image_size: int) -> None:
        super().__init__(image_size, lambda features: features)
        self.register_buffer("passes", torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(images)


def unseeded(*, image_size: int) -> nn.Module:
    network = Then(image_size, lambda features: features)
    draws = np.random.default_rng().normal(0, 0.1, network.layers[1].weight.shape)
    network.layers[1].weight.data = torch.tensor(draws, dtype=torch.float32)
    return network


def fails(*, image_size: int) -> nn.Module:
    raise ValueError(f"made for 224 px, not {image_size}")


MODELS: dict[str, Callable[[Tensor], Tensor]] = {
    "good": lambda features: features,
    "infinite": lambda features: features / 0,
    "wrong-type": lambda features: features.double(),
    "random": lambda features: features + torch.rand_like(features),
    "batch-dependent": lambda features: features - features.mean(0),
    "detached": lambda features: features.detach() + 0 * features,
}


def register(name: str, build: Callable[..., nn.Module], summary: str = "tests") -> None:
    register_model(f"model-{name}", ModelEntry(summary=summary, source="tests", build=build), __file__)


for name, function in MODELS.items():
    register(name, lambda *, image_size, function=function: Then(image_size, function))
register("counter", lambda *, image_size: Counter(image_size))
register("unseeded", unseeded)
register("fails", fails)
register("no-summary", lambda *, image_size: Then(image_size, lambda features: features), summary=" ")


class Unused(nn.Linear):
    """A linear head with a parameter that nothing uses."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__(width, latent_dim)
        self.unused = nn.Parameter(torch.zeros(3))


class Narrow(nn.Linear):
    """A head that gives one latent less than declared."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__(width, latent_dim - 1)


for head in (Unused, Narrow):
    HEADS.register(head.__name__.lower(), HeadEntry(summary="tests", build=head), origin=__file__)
PENALTIES.register(
    "infinite", PenaltyEntry(summary="tests", source="tests", function=lambda z: z.sum() / 0), origin=__file__
)
PARTS = {
    "detached": lambda z: z.detach().square().mean(),
    "vector": lambda z: z.square().mean(1),
    "number": lambda z: 1,
    "whole": lambda z: z.square().mean().long(),
}
for name, function in PARTS.items():
    PENALTIES.register(name, PenaltyEntry(summary="tests", source="tests", function=function), origin=__file__)


def silent(batch: TrainingBatch, context: StepContext) -> Tensor:
    return context.compute(batch.images, batch.labels).outputs.sum()


def unseeded(batch: TrainingBatch, context: StepContext) -> Tensor:
    return context.loss(context.forward(batch.images)) * np.random.rand()  # noqa: NPY002 - that is what is wrong


def evaluates(batch: TrainingBatch, context: StepContext) -> Tensor:
    context.model.eval()
    return context.loss(context.forward(batch.images))


STEPS = {"silent": silent, "unseeded": unseeded, "evaluates": evaluates}
for name, function in STEPS.items():
    TRAINING_STEPS.register(name, StepEntry(summary="tests", source="tests", function=function), origin=__file__)
VARIANT_SPECS = {
    **{name: VariantSpec(training_step=name) for name in STEPS},
    "threat": VariantSpec(training_step="trades"),
    **{name: VariantSpec(penalty=name, schedule="constant", gamma=1.0) for name in PARTS},
    "good": VariantSpec(head="linear", latent_dim=4),
    "unused": VariantSpec(head="unused", latent_dim=4),
    "narrow": VariantSpec(head="narrow", latent_dim=4),
    "infinite": VariantSpec(penalty="infinite", schedule="constant", gamma=1.0),
    "unknown-head": VariantSpec(head="lineer", latent_dim=4),
}
for name, spec in VARIANT_SPECS.items():
    entry = VariantEntry(summary="tests", source="two\nlines" if name == "narrow" else "tests", spec=spec)
    VARIANTS.register(f"variant-{name}", entry, origin=__file__)
