"""Reads a pickle that holds numbers, text, containers and numeric arrays, and can do nothing else.

An unpickler runs whatever functions the file names. This one knows only the names under which numpy's arrays and
bytes are stored, and gives each a stand-in of its own; numpy's own constructors would accept bytes as pointers.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.data.source import read_file

NUMERIC = frozenset("biuf")

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


class StoredArray:
    """An array as the stream builds it: empty first, filled by its state."""

    def __init__(self) -> None:
        self.value: np.ndarray[Any, Any] = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, raw = state
        self.value = _array(raw, dtype, shape, "F" if is_fortran else "C")


class _StoredDtype:
    """A numeric type: its code, and its byte order from the state."""

    def __init__(self, code: str, align: object = False, copy: object = True) -> None:
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in NUMERIC:
            raise ValueError(f"array of type {code!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _ForbiddenNameError(Exception):
    """The full name that the pickle asked for."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        # numpy 2 moved numpy.core to numpy._core; files name the one they were written with.
        known = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise _ForbiddenNameError(f"{module}.{name}")
        return known


def _array(raw: Any, dtype: _StoredDtype, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    # Python 2 wrote bytes as text: latin1 gives them back.
    data = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _reconstruct(*_: object) -> StoredArray:
    return StoredArray()


def _from_buffer(raw: Any, dtype: _StoredDtype, shape: Any, order: Any, *_: object) -> StoredArray:
    stored = StoredArray()
    stored.value = _array(raw, dtype, shape, order)
    return stored


def _scalar(dtype: _StoredDtype, raw: Any) -> Any:
    return _array(raw, dtype, (), "C").item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise ValueError(f"text encoded as {encoding!r}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


def _nothing(*_: object) -> None:
    """``numpy.ndarray`` itself: only ever an argument of ``_reconstruct``."""


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _nothing,
    ("numpy", "dtype"): _StoredDtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _empty_bytes,
}
