"""Safe replacements of numpy objects in a pickle. They create numeric arrays and scalars only.

The constructors of numpy would interpret bytes as pointers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

NUMERIC = frozenset("biuf")
LONGEST_CODE = 10  # characters of the code of a type, such as "f4"


class StoredArray:
    """Array that is created by the pickle: first empty, then filled from its state."""

    def __init__(self) -> None:
        self.value: np.ndarray[Any, Any] = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, raw = state
        self.value = _array(raw, dtype, shape, "F" if is_fortran else "C")


class StoredDtype:
    """Numeric type with its code and its byte order. The byte order is a part of the state."""

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or len(text) > LONGEST_CODE:  # the text of nested tuples may have 2^50 characters
            raise ValueError("array of a type without a code")
        self.dtype = np.dtype(text)
        if self.dtype.kind not in NUMERIC:
            raise ValueError(f"array of type {text!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError("an unknown byte order")
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def _array(raw: Any, dtype: StoredDtype, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    # Python 2 stored bytes as text. Encoding the text as latin1 restores the bytes.
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(data, bytes | bytearray):  # bytes(10**12) would take a terabyte
        raise ValueError(f"array from a {type(data).__name__}")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _reconstruct(_: object, shape: object, code: object) -> StoredArray:
    """Return an empty array. numpy always names the same shape and type, and sets both in the state."""
    if shape != (0,) or code not in ("b", b"b"):
        raise ValueError("array that numpy did not store")
    return StoredArray()


def _from_buffer(raw: Any, dtype: StoredDtype, shape: Any, order: Any, *_: object) -> StoredArray:
    stored = StoredArray()
    stored.value = _array(raw, dtype, shape, order)
    return stored


def _scalar(dtype: StoredDtype, raw: Any) -> Any:
    return _array(raw, dtype, (), "C").item()


def _nothing(*_: object) -> None:
    """Replace ``numpy.ndarray`` itself, which occurs only as an argument of ``_reconstruct``."""


#: Replacements by module and name in numpy 1. numpy 2 moved ``numpy.core`` to ``numpy._core``.
STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _nothing,
    ("numpy", "dtype"): StoredDtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
}
