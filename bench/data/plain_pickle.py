"""Safely read a pickle of numbers, text, containers and numeric arrays.

An ordinary unpickler calls any function that is named in the file. This unpickler accepts only the names that occur in
pickles of NumPy arrays and bytes. It replaces the named functions by safe ones, see :mod:`bench.runtime.stored_arrays`.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.limits import CIFAR, PICKLE_OPCODES
from bench.runtime.input_files import read_input
from bench.runtime.stored_arrays import STAND_INS, StoredArray

__all__ = ["StoredArray", "read_plain_pickle"]

#: Exceptions of the unpickler for damaged opcodes.
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
    struct.error,
)


def read_plain_pickle(path: Path) -> Any:
    """Return the content of the pickle at ``path``. Arrays are returned as :class:`StoredArray`.

    Raises BenchError if the file is damaged or too large, or names a forbidden function or class. This function is not
    called.
    """
    content = read_input(path, CIFAR)
    try:
        return _PlainUnpickler(_CompleteReads(content), encoding="latin1").load()
    except _TooLongError:
        raise BenchError(
            f"{path} has more than {PICKLE_OPCODES:,} opcodes of pickle, the limit for a batch of images; download it "
            "again from its official source."
        ) from None
    except _ForbiddenNameError as forbidden:
        raise BenchError(
            f"{path} asks to call {forbidden}, but a data file may hold only arrays and plain containers; the file was "
            "refused and none of its code was run. Download the file again from its official source."
        ) from None
    except DAMAGE as error:
        raise BenchError(f"{path} is not a readable pickle ({str(error) or type(error).__name__}).") from None


class _ForbiddenNameError(Exception):
    """Forbidden name in the pickle. The message of the exception is the full name."""


class _TooLongError(Exception):
    """More opcodes than PICKLE_OPCODES."""


class _CompleteReads(io.BytesIO):
    """Content of a pickle. A read past its end is an error, which the unpickler in Python does not notice."""

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if size is not None and len(content) < size:
            raise EOFError("it is truncated")
        return content


#: Objects of the top part of the stack that an opcode hashes: keys of dictionaries and elements of sets.
_HASHED: dict[int, Callable[[list[Any]], list[Any]]] = {
    pickle.SETITEM[0]: lambda stack: stack[-2:-1],
    pickle.SETITEMS[0]: lambda stack: stack[::2],
    pickle.DICT[0]: lambda stack: stack[::2],
    pickle.ADDITEMS[0]: lambda stack: stack,
    pickle.FROZENSET[0]: lambda stack: stack,
}


def _bounded(code: int, operation: Callable[[Any], None]) -> Callable[[Any], None]:
    """Bound the cost of an opcode.

    The executions are counted, because some opcodes of one byte create objects of 200 bytes. Only text and numbers are
    hashed, because the hash of 50 tuples inside each other takes days if each of them holds the next one twice.
    """
    hashed = _HASHED.get(code)

    def execute(unpickler: _PlainUnpickler) -> None:
        unpickler.n_opcodes += 1
        if unpickler.n_opcodes > PICKLE_OPCODES:
            raise _TooLongError
        if code == pickle.REDUCE[0] and not isinstance(unpickler.stack[-1], tuple):
            raise ValueError("the arguments of a call are not a tuple")
        if hashed is not None and not all(isinstance(key, str | bytes | int) for key in hashed(unpickler.stack)):
            raise ValueError("a key is neither text nor a number")
        operation(unpickler)

    return execute


def _load_bytearray(unpickler: Any) -> None:
    """Read a bytearray. The unpickler of Python would reserve its declared size before it reads."""
    (length,) = struct.unpack("<Q", unpickler.read(8))
    unpickler.append(bytearray(unpickler.read(length)))


class _PlainUnpickler(pickle._Unpickler):
    """Unpickler in Python, which can count opcodes. Its memo is a dictionary.

    The memo of the unpickler in C is an array: one opcode of five bytes can make it use 64 GB.
    """

    dispatch = {  # noqa: RUF012
        code: _bounded(code, operation)
        for code, operation in {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: _load_bytearray}.items()
    }
    n_opcodes = 0
    stack: list[Any]  # objects since the last mark

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        # NumPy 2 renamed numpy.core to numpy._core. A file has the name used by the version that wrote the file.
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
