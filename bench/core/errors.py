"""Exceptions for invalid input and for failed cells, and texts of error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from bench.core.words import join

FEW = 4  # maximum number of names that a message lists in full


class BenchError(Exception):
    """Error for invalid input of the user.

    The message is one sentence with the value, the rule, and how to correct the value. The command line prints it
    without a traceback and exits with code 2.
    """


class CellFailure(Exception):
    """Failure of one training or of one cell. The other cells are still computed, and the command exits with code 3.

    ``reason`` is one of :data:`bench.core.vocabulary.REASONS`. ``message`` explains the failure in one sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def unknown_name(kind: str, name: str, known: Iterable[str], *, hint: str = "") -> BenchError:
    """Return the error for an unknown name. The message suggests similar names, ignoring case.

    The message lists all ``known`` names if they are at most FEW, or if there is no ``hint`` where to find them.

    >>> print(unknown_name("size", "Midle", ["small", "middle"], hint="In pixels."))
    unknown size 'Midle'; did you mean 'middle'? Available: small and middle. In pixels.
    """
    names = list(known)
    suggestion = did_you_mean(name, names) or "."
    listing = f" Available: {join(names)}." if 1 < len(names) <= FEW or (names and not hint) else ""
    return BenchError(f"unknown {kind} {name!r}{suggestion}{listing} {hint}".rstrip())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question with the names that are similar to ``name``, ignoring case; empty if there are none.

    >>> did_you_mean("Midle", ["small", "middle"])
    "; did you mean 'middle'?"
    """
    by_casefold: dict[str, list[str]] = {}
    for word in known:
        by_casefold.setdefault(word.casefold(), []).append(word)
    near = [
        word
        for key in difflib.get_close_matches(name.casefold(), by_casefold, n=3, cutoff=0.6)
        for word in by_casefold[key]
    ]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether ``error`` is an out-of-memory error of an accelerator or of the CPU.

    The exception of torch is recognised by its name, because this module does not import torch.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    return not names.isdisjoint({"OutOfMemoryError", "MemoryError"}) or "can't allocate memory" in str(error)


def first_line(error: Exception) -> str:
    """Return the first informative line of an error message, without its final punctuation."""
    lines = [line.strip() for line in str(error).splitlines()]
    # torch lists the problems of a state dict below this heading.
    informative = [line for line in lines if line and not line.startswith("Error(s) in loading")]
    return (informative or [type(error).__name__])[0].rstrip(".:")[:200]
