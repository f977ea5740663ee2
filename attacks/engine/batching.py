"""Choose the rows of a batch: its kind of query, and the number of speculative rows.

Gradient queries and forward-only queries are batched separately, because in a common batch a forward-only query would
pay for the backward pass, too. FAB alternates between the two kinds. If its samples alternate out of step, each step
needs two half-full batches. Therefore the next batch consists of the samples that waited and all others that need the
same kind by then: after one batch all samples that alternate are in step.

Speculative rows fill a batch that is nearly empty. A CPU reads the weights once per batch, so up to some size the cost
per image decreases as the batch grows: for ResNet-10-T at 28 pixels on one core, the time per image relative to a batch
of one image is 0.74 in a batch of 4, 0.54 in one of 8, 0.41 in one of 20 and 0.39 in one of 64. On an accelerator only
memory limits the batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

# For a CPU. An attempt is wasted if a lower one succeeds, which is rare for samples that have not succeeded for several
# batches (bench.attacks.engine.scheduler). A search that needs both kinds of query has half as many rows in a batch.
# A query ahead is wasted if the result before it changes anything: for Square at 28 pixels this is 5 % of the queries
# at three per image, and 20 % at ten.
ATTEMPT_PIXELS = 2**16
QUERY_PIXELS = 2**14


class BatchBudget(NamedTuple):
    """Numbers of rows up to which a batch is filled with further ``attempts``, and with ``queries`` ahead."""

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
    """Choose the samples to query now, (B,) bool, or None for all: the more frequent kind, or that of waiting samples.

    ``needs_gradient`` and ``waiting`` are (B,) bool. Samples that waited for the previous batch are of one kind, so no
    sample waits twice.
    """
    count = int(needs_gradient.sum())
    if count in (0, len(needs_gradient)):
        return None
    kind = needs_gradient[waiting][0] if waiting.any() else 2 * count >= len(needs_gradient)
    return needs_gradient == kind
