"""The structure of a model that was not trained here: its modules, their attributes, and the code they run.

Two models with equal weights compute different functions if a switch, a threshold or a line of code differs. The
structure therefore holds the values of all attributes, the source of every class and function outside of
:data:`LIBRARIES`, and the values that these functions take from closures, defaults and globals.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "builtins")  # their versions are in the record's environment
PLAIN = (bool, int, str, bytes, type(None), torch.dtype, torch.device)
DEPTH = 8  # of nested values; deeper ones are described by their type alone

Structure = dict[str, Any]  # JSON data by dotted name


def structure_of(model: nn.Module) -> Structure:
    """Describe the modules, attributes and code of ``model`` as JSON data, without memory addresses."""
    ordinary = {name for name in vars(nn.Module()) if "hooks" not in name}
    found: Structure = {"": re.sub(r"0x[0-9a-fA-F]+", "0x", repr(model))}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in ordinary:  # hooks are numbered anew in every process
                hooks = name.endswith("_hooks") and isinstance(value, Mapping)
                found[f"{path}.{name}"] = _describe([*value.values()] if hooks else value, ())
        for cls in type(module).__mro__:
            if not _is_library(cls):
                found |= _functions_of(cls)
    return found


def unchanged(before: Structure, after: Structure) -> Structure:
    """Keep what a forward pass does not change: a counter is no part of the structure."""
    return {name: value for name, value in before.items() if name in after and after[name] == value}


def _functions_of(cls: type) -> Structure:
    functions = {name: value for name, value in vars(cls).items() if isinstance(value, FunctionType)}
    values = {name: value for name, value in vars(cls).items() if not name.startswith("__") and not callable(value)}
    described = {name: _describe(value, ()) for name, value in {**values, **functions}.items()}
    return {f"{cls.__module__}.{cls.__qualname__}.{name}": value for name, value in described.items()}


def _is_library(code: Any) -> bool:
    return (getattr(code, "__module__", None) or "").split(".")[0] in LIBRARIES


def _describe(value: Any, around: tuple[int, ...]) -> Any:
    """Return JSON data that differs if ``value`` may behave differently. ``around`` are the ids of what contains it."""
    if isinstance(value, PLAIN) or len(around) > DEPTH or id(value) in around:
        return _named(value)
    inside = (*around, id(value))
    if isinstance(value, float | complex | np.generic):
        return repr(value)
    if isinstance(value, Tensor | np.ndarray):
        return _array(value)
    if isinstance(value, Mapping):
        return {str(key): _describe(part, inside) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_describe(part, inside) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(str(_describe(part, inside)) for part in value)
    if isinstance(value, functools.partial):
        return [_describe(part, inside) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, FunctionType | MethodType):
        return _named(value) if _is_library(value) else _function(value, inside)
    if isinstance(value, type | ModuleType) or (_is_library(type(value)) and not isinstance(value, nn.Module)):
        return _named(value)
    parts = getattr(value, "__dict__", {})
    return {"type": type(value).__qualname__, **{name: _describe(part, inside) for name, part in parts.items()}}


def _named(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, bytes | torch.dtype | torch.device):
        return repr(value)
    return getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or type(value).__qualname__


def _array(value: Tensor | np.ndarray[Any, Any]) -> str:
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


def _function(function: FunctionType | MethodType, inside: tuple[int, ...]) -> dict[str, Any]:
    """Describe the source, the defaults, and the values from the closure and the globals that the source names."""
    code = function.__func__ if isinstance(function, MethodType) else function
    try:
        source = inspect.getsource(code)
    except (OSError, TypeError):  # defined in a console, or compiled
        source = code.__code__.co_code.hex() + repr([c for c in code.__code__.co_consts if isinstance(c, PLAIN)])
    outside = inspect.getclosurevars(code)
    taken = {**outside.nonlocals, **outside.globals}
    return {
        "source": source,
        "defaults": _describe((code.__defaults__, code.__kwdefaults__), inside),
        "taken": {name: _describe(value, inside) for name, value in taken.items()},
    }
