"""Safely read a pickle of numbers, text, containers and numeric arrays.

An ordinary unpickler calls any function that the file names. This one accepts only the names that NumPy arrays and
bytes are pickled with, and replaces each by a safe stand-in, see :mod:`bench.runtime.stored_arrays`.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.data.source import read_file
from bench.runtime.stored_arrays import STAND_INS, StoredArray

__all__ = ["StoredArray", "read_plain_pickle"]

#: Exceptions that damaged opcodes cause in the unpickler.
DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def read_plain_pickle(path: Path) -> Any:
    """Return the content of the pickle at ``path``; arrays are returned as :class:`StoredArray`.

    Raises BenchError if the file names another function or class, before it is called, and if the file is damaged.
    """
    try:
        return _PlainUnpickler(io.BytesIO(read_file(path)), encoding="latin1").load()
    except _ForbiddenNameError as forbidden:
        raise BenchError(
            f"{path} asks to call {forbidden}, but a data file may hold only arrays and plain containers; the file was "
            "refused and none of its code was run. Download the file again from its official source."
        ) from None
    except DAMAGE as error:
        raise BenchError(f"{path} is not a readable pickle ({error or type(error).__name__}).") from None


class _ForbiddenNameError(Exception):
    """A name in the pickle that is not allowed; the message is its full name."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        # NumPy 2 renamed numpy.core to numpy._core; a file has the name of the version that wrote it.
        stand_in = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if stand_in is None:
            raise _ForbiddenNameError(f"{module}.{name}")
        return stand_in


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise ValueError(f"text encoded as {encoding!r}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    **STAND_INS,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _empty_bytes,
}
