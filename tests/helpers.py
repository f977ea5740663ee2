"""Helpers that several tests share: linear models with known margins, and the text of a plug-in."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.diagnostics.registry import DIAGNOSTICS
from bench.runtime import plugin, source_loader

TINY_PLUGIN = """
import torch
from torch import nn

from bench.attacks.registry import ATTACKS, AttackEntry, Cost
from bench.core.specs import VariantSpec
from bench.models.backbones import ModelEntry, register_model
from bench.models.penalties import PENALTIES, PenaltyEntry
from bench.models.variants import VARIANTS, VariantEntry

ORIGIN = __file__


def build(*, image_size):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * ((image_size + 1) // 2) ** 2, 16),
    )


register_model("tiny", ModelEntry(summary="one convolution", source="tests", build=build), ORIGIN)


def crash(model, inputs, labels, *, norm, eps, rng):
    raise ValueError("the attack is broken")


def too_far(model, inputs, labels, *, norm, eps, rng):
    return (inputs + 3 * eps).clamp(0, 1)


def outside(model, inputs, labels, *, norm, eps, rng):
    return inputs - 0.9 * eps


def not_a_number(model, inputs, labels, *, norm, eps, rng):
    return inputs * float("nan")


def misshapen(model, inputs, labels, *, norm, eps, rng):
    return inputs[:, :1]


def hungry(model, inputs, labels, *, norm, eps, rng):
    if len(inputs) > 16:
        raise torch.OutOfMemoryError("tried to allocate everything")
    return inputs


def idle(model, inputs, labels, *, norm, eps, rng, query_budget=None):
    return inputs


def noise(model, inputs, labels, *, norm, eps, rng):
    return (inputs + eps * (2 * rng.uniform("noise", 0, inputs.shape[1:]) - 1)).clamp(0, 1)


def warns(model, inputs, labels, *, norm, eps, rng):
    import logging

    logging.getLogger("library").warning("something is odd")
    model.train()
    return inputs


def vandal(model, inputs, labels, *, norm, eps, rng):
    for parameter in model.parameters():
        parameter.data.zero_()
    return inputs


for function in (vandal, warns, crash, too_far, outside, not_a_number, misshapen, hungry, idle, noise):
    name = function.__name__.replace("_", "-")
    entry = AttackEntry(summary=name, source="tests", function=function, uses_gradient=False)
    ATTACKS.register(name, entry, origin=ORIGIN)

PENALTIES.register(
    "explode", PenaltyEntry(summary="NaN", source="tests", function=lambda z: z.sum() * float("nan")), origin=ORIGIN
)
VARIANTS.register(
    "exploding",
    VariantEntry(summary="NaN loss", source="tests", spec=VariantSpec(penalty="explode", schedule="short")),
    origin=ORIGIN,
)
"""


class LinearModel(nn.Module):
    """Two classes on flattened images: logits (0, w·x + b)."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = bias

    def forward(self, inputs: Tensor) -> Tensor:
        score = inputs.flatten(1) @ self.weight + self.bias
        return torch.stack([torch.zeros_like(score), score], dim=1)

    def margin(self, inputs: Tensor, norm: str) -> Tensor:
        """The exact distance of every image from the decision boundary: |w·x + b| / ‖w‖*, ‖·‖* the dual norm."""
        score = inputs.double().flatten(1) @ self.weight.double() + self.bias
        weight = self.weight.double()
        dual = {"linf": weight.abs().sum(), "l2": weight.norm(), "l1": weight.abs().max()}[norm]
        return score.abs() / dual


def unload_plugin(path: Path) -> None:
    """Remove a plug-in and its diagnostics from this process, as if it had not been loaded."""
    for entry in plugin._REGISTERED.pop(path.resolve(), ()):
        assert entry.kind == "diagnostic", "other registries keep their entries"
        DIAGNOSTICS.remove(entry.name)
    if plugin._LOADED.pop(path.resolve(), None) is not None:
        module = next(name for name, found in sys.modules.items() if getattr(found, "__file__", None) == str(path))
        del sys.modules[module]
        source_loader._RUN.pop(path.resolve(), None)
        source_loader._HASHED.pop(path.resolve(), None)
