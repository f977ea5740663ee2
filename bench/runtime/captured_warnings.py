"""Capture warnings of third-party code for the notes of a row, such as the sanity checks that AutoAttack logs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Captured(list[str]):
    """Captured messages of the log. Python warnings are added at the end of the block."""

    def __init__(self) -> None:
        super().__init__()
        self.earlier: list[str] = []  # messages of earlier processes
        self.caught: list[warnings.WarningMessage] = []

    def so_far(self) -> list[str]:
        """Return all messages until now, with those of earlier processes, each once."""
        return list(dict.fromkeys((*self.earlier, *self, *_texts(self.caught))))


def _texts(caught: Iterable[warnings.WarningMessage]) -> list[str]:
    return [f"{warning.category.__name__}: {warning.message}" for warning in caught]


class _Collector(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(f"{record.name}: {record.getMessage()}")


@contextmanager
def capture_warnings() -> Iterator[Captured]:
    """Yield a list of log messages of level WARNING and above. Python warnings are added after the block."""
    messages = Captured()
    collector, root = _Collector(messages), logging.getLogger()
    root.addHandler(collector)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            messages.caught = caught
            yield messages
    finally:
        root.removeHandler(collector)
    messages.extend(_texts(caught))


@contextmanager
def warnings_do_not_raise() -> Iterator[None]:
    """Show warnings even if the filters of the caller would raise them, so that a warning does not stop the run."""
    with warnings.catch_warnings():
        if any(action == "error" for action, *_ in warnings.filters):
            warnings.simplefilter("default")
        yield
