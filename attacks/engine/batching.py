"""Choose the rows of a batch: its kind of query, and the number of speculative rows.

Gradient queries and forward-only queries are batched separately: in a common batch, a forward-only query would also
cost a backward pass. FAB alternates between the two kinds. If its samples alternate out of step, each step needs two
half-full batches. Therefore the next batch consists of the samples that waited and all others that now need the same
kind. After one batch, all alternating samples are in step.

Speculative rows fill a batch that is nearly empty. A CPU reads the weights once per batch, so that the cost per image
decreases with the batch size, up to some size. For ResNet-10-T at 28 pixels on one core, the time per image relative to
a batch of 1 is 0.74 in a batch of 4, 0.54 in a batch of 8, 0.41 in a batch of 20 and 0.39 in a batch of 64. On an
accelerator, only memory limits the batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

# Limits for a CPU. A speculative attempt is wasted if an earlier attempt succeeds. This is rare for samples that have
# not succeeded for several batches (bench.attacks.engine.scheduler). A search that needs both kinds of query has half
# as many rows in a batch. A speculative query is wasted if the result of an earlier query changes the best point. For
# Square at 28 pixels, these are 5 % of the queries with three queries per image, and 20 % with ten.
ATTEMPT_PIXELS = 2**16
QUERY_PIXELS = 2**14


class BatchBudget(NamedTuple):
    """Maximum number of rows of a batch with speculative ``attempts``, and with speculative ``queries``."""

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
    """Choose the samples to query now, (B,) bool, or None for all: the kind of waiting samples or the frequent kind.

    ``needs_gradient`` and ``waiting`` are (B,) bool. Samples that waited during the previous batch are of one kind, so
    that no sample waits twice.
    """
    count = int(needs_gradient.sum())
    if count in (0, len(needs_gradient)):
        return None
    kind = needs_gradient[waiting][0] if waiting.any() else 2 * count >= len(needs_gradient)
    return needs_gradient == kind
