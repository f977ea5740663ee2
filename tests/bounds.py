"""Limits of time and memory for the calls in a ``with`` block, without a process of its own."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

SECONDS = 10
GROWTH = 2**30  # bytes of address space


class TimeIsUp(BaseException):
    """The calls in the block took longer than they may."""


@contextlib.contextmanager
def bounded(seconds: float = SECONDS, growth: int = GROWTH) -> Iterator[None]:
    """Raise TimeIsUp after ``seconds``, and let the address space grow by at most ``growth`` bytes.

    The time of a block is measured by the wall clock and counts while a call is blocked. An allocation beyond the limit
    raises MemoryError.
    """

    def stop(_: int, frame: FrameType | None) -> None:
        raise TimeIsUp(f"still running after {seconds} s")

    before, (soft, hard) = signal.signal(signal.SIGALRM, stop), resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        if statm.exists():
            used = int(statm.read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + growth, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
