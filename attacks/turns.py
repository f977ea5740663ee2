"""Whose turn it is: a question with a gradient and one without do not share a batch, as the latter would pay for both.

Walks of FAB ask for the one and then for the other. Out of step they would come in two batches a step, each of them
half full. A batch therefore asks one kind, and the next one those who waited, with whoever asks the same by then: walks
that alternate are in step after one turn. Those that want a gradient every time are asked with each second batch.
"""

from __future__ import annotations

from torch import Tensor


def whose_turn(needs_gradient: Tensor, waiting: Tensor) -> Tensor | None:
    """Which samples to ask about now, (B,) bool, or None for all: the more frequent kind, but nobody waits twice.

    ``needs_gradient`` and ``waiting`` are (B,) bool; those that are waiting, from the batch before, are of one kind.
    """
    sloping = int(needs_gradient.sum())
    if sloping in (0, len(needs_gradient)):
        return None
    kind = needs_gradient[waiting][0] if waiting.any() else 2 * sloping >= len(needs_gradient)
    return needs_gradient == kind
