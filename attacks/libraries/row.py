"""Values that a row gives to an attack of a library."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.core.specs import Norm


class Row(NamedTuple):
    """Budget and seed of one call."""

    norm: Norm
    eps: float  # in units of [0, 1] pixels
    seed: int  # 31 bits


def class_count(model: nn.Module, inputs: Tensor) -> int:
    """Return the number of classes, from one forward pass of one image, for libraries that must be told."""
    with torch.no_grad():
        return int(model(inputs[:1]).shape[1])
