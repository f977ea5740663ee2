"""Let the threads of a process compute one after the other.

A computation sets what all threads share: modes and gradients of the model, torch's switches and random generators, and
the filters of warnings. Two computations at the same time would change each other's results.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bench.runtime.interrupt import check_stop

WAIT_S = 0.2  # seconds between two checks for a request to stop


class _Turn:
    """The lock of this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def renew(self) -> None:
        """Forget the owner: a forked process has only the thread that forked."""
        self.lock = threading.RLock()


_TURN = _Turn()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_TURN.renew)


@contextmanager
def own_turn() -> Iterator[None]:
    """Wait until no other thread computes, and keep the others waiting while the block runs. May be nested.

    Raises Stopped if a stop is requested while it waits.
    """
    lock = _TURN.lock
    while not lock.acquire(timeout=WAIT_S):
        check_stop()
    try:
        yield
    finally:
        lock.release()
