"""Detect and undo changes of a model that are not in its tensors: hooks, submodules, methods, classes and attributes.

An attack that replaces an activation by a smooth one, or registers a hook, and does not undo it, would leave another
model for all later images. The same holds for an attack that replaces a method in a class of the model, or a function
of torch.nn.functional.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, str, type(None))
RESTORED = frozenset({"training"})  # restored by bench.attacks.engine.untouched
TENSORS = frozenset({"_parameters", "_buffers"})  # compared by bench.sanity.model_state
OF_TORCH = frozenset(vars(nn.Module()))  # containers of torch itself; hooks and submodules have their own parts
DEPTH = 4  # levels of nested lists and dictionaries of plain values that are compared
TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
MISSING = object()


class Part(NamedTuple):
    """Entries of a model and a copy of them: attributes, submodules or hooks of a module, or attributes of a class."""

    name: str  # prefix of the names of the entries
    read: Callable[[], Mapping[Any, Any]]
    write: Callable[[Any, Any], None]  # key and value; MISSING removes the entry
    copy: Mapping[Any, Any]
    selected: bool = False  # only values, modules and functions are compared
    contents: Mapping[Any, Any] = MappingProxyType(
        {}
    )  # copies of the tensors, lists and dictionaries among the entries


Parts = Sequence[Part]


def parts_of(model: nn.Module) -> Parts:
    """Return the parts of ``model``, including its classes, and the hooks that torch calls for every module."""
    return [*_dictionaries(model), *_classes(model), _functions()]


def changed_parts(parts: Parts) -> list[str]:
    """Return the names of the entries that were added, removed or replaced since :func:`parts_of`.

    In the attributes of a module or class, only plain values, tensors, modules and functions are compared, and tuples,
    lists and dictionaries of plain values. Those of a module are found, too, if they were changed in place.
    """
    return [f"{part.name}{key}" for part, key in _changes(parts)]


def changed_values(parts: Parts) -> list[str]:
    """Return the names of the changed entries that are attributes with a value before and after, or no value.

    Hooks, submodules and methods are none of them.
    """
    return [
        f"{part.name}{key}"
        for part, key in _changes(parts)
        if all(
            value is MISSING or _is_value(value)
            for value in (part.copy.get(key, MISSING), part.read().get(key, MISSING))
        )
    ]


def restore_parts(parts: Parts) -> None:
    """Undo every change that :func:`changed_parts` reports."""
    for part, key in list(_changes(parts)):
        value = part.copy.get(key, MISSING)
        part.write(key, value)
        if key in part.contents:
            _refill(value, part.contents[key])


def _dictionaries(model: nn.Module) -> Iterator[Part]:
    for name, entries in vars(torch.nn.modules.module).items():
        if name.startswith("_global_") and isinstance(entries, dict):
            yield _of_dictionary(f"{name} of torch, ", entries)
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):  # it cannot be changed in place
            continue
        prefix = f"{path}." if path else ""
        for own, tensor in chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False)):
            yield from (_hooks_of(f"{prefix}{own}.{name} ", tensor, name) for name in TENSOR_HOOKS)
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

    contents = {key: _copy(value) for key, value in entries.items() if selected and _is_container(key, value)}
    return Part(name, lambda: entries, write, dict(entries), selected, contents)


def _hooks_of(name: str, tensor: Tensor, attribute: str) -> Part:
    """Return the hooks of a tensor, which has a dictionary of them after the first was registered."""

    def read() -> dict[Any, Any]:
        return getattr(tensor, attribute, None) or {}

    def write(key: Any, value: Any) -> None:
        if value is MISSING:
            del read()[key]
        else:
            read()[key] = value

    return Part(name, read, write, dict(read()))


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
            if before is after and key not in part.contents:
                continue
            if part.selected and (key in RESTORED or not _counts(key, before, after)):
                continue
            if not _equal(part.contents.get(key, before), after):
                yield part, key


def _counts(key: Any, before: object, after: object) -> bool:
    """Return whether a change of an attribute may change the model. Caches in other objects are ignored."""
    kinds = (*PLAIN, property, classmethod)
    return all(
        value is MISSING or isinstance(value, kinds) or callable(value) or _is_container(key, value)
        for value in (before, after)
    )


def _is_container(key: Any, value: object) -> bool:
    """Return whether an attribute is a tensor, or a tuple, list or dictionary of plain values."""
    return key not in OF_TORCH and not isinstance(value, PLAIN) and _is_value(value)


def _is_value(value: object, depth: int = DEPTH) -> bool:
    if isinstance(value, Tensor):
        return value.layout == torch.strided and not value.is_meta and not value.is_quantized
    if type(value) is dict and depth:
        return all(isinstance(name, PLAIN) and _is_value(inner, depth - 1) for name, inner in value.items())
    if type(value) in (list, tuple, torch.Size) and depth:
        return all(_is_value(inner, depth - 1) for inner in value)  # type: ignore[attr-defined]
    return isinstance(value, PLAIN)


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: _copy(inner) for name, inner in value.items()}
    return type(value)(map(_copy, value)) if isinstance(value, list | tuple) else value


def _refill(value: Any, content: Any) -> None:
    """Give a tensor, list or dictionary, and those inside of it, their earlier content."""
    if isinstance(value, Tensor):
        with torch.inference_mode(value.is_inference()), torch.no_grad():
            value.copy_(content)
    elif isinstance(value, dict):
        value.clear()
        value.update(_copy(content))
    elif isinstance(value, list):
        value[:] = _copy(content)


def _equal(before: Any, after: Any) -> bool:
    """Return whether two attributes are the same object, or have the same value."""
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        like = (before.shape, before.dtype, before.device) == (after.shape, after.dtype, after.device)
        return like and bool(((before == after) | ((before != before) & (after != after))).all())
    if type(before) is not type(after):
        return False
    if isinstance(before, dict):
        return list(before) == list(after) and all(map(_equal, before.values(), after.values()))
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(_equal, before, after))
    if not isinstance(before, PLAIN):
        return before is after
    return bool(before == after) or (before != before and after != after)
