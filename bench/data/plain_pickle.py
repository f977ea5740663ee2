"""Reads a pickle that holds numbers, text, containers and numeric arrays, and can do nothing else.

An unpickler runs whatever functions the file names. This one knows only the names under which numpy's arrays and
bytes are stored, and gives each a stand-in, see :mod:`bench.runtime.stored_arrays`.
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

#: What reading a damaged stream of opcodes ends in.
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

    Raises BenchError when the file asks for another function or class, before any of it runs, and when the file is
    damaged.
    """
    try:
        return _PlainUnpickler(io.BytesIO(read_file(path)), encoding="latin1").load()
    except _ForbiddenNameError as forbidden:
        raise BenchError(
            f"{path} asks to call {forbidden}, but a data file may hold only arrays and plain containers; "
            "it was refused and nothing in it was run."
        ) from None
    except DAMAGE as error:
        raise BenchError(f"{path} is not a readable pickle ({error or type(error).__name__}).") from None


class _ForbiddenNameError(Exception):
    """The full name that the pickle asked for."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        # numpy 2 moved numpy.core to numpy._core; files name the one they were written with.
        known = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise _ForbiddenNameError(f"{module}.{name}")
        return known


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
