"""Which images are asked when not all can be."""

from __future__ import annotations

from torch import Tensor


def spread(indices: Tensor, most: int) -> Tensor:
    """At most ``most`` ≥ 1 of them, evenly spaced: the images of a set may be in the order of their classes.

    >>> import torch
    >>> spread(torch.arange(10), 4)
    tensor([0, 3, 6, 9])
    """
    return indices[:: max(-(-len(indices) // most), 1)]
