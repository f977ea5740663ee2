"""Split an object into the parts that affect the results of a model: items, attributes, and bytes of tensors."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType, MappingProxyType, MemberDescriptorType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (bool, int, str, bytes, type(None), torch.dtype, torch.device)


def array_sha(value: Any) -> str:
    """Return the SHA-256 of the contents of a tensor or an array."""
    return hashlib.sha256(b"".join(contents(value))).hexdigest()


def contents(value: Any) -> Iterator[bytes]:
    """Yield the bytes to hash of a tensor, an array, a packed tensor of a quantised module, or any other object."""
    if isinstance(value, Tensor) and (value.is_nested or value.is_meta):
        yield type(value).__name__.encode()
    elif isinstance(value, Tensor) and value.layout != torch.strided:
        yield from contents(value.detach().to_dense())
    elif isinstance(value, Tensor) and not value.is_quantized:
        yield f"{value.dtype}:{tuple(value.shape)};".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Tensor):
        yield repr(value).encode()  # includes scale and zero point
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


Parts = Iterator[tuple[str, Any]]  # pairs of name and value
_EXACT = (*PLAIN, float, complex)
_CONTAINERS: tuple[Any, ...] = (list, tuple, deque, set, frozenset)


def plain(value: Any) -> Any:
    """Return JSON data for a plain value, an array, or a sequence of plain values; None for other objects."""
    if isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype != object):
        return {"array": array_sha(value)}
    if type(value) in (tuple, list):
        parts = [plain(part) if type(part) in _EXACT else None for part in value]
        return None if None in parts else {type(value).__name__: parts}
    if type(value) in (bool, int, str):
        return [value]
    if type(value) in _EXACT or isinstance(value, np.generic | torch.dtype | torch.device):
        return {"repr": repr(value)}
    return None


def items(value: Any) -> tuple[Any, Parts]:
    """Return the keys, the length or the value of an object of a built-in type, and its items.

    Objects of derived classes are included, but overridden methods are not called. For other objects, return None and
    no items.
    """
    if isinstance(value, dict | MappingProxyType):
        pairs = [*(dict.items(value) if isinstance(value, dict) else value.items())]
        keys = [_key(key, index) for index, (key, _) in enumerate(pairs)]
        return keys, iter([(key, part) for key, (_, part) in zip(keys, pairs, strict=True)])
    if isinstance(value, np.ndarray):
        return list(value.shape), _numbered(value.ravel().tolist())
    for kind in _CONTAINERS:
        if isinstance(value, kind):
            parts = [*kind.__iter__(value)]
            ordered = sorted(parts, key=lambda part: _key(part, 0)) if kind in (set, frozenset) else parts
            return len(parts), _numbered(ordered)
    bases = [kind for kind in (int, float, complex, str, bytes) if isinstance(value, kind)]
    return bases[0].__repr__(value) if bases else None, iter(())


def _numbered(parts: Iterable[Any]) -> Parts:
    return ((str(index), part) for index, part in enumerate(parts))


def _key(key: Any, index: int) -> str:
    if isinstance(key, str):
        return str(key)
    if isinstance(key, type | FunctionType):
        return f"{key.__module__}.{key.__qualname__}"
    return f"{type(key).__qualname__} {index}" if plain(key) is None else repr(key)


def attributes(value: Any) -> Parts:
    """Yield the attributes of an object, including those in ``__slots__``. No property is computed."""
    for cls in type(value).__mro__:
        for name, slot in vars(cls).items():
            if isinstance(slot, MemberDescriptorType):
                try:
                    yield name, slot.__get__(value)
                except AttributeError:  # a slot without a value
                    continue
    for name, part in getattr(value, "__dict__", {}).items():
        hooks = isinstance(value, nn.Module) and "_hooks" in name and isinstance(part, dict)
        yield name, [*part.values()] if hooks else part  # the keys of hooks differ between processes


def module_parts(module: nn.Module) -> Parts:
    """Yield the class and the attributes of a module of the model, without weights, buffers and submodules."""
    ordinary = {name for name in vars(nn.Module()) if "hooks" not in name}
    yield "class", type(module)
    if isinstance(module, torch.jit.ScriptModule) and hasattr(module, "code"):
        yield "code", module.code
    yield from ((f".{name}", value) for name, value in attributes(module) if name not in ordinary)


def class_parts(cls: type) -> Parts:
    """Yield the base classes, the methods and the class attributes."""
    yield from ((f"base {index}", base) for index, base in enumerate(cls.__bases__))
    for name, value in vars(cls).items():
        code = isinstance(value, FunctionType | staticmethod | classmethod | property)
        if (code or not name.startswith("__")) and not isinstance(value, MemberDescriptorType):
            yield name, value


def closure_of(function: FunctionType) -> Parts:
    """Yield the variables of an enclosing function that have a value."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"closure {name}", cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def globals_of(module: ModuleType) -> Parts:
    """Yield the global variables of a Python module, except those with names such as ``__file__``."""
    return ((name, value) for name, value in [*vars(module).items()] if not name.startswith("__"))


def shown(value: Any) -> str:
    """Return the repr of ``value`` without memory addresses."""
    return re.sub(r"0x[0-9a-fA-F]+", "0x", repr(value))
