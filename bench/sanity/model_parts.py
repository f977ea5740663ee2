"""Detect and undo changes of a model that are not in its tensors: hooks, submodules, methods, classes and attributes.

An attack that replaces an activation by a smooth one, or registers a hook, and does not undo it, would leave another
model for all later images. The same holds for an attack that replaces a method in a class of the model, or a function
of torch.nn.functional.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

PLAIN = (bool, int, float, str, type(None))
RESTORED = frozenset({"training"})  # restored by bench.attacks.engine.untouched
TENSORS = frozenset({"_parameters", "_buffers"})  # compared by bench.sanity.model_state
MISSING = object()


class Part(NamedTuple):
    """Entries of a model and a copy of them: attributes, submodules or hooks of a module, or attributes of a class."""

    name: str  # prefix of the names of the entries
    read: Callable[[], Mapping[Any, Any]]
    write: Callable[[Any, Any], None]  # key and value; MISSING removes the entry
    copy: Mapping[Any, Any]
    selected: bool = False  # only plain values, modules and functions are compared


Parts = Sequence[Part]


def parts_of(model: nn.Module) -> Parts:
    """Return the parts of ``model``, including its classes, and the hooks that torch calls for every module."""
    return [*_dictionaries(model), *_classes(model), _functions()]


def changed_parts(parts: Parts) -> list[str]:
    """Return the names of the entries that were added, removed or replaced since :func:`parts_of`.

    In the attributes of a module or class, only plain values, modules and functions are compared.
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
            for value in (part.copy.get(key, MISSING), part.read().get(key, MISSING))
        )
    ]


def restore_parts(parts: Parts) -> None:
    """Undo every change that :func:`changed_parts` reports."""
    for part, key in list(_changes(parts)):
        part.write(key, part.copy.get(key, MISSING))


def _dictionaries(model: nn.Module) -> Iterator[Part]:
    for name, entries in vars(torch.nn.modules.module).items():
        if name.startswith("_global_") and isinstance(entries, dict):
            yield _of_dictionary(f"{name} of torch, ", entries)
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):  # it cannot be changed in place
            continue
        prefix = f"{path}." if path else ""
        attributes = vars(module)
        yield _of_dictionary(prefix, attributes, selected=True)
        for name, entries in attributes.items():
            if name == "_modules":
                yield _of_dictionary(prefix, entries)
            elif name.startswith("_") and name.endswith(("_hooks", "_hooks_with_kwargs")) and isinstance(entries, dict):
                yield _of_dictionary(f"{prefix}{name} ", entries)


def _of_dictionary(name: str, entries: dict[Any, Any], *, selected: bool = False) -> Part:
    def write(key: Any, value: Any) -> None:
        if value is MISSING:
            del entries[key]
        else:
            entries[key] = value

    return Part(name, lambda: entries, write, dict(entries), selected)


def _classes(model: nn.Module) -> Iterator[Part]:
    """Yield the class of each module, and the attributes of all these classes."""
    classes: dict[type, None] = {}
    for path, module in model.named_modules():
        if not isinstance(module, torch.jit.ScriptModule):
            classes.update(dict.fromkeys(type(module).__mro__[:-1]))  # without object
            read = partial(_class_of, module)
            yield Part(f"{path}." if path else "", read, partial(setattr, module), read())
    for owner in classes:
        yield Part(f"{owner.__name__}.", partial(vars, owner), partial(_set, owner), dict(vars(owner)), selected=True)


def _class_of(module: nn.Module) -> Mapping[str, type]:
    return {"__class__": type(module)}


def _functions() -> Part:
    """Return the functions of torch.nn.functional; names that are added later change no model."""
    names = [name for name, value in vars(torch.nn.functional).items() if callable(value)]

    def read() -> Mapping[str, Any]:
        return {name: getattr(torch.nn.functional, name, MISSING) for name in names}

    return Part("torch.nn.functional.", read, partial(_set, torch.nn.functional), read())


def _set(owner: Any, name: str, value: Any) -> None:
    if value is MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, value)


def _changes(parts: Parts) -> Iterator[tuple[Part, Any]]:
    for part in parts:
        entries = part.read()
        for key in [*part.copy, *(key for key in entries if key not in part.copy)]:
            before, after = part.copy.get(key, MISSING), entries.get(key, MISSING)
            if before is after or (part.selected and (key in RESTORED or not _counts(before, after))):
                continue
            if not (isinstance(before, PLAIN) and type(before) is type(after) and _equal(before, after)):
                yield part, key


def _counts(before: object, after: object) -> bool:
    """Return whether a change of an attribute may change the model. Caches in other objects are ignored."""
    kinds = (*PLAIN, property, classmethod)
    return all(value is MISSING or isinstance(value, kinds) or callable(value) for value in (before, after))


def _equal(before: Any, after: Any) -> bool:
    return bool(before == after) or (before != before and after != after)
