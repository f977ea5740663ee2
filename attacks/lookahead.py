"""Several questions about one sample at once, where an answer seldom changes anything.

A random search keeps its best point for many proposals in a row, and what it proposes next depends on that point and on
a number. So the next proposals can be asked about in one batch, as if all were to be refused: the first that is not
refused, or the last, is where the search goes on, and the answers behind it are thrown away. It is the path of one
question after the other, in fewer batches; the passes thrown away are more the more often a proposal is accepted.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Foreseeing(Protocol):
    """A search (see bench.attacks.search) that knows its next questions, should the answers change nothing."""

    def foresee(self, state: Any, count: int) -> Any:
        """``state`` of B samples and what it would be after 1, 2, … answers that change nothing, ``count``·B rows.

        They are ordered by that number, and may be fewer; ``over`` is true of those that will not be asked.
        """

    def unmoved(self, state: Any, loss: Tensor) -> Tensor:
        """Whether an answer with this ``loss``, (B,), changes nothing, (B,) bool."""


def first_row(moved: Tensor, over: Tensor, size: int) -> Tensor:
    """The row in which each of ``size`` samples first moves, or else its last one that is not over: (size,) int64.

    ``moved`` and ``over``, (count·size,) bool, are ordered as :meth:`Foreseeing.foresee` has it; no first row is over.
    """
    moves, ends = moved.view(-1, size), over.view(-1, size)
    stops = moves | torch.cat((ends[1:], torch.ones_like(ends[:1])))
    return stops.int().argmax(0) * size + torch.arange(size, device=moved.device)
