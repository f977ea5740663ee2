"""Whose turn it is: questions with a gradient and those without do not share a batch, and a kind of its own is small.

A walk of FAB asks for the one and then for the other. Walks that are out of step would halve every batch; let those of
the smaller kind wait once, and from then on all ask the same at the same time.
"""

from __future__ import annotations

import torch
from torch import Tensor


def whose_turn(needs_gradient: Tensor, waiting: Tensor) -> Tensor:
    """Which samples to ask about now, (B,) bool, all of one kind: the more frequent one, but nobody waits twice.

    ``needs_gradient`` and ``waiting`` are (B,) bool; those that are waiting, from the batch before, are of one kind.
    """
    if needs_gradient.all() or not needs_gradient.any():
        return torch.ones_like(waiting)
    if waiting.any():
        return needs_gradient == needs_gradient[waiting][0]
    return needs_gradient == (2 * needs_gradient.sum() >= len(needs_gradient))
