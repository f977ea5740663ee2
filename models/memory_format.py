"""The memory format channels-last, in which convolutions are faster on many devices."""

from __future__ import annotations

from itertools import chain
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def to_channels_last(module: M) -> M:
    """Convert the 4-D weights and buffers of ``module`` to channels-last, in place, and return it.

    ``Module.to`` fails for a module that also has weights with five dimensions, such as a 3-D convolution.
    """
    for tensor in chain(module.parameters(), module.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return module
