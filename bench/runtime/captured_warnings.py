"""Capture warnings of third-party code for the notes of a row, such as the sanity checks that AutoAttack logs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class _Collector(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(f"{record.name}: {record.getMessage()}")


@contextmanager
def capture_warnings() -> Iterator[list[str]]:
    """Yield a list of log messages of level WARNING and above. Python warnings are added after the block."""
    messages: list[str] = []
    collector, root = _Collector(messages), logging.getLogger()
    root.addHandler(collector)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield messages
    finally:
        root.removeHandler(collector)
    messages.extend(f"{warning.category.__name__}: {warning.message}" for warning in caught)


@contextmanager
def warnings_do_not_raise() -> Iterator[None]:
    """Show warnings even if the filters of the caller would raise them, so that a warning does not stop the run."""
    with warnings.catch_warnings():
        if any(action == "error" for action, *_ in warnings.filters):
            warnings.simplefilter("default")
        yield
