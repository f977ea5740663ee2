"""What running out of memory looks like."""

from __future__ import annotations

import torch


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is an accelerator's or a CPU allocator's way to say that there is no more memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
