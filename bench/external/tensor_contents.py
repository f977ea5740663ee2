"""The bytes of tensors, arrays and containers of them, to hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

PLAIN = (bool, int, str, bytes, type(None), torch.dtype, torch.device)


def array_sha(value: Any) -> str:
    """SHA-256 of the contents of a tensor or an array."""
    return hashlib.sha256(b"".join(contents(value))).hexdigest()


def contents(value: Any) -> Iterator[bytes]:
    """Yield the bytes to hash. Quantised modules hold packed tensors; extra state may be any object."""
    if isinstance(value, Tensor) and (value.is_nested or value.is_meta):
        yield type(value).__name__.encode()
    elif isinstance(value, Tensor) and value.layout != torch.strided:
        yield from contents(value.detach().to_dense())
    elif isinstance(value, Tensor) and not value.is_quantized:
        yield f"{value.dtype}:{tuple(value.shape)};".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Tensor):
        yield repr(value).encode()  # scale and zero point
        yield from contents(value.int_repr())
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield f"{value.dtype}:{value.shape};".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, Mapping):
        for key in value:
            yield f"{key!r}:".encode()
            yield from contents(value[key])
    elif isinstance(value, tuple | list):
        for part in value:
            yield from contents(part)
    else:
        yield (repr(value) if isinstance(value, (float, *PLAIN)) else type(value).__name__).encode()
