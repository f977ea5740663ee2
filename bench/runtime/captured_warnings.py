"""Capture warnings of third-party code for the notes of a row: AutoAttack reports its sanity checks only in its log."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class _Listener(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(f"{record.name}: {record.getMessage()}")


@contextmanager
def remarks() -> Iterator[list[str]]:
    """Yield a list that receives log records of WARNING and above, and after the block also Python warnings."""
    heard: list[str] = []
    listener, root = _Listener(heard), logging.getLogger()
    root.addHandler(listener)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield heard
    finally:
        root.removeHandler(listener)
    heard.extend(f"{warning.category.__name__}: {warning.message}" for warning in caught)


@contextmanager
def warnings_do_not_raise() -> Iterator[None]:
    """Show warnings even if the caller's filters would raise them, so that no warning ends the work halfway."""
    with warnings.catch_warnings():
        if any(action == "error" for action, *_ in warnings.filters):
            warnings.simplefilter("default")
        yield
