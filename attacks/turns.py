"""Batch gradient queries and forward-only queries separately.

In a shared batch, a forward-only query would pay for the backward pass, too. FAB's walks alternate between the two
kinds. Out of step, they would need two batches per step, each of them half full. So a batch holds one kind. The next
batch holds the samples that waited, with all others that ask for that kind by then: walks that alternate are in step
after one turn. Samples that need a gradient every time are queried in every second batch.
"""

from __future__ import annotations

from torch import Tensor


def whose_turn(needs_gradient: Tensor, waiting: Tensor) -> Tensor | None:
    """Choose the samples to query now, (B,) bool, or None for all: the more frequent kind, but no sample waits twice.

    ``needs_gradient`` and ``waiting`` are (B,) bool; those that are waiting, from the batch before, are of one kind.
    """
    sloping = int(needs_gradient.sum())
    if sloping in (0, len(needs_gradient)):
        return None
    kind = needs_gradient[waiting][0] if waiting.any() else 2 * sloping >= len(needs_gradient)
    return needs_gradient == kind
