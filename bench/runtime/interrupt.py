"""Stop a command at the next safe point after SIGINT or SIGTERM, or at the end of a time budget.

A request to stop sets a flag. Long computations call :func:`check_stop` after each batch, when their state is stored or
can be computed again quickly. :class:`Stopped` is no :class:`Exception`, so that no handler of failed cells catches it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NamedTuple

from bench.core.errors import BenchError


class StopRequest(NamedTuple):
    """Reason of a stop, for messages, and the exit code of the command."""

    reason: str
    exit_code: int


class Stopped(BaseException):
    """Raised at a safe point after a request to stop."""

    def __init__(self, request: StopRequest) -> None:
        super().__init__(request.reason)
        self.request = request


class Terminated(KeyboardInterrupt):
    """Raised by SIGTERM where no computation runs that could stop at a safe point."""


SIGNALS = {signal.SIGINT: StopRequest("SIGINT", 130), signal.SIGTERM: StopRequest("SIGTERM", 143)}
NOTICE = b"\nstopping after this batch; press Ctrl-C again to stop at once\n"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Request:
    """The request to stop of this process, if any."""

    def __init__(self) -> None:
        self.stop: StopRequest | None = None


class _Budget(threading.local):
    """The end of the time budget of this thread. Threads of one process may compute at the same time."""

    def __init__(self) -> None:
        self.deadline: float | None = None  # time.monotonic()
        self.text = ""


_REQUEST = _Request()
_BUDGET = _Budget()


def stop_requested() -> StopRequest | None:
    """Return the request to stop, or None."""
    if _REQUEST.stop is None and _BUDGET.deadline is not None and time.monotonic() >= _BUDGET.deadline:
        return StopRequest(f"the time budget of {_BUDGET.text}", 0)
    return _REQUEST.stop


def check_stop() -> None:
    """Raise Stopped if a stop was requested."""
    request = stop_requested()
    if request is not None:
        raise Stopped(request)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM request a stop while the block runs. A second signal interrupts at once.

    Outside of the main thread, where Python does not allow handlers, the signals keep their meaning.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _request_stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _REQUEST.stop = None


def terminate(number: int, frame: FrameType | None) -> None:
    """Handle SIGTERM, which schedulers send to interrupt a job: raise Terminated."""
    raise Terminated


def _request_stop(number: int, frame: FrameType | None) -> None:
    if _REQUEST.stop is not None:
        raise KeyboardInterrupt
    _REQUEST.stop = SIGNALS[signal.Signals(number)]
    with suppress(OSError):  # stderr may be closed, for example with the terminal; a stop is no error of a cell
        os.write(2, NOTICE)  # not print(): the signal may arrive during another print()


@contextmanager
def time_budget(text: str | None) -> Iterator[None]:
    """Request a stop of this thread when the time budget ``text``, such as 90m, is over. None is no budget.

    Inside of another budget, the outer one counts.
    """
    if text is None or _BUDGET.deadline is not None:
        yield
        return
    _BUDGET.deadline, _BUDGET.text = time.monotonic() + duration(text), text
    try:
        yield
    finally:
        _BUDGET.deadline = None


LONGEST = 10  # digits of a number in a duration


def duration(text: str) -> float:
    """Return the seconds of a duration such as 45s, 90m, 2h or 1h30m.

    >>> duration("1h30m")
    5400.0

    Raises BenchError for another format, or for a duration of 0.
    """
    total, digits = 0.0, ""
    for letter in text.strip().lower():
        if letter in UNITS and digits.isdecimal() and digits.isascii() and len(digits) <= LONGEST:
            total, digits = total + int(digits) * UNITS[letter], ""
        else:
            digits += letter
    if digits or not total:
        raise BenchError(f"time budget {text!r} is no duration; write for example 45s, 90m, 2h or 1h30m.")
    return total
