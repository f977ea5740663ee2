"""Choice of a subset of images."""

from __future__ import annotations

import torch
from torch import Tensor


def spread(indices: Tensor, most: int) -> Tensor:
    """Choose at most ``most`` ≥ 1 of ``indices``, one from every part of equal size, with a fixed seed.

    The images of a set may be in the order of their classes, and every tenth image may be of one class.

    >>> spread(torch.arange(10), 4).tolist(), spread(torch.arange(3), 4).tolist()
    ([1, 4, 5, 9], [0, 1, 2])
    """
    count = len(indices)
    if count <= most:
        return indices
    starts = torch.arange(most + 1) * count // most
    drawn = torch.rand(most, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return indices[starts[:-1] + (drawn * starts.diff()).long()]
