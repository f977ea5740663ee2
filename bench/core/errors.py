"""Exceptions for wrong input and for failed cells, and texts of error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from bench.core.words import join

FEW = 4  # up to this number, a message lists all names


class BenchError(Exception):
    """Wrong input of the user: one sentence with the value, the rule and the way out.

    The command line prints the sentence without a traceback and exits 2.
    """


class CellFailure(Exception):
    """Failure of one training run or one evaluation; the others continue and the command exits 3.

    ``reason`` is one of :data:`bench.core.vocabulary.REASONS`; ``message`` explains it in a sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def unknown_name(kind: str, name: str, known: Iterable[str], *, hint: str = "") -> BenchError:
    """Return the error for an unknown name, with the nearest names in any case.

    It lists all known names if they are few, or if no ``hint`` says where to find them.

    >>> print(unknown_name("size", "Midle", ["small", "middle"], hint="In pixels."))
    unknown size 'Midle'; did you mean 'middle'? There are small and middle. In pixels.
    """
    names = list(known)
    spelt: dict[str, list[str]] = {}
    for word in names:
        spelt.setdefault(word.casefold(), []).append(word)
    near = [word for key in difflib.get_close_matches(name.casefold(), spelt, n=3, cutoff=0.6) for word in spelt[key]]
    question = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    every = f" There are {join(names)}." if 1 < len(names) <= FEW or (names and not hint) else ""
    return BenchError(f"unknown {kind} {name!r}{question}{every} {hint}".rstrip())


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether ``error`` is an out-of-memory error of an accelerator or of a CPU allocator.

    torch's exception is recognised by its name, because this module does not import torch.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    return not names.isdisjoint({"OutOfMemoryError", "MemoryError"}) or "can't allocate memory" in str(error)


def first_line(error: Exception) -> str:
    """Return the first informative line of an error, for use in a sentence."""
    lines = [line.strip() for line in str(error).splitlines()]
    # torch lists the problems of a state dict below a heading.
    useful = [line for line in lines if line and not line.startswith("Error(s) in loading")]
    return (useful or [type(error).__name__])[0].rstrip(".:")[:200]
