"""What our own attacks search on: a copy of the model under test that answers faster, and nearly the same.

Batch norms are folded, the channels lie last in memory where that is faster, and in bf16 the backbone's passes are
bfloat16's; what stands behind the backbone is float32, so that two logits near each other are told apart. No verdict
depends on it: see :class:`attacks.prepared.Prepared`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.core.specs import Precision
from models.classifier import Classifier
from models.folding import folded

EXAMPLES = 2


class BFloat16(nn.Module):
    """A module whose passes are bfloat16's where torch's autocast has it so. Weights and result are float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16):
            outputs: Tensor = self.module(inputs)
        return outputs.float()


class SearchModels:
    """The search models of one frozen model under test, each made when first asked for."""

    def __init__(self, model: nn.Module, image_shape: Sequence[int], device: torch.device) -> None:
        self._model, self._image_shape, self._device = model, tuple(image_shape), device
        self._made: dict[Precision, nn.Module] = {}

    def get(self, precision: Precision) -> nn.Module:
        """The model under test itself where it has no faster form."""
        if precision not in self._made:
            self._made[precision] = self._make(precision)
        return self._made[precision]

    def _make(self, precision: Precision) -> nn.Module:
        faster = _faster(self._model, self._examples(), channels_last=_channels_last(self._device, precision))
        return _in_bfloat16(faster) if precision == "bf16" else faster

    def _examples(self) -> Tensor:
        """Noise: of images of one colour a norm's place among the layers could be mistaken."""
        return torch.rand(EXAMPLES, *self._image_shape, generator=torch.Generator().manual_seed(0))


def _faster(model: nn.Module, examples: Tensor, *, channels_last: bool) -> nn.Module:
    other = folded(model, examples)
    if not (channels_last and any(isinstance(module, nn.Conv2d) for module in model.modules())):
        return model if other is None else other
    try:
        other = copy.deepcopy(model) if other is None else other
    except Exception:  # noqa: BLE001 - a foreign model that cannot be copied is searched as it is
        return model
    return other.to(memory_format=torch.channels_last)


def _channels_last(device: torch.device, precision: Precision) -> bool:
    """On CPUs always faster or as fast, measured on five families; on accelerators where bfloat16 units need it."""
    return device.type == "cpu" or precision == "bf16"


def _in_bfloat16(model: nn.Module) -> nn.Module:
    if not isinstance(model, Classifier):
        return BFloat16(model)
    return Classifier(model.normalize, BFloat16(model.backbone), model.head, model.output).eval()
