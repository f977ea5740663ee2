"""Detect and undo changes of a model that are not in its tensors: hooks, submodules, methods and plain attributes.

An attack that replaces an activation by a smooth one, or registers a hook, and does not undo it, would leave another
model for all later images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

PLAIN = (bool, int, float, str, type(None))
RESTORED = frozenset({"training"})  # restored by bench.attacks.engine.untouched
TENSORS = frozenset({"_parameters", "_buffers"})  # compared by bench.sanity.model_state
MISSING = object()


class Part(NamedTuple):
    """A dictionary of a model and a shallow copy of it: the attributes of a module, its submodules, or its hooks."""

    name: str  # prefix of the names of its entries
    entries: dict[Any, Any]
    copy: dict[Any, Any]


Parts = Sequence[Part]


def parts_of(model: nn.Module) -> Parts:
    """Return the parts of ``model``, including the hooks that torch calls for every module."""
    return [Part(name, entries, dict(entries)) for name, entries in _dictionaries(model)]


def changed_parts(parts: Parts) -> list[str]:
    """Return the names of the entries that were added, removed or replaced since :func:`parts_of`.

    In the attributes of a module, only plain values, modules and functions are compared.
    """
    return [f"{part.name}{key}" for part, key in _changes(parts)]


def changed_values(parts: Parts) -> list[str]:
    """Return the names of the changed entries that are attributes with a plain value before and after, or no value.

    Hooks, submodules and methods are none of them.
    """
    return [
        f"{part.name}{key}"
        for part, key in _changes(parts)
        if all(
            value is MISSING or isinstance(value, PLAIN)
            for value in (part.copy.get(key, MISSING), part.entries.get(key, MISSING))
        )
    ]


def restore_parts(parts: Parts) -> None:
    """Undo every change that :func:`changed_parts` reports."""
    for part, key in list(_changes(parts)):
        if key in part.copy:
            part.entries[key] = part.copy[key]
        else:
            del part.entries[key]


def _dictionaries(model: nn.Module) -> Iterator[tuple[str, dict[Any, Any]]]:
    for name, entries in vars(torch.nn.modules.module).items():
        if name.startswith("_global_") and isinstance(entries, dict):
            yield f"{name} of torch, ", entries
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):  # it cannot be changed in place
            continue
        prefix = f"{path}." if path else ""
        attributes = vars(module)
        yield prefix, attributes
        for name, entries in attributes.items():
            if name == "_modules":
                yield prefix, entries
            elif name.startswith("_") and name.endswith(("_hooks", "_hooks_with_kwargs")) and isinstance(entries, dict):
                yield f"{prefix}{name} ", entries


def _changes(parts: Parts) -> Iterator[tuple[Part, Any]]:
    for part in parts:
        is_module = "_modules" in part.copy
        for key in [*part.copy, *(key for key in part.entries if key not in part.copy)]:
            before, after = part.copy.get(key, MISSING), part.entries.get(key, MISSING)
            if before is after or (is_module and (key in RESTORED or not _counts(before, after))):
                continue
            if not (isinstance(before, PLAIN) and type(before) is type(after) and _equal(before, after)):
                yield part, key


def _counts(before: object, after: object) -> bool:
    """Return whether a change of an attribute may change the model. Caches in other objects are ignored."""
    return all(value is MISSING or isinstance(value, PLAIN) or callable(value) for value in (before, after))


def _equal(before: Any, after: Any) -> bool:
    return bool(before == after) or (before != before and after != after)
