"""Memory that runs out while a cell is attacked: smaller batches, down to the smallest that is worth it."""

from __future__ import annotations

import gc

import torch

from bench.core.errors import CellFailure
from bench.evaluation.cell import CellContext, Tally

SMALLEST_BATCH = 8


def shrink_batch(size: int, context: CellContext, tally: Tally) -> int:
    """Half of the batch ``size`` that memory did not suffice for, noted. Raises CellFailure for the smallest."""
    if size <= SMALLEST_BATCH:
        raise CellFailure("out_of_memory", f"out of memory with batches of {size}.")
    tally.batch_size = max(size // 2, SMALLEST_BATCH)
    tally.say(f"  out of memory; going on with batches of {tally.batch_size}")
    free_memory(context.device)
    return tally.batch_size


def free_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
