"""Choose the rows of a batch: its kind of query, and how many of its rows may be speculative.

Gradient queries and forward-only queries do not share a batch, in which a forward-only query would pay for the backward
pass, too. FAB alternates between the two kinds; out of step, its samples would need two half-full batches per step. So
the next batch holds the samples that waited, with all others that need the same kind by then: samples that alternate
are in step after one batch.

Speculative rows fill a batch that is nearly empty. A CPU reads the weights once per batch, so that up to some size the
cost per image falls as the batch grows: for ResNet-10-T at 28 pixels on one core, the time per image relative to an
image alone is 0.74 in a batch of 4, 0.54 in one of 8, 0.41 in one of 20 and 0.39 in one of 64. On an accelerator only
memory bounds the batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

# On a CPU. An attempt is wasted if a lower one succeeds, which is rare for samples that have survived for a while
# (bench.attacks.engine.scheduler); where a search needs both kinds of query, half of 64 are a batch. A query ahead is
# wasted if the result before it changes anything: with Square at 28 pixels 5 % of them at three per image, 20 % at ten.
ATTEMPT_PIXELS = 2**16
QUERY_PIXELS = 2**14


class BatchBudget(NamedTuple):
    """Rows up to which a batch is filled with ``attempts`` beside lower ones, and with ``queries`` ahead."""

    attempts: float
    queries: float


NO_SPECULATION = BatchBudget(0, 0)


def batch_budget(inputs: Tensor) -> BatchBudget:
    """Return the budget for speculative rows in a batch of ``inputs``, (N, C, H, W); infinite on an accelerator."""
    if inputs.device.type != "cpu":
        return BatchBudget(math.inf, math.inf)
    pixels = inputs.shape[-2] * inputs.shape[-1]
    return BatchBudget(ATTEMPT_PIXELS // pixels, QUERY_PIXELS // pixels)


def select_kind(needs_gradient: Tensor, waiting: Tensor) -> Tensor | None:
    """Choose the samples to query now, (B,) bool, or None for all: the more frequent kind, but no sample waits twice.

    ``needs_gradient`` and ``waiting`` are (B,) bool; the samples that wait since the batch before are of one kind.
    """
    count = int(needs_gradient.sum())
    if count in (0, len(needs_gradient)):
        return None
    kind = needs_gradient[waiting][0] if waiting.any() else 2 * count >= len(needs_gradient)
    return needs_gradient == kind
