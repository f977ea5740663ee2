"""Batch budget for speculative queries.

A processor reads the weights once per batch, so that up to some size the cost per image falls as the batch grows. For
ResNet-10-T at 28 pixels on one core, the time per image relative to an image alone is 0.74 in a batch of 4, 0.54 in one
of 8, 0.41 in one of 20 and 0.39 in one of 64. On an accelerator only memory bounds the batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

# On a CPU. An attempt is in vain where a lower one succeeds, seldom for samples that have stood (bench.attacks.agenda);
# where a search asks with and without gradients, half of 64 are a batch. A question ahead is in vain where the answer
# before it changes anything: with Square at 28 pixels 5 % of them with three of every image, 20 % with ten.
ATTEMPT_PIXELS = 2**16
QUESTION_PIXELS = 2**14


class Room(NamedTuple):
    """Up to how many rows a batch is filled with ``attempts`` beside lower ones, and with ``questions`` ahead."""

    attempts: float
    questions: float


NO_ROOM = Room(0, 0)


def room_for(inputs: Tensor) -> Room:
    """Return the rows up to which to fill a batch of ``inputs``, (N, C, H, W); infinite where only memory bounds it."""
    if inputs.device.type != "cpu":
        return Room(math.inf, math.inf)
    pixels = inputs.shape[-2] * inputs.shape[-1]
    return Room(ATTEMPT_PIXELS // pixels, QUESTION_PIXELS // pixels)
