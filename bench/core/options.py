"""Options as fields of a dataclass. Each field defines the type, default, help, group and allowed values.

The command line, the reader and writer of TOML files, and the keyword arguments of the Python API are generated from
these fields.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from bench.core.errors import BenchError, unknown_name
from bench.core.number_text import MAX_INTEGER
from bench.core.paths import check_path
from bench.core.words import join

METADATA = "option"


@dataclass(frozen=True, kw_only=True)
class Option:
    """Description of one option.

    ``minimum`` and ``maximum`` bound a number. If ``above`` is True, the minimum itself is not allowed.
    ``default_text`` is shown in the help instead of the default value.
    """

    help: str
    group: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: bool = False
    metavar: str = ""
    default_text: str = ""
    flag: str = ""  # name on the command line; by default the name of the field with dashes
    no_form: bool = False  # True if the flag can be switched off by --no-FLAG
    as_text: Callable[[float], str] = str  # formats a number that is given for an option of type str
    recorded: bool = True  # True if the recorded configuration of a run includes the option


def option(default: Any = None, /, **described: Any) -> Any:
    """Return a dataclass field with a default. The keyword arguments are those of :class:`Option`."""
    return field(default=default, metadata={METADATA: Option(**described)})


@dataclass(frozen=True)
class Kind:
    """Type of an option."""

    base: type  # type of one value: str, int, float, bool or Path
    many: bool = False  # True for a tuple of values
    word: str = ""  # word that is allowed instead of a number, such as "all"
    optional: bool = False  # True if the value may be None


def kinds_of(config: type) -> Mapping[str, Kind]:
    """Return the kind of every option of a dataclass, by name."""
    hints = get_type_hints(config)
    return {name: _kind(hints[name]) for name in options_of(config)}


def options_of(config: type) -> Mapping[str, Option]:
    """Return the options of a dataclass by name, in the order of the fields."""
    return {entry.name: entry.metadata[METADATA] for entry in dataclasses.fields(config) if METADATA in entry.metadata}


def _kind(hint: Any) -> Kind:
    if get_origin(hint) is tuple:
        return dataclasses.replace(_kind(get_args(hint)[0]), many=True)
    if get_origin(hint) is Literal:
        return Kind(str)
    if get_origin(hint) in (Union, types.UnionType):
        parts = get_args(hint)
        words = [get_args(part)[0] for part in parts if get_origin(part) is Literal]
        bases = [part for part in parts if isinstance(part, type) and part is not type(None)]
        base = bases[0] if bases else str
        return Kind(base, word=words[0] if words and bases else "", optional=type(None) in parts)
    return Kind(hint)


class Config:
    """Base class of configurations. Every value is converted and checked when the object is created.

    Raises BenchError for a value of another type or a value that is not allowed.
    """

    def __post_init__(self) -> None:
        kinds = kinds_of(type(self))
        for name, described in options_of(type(self)).items():
            value = convert(name, described, kinds[name], getattr(self, name))
            object.__setattr__(self, name, value)


def from_options(config: type, options: Mapping[str, Any]) -> Any:
    """Create a configuration from options. Raises BenchError for an unknown name and suggests the most similar one."""
    known = options_of(config)
    for name in options:
        if name not in known:
            raise unknown_name("option", name, known, hint="The options are those of 'bench --help', with underscores.")
    return config(**options)


def convert(name: str, described: Option, kind: Kind, value: Any) -> Any:
    """Convert ``value`` to the type of the option. Raises BenchError if its type or value is not allowed.

    An option with several values accepts a text with commas, a list or a mapping. The entries of a mapping are
    converted to "key=value".
    """
    if value is None:
        if kind.optional:
            return None
        raise BenchError(f"{name} must have a value.")
    if kind.many:
        return tuple(dict.fromkeys(_convert_one(name, described, kind, item) for item in _items(value)))
    return _convert_one(name, described, kind, value)


def split_list(text: str) -> list[str]:
    """Split a list at its commas, except between parentheses. Empty entries are left out.

    If the parentheses do not match, the text is split at every comma.

    >>> split_list("pgd, foolbox:LinfPGD(steps=5, rel_stepsize=0.1),")
    ['pgd', 'foolbox:LinfPGD(steps=5, rel_stepsize=0.1)']
    """
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in (text.split(",") if depth else parts) if part.strip()]


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return [f"{key}={inner}" for key, inner in value.items()]
    if isinstance(value, str):
        return split_list(value)
    return value if isinstance(value, Sequence) else [value]


def _convert_one(name: str, described: Option, kind: Kind, value: Any) -> Any:
    if kind.word and value == kind.word:
        return value
    if kind.base is Path:
        if isinstance(value, str | Path):
            return _path(name, value)
        raise BenchError(f"{name} {value!r} is not a path.")
    if kind.base is bool:
        if isinstance(value, bool):
            return value
        raise BenchError(f"{name} {value!r} is neither true nor false.")
    if kind.base in (int, float):
        return _number(name, described, kind, value)
    if isinstance(value, bool) or not isinstance(value, str | Real):
        raise BenchError(f"{name} {value!r} is not text.")
    if isinstance(value, Real) and not _is_finite(value):
        raise BenchError(f"{name} is a number that is not finite or has more than 64 bits; write a smaller number.")
    if described.choices and str(value) not in described.choices:
        raise BenchError(f"{name} {value!r} is unknown; write {join(described.choices, 'or')}.")
    return value if isinstance(value, str) else described.as_text(value)  # type: ignore[arg-type]


def _number(name: str, described: Option, kind: Kind, value: Any) -> Any:
    is_integer, word = kind.base is int, f" or {kind.word!r}" if kind.word else ""
    if isinstance(value, bool) or not isinstance(value, Integral if is_integer else Real) or not _is_finite(value):
        raise BenchError(f"{name} {value!r} is not a {'whole' if is_integer else 'finite'} number{word}.")
    value = operator.index(value) if is_integer else float(value)  # type: ignore[arg-type]
    low, high = described.minimum, described.maximum
    if low is not None and (value < low or (described.above and value == low)):
        raise BenchError(f"{name} {value} must be {'above' if described.above else 'at least'} {low:g}.")
    if high is not None and value > high:
        raise BenchError(f"{name} {value} must be at most {high:g}.")
    return value


def _is_finite(value: Real) -> bool:
    """Return whether a number is finite and, if it is whole, has at most 64 bits."""
    return abs(int(value)) <= MAX_INTEGER if isinstance(value, Integral) else math.isfinite(value)


def _path(name: str, value: str | Path) -> Path:
    """Return the path. Raises BenchError if it is empty, or if the system cannot handle it."""
    if not str(value):
        raise BenchError(f"{name} is empty; give a path, or leave it out.")
    path = utf8_path(value)
    check_path(path, name)
    return path


def utf8_path(path: str | Path) -> Path:
    """Return ``path`` in the encoding of the file system. File names are UTF-8 even in another locale, such as C."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return Path(os.fsdecode(str(path).encode("utf-8", "surrogateescape")))
    return Path(path)


def as_toml(config: Config) -> dict[str, Any]:
    """Return the recorded options that are not None as TOML data, with dashes in their names."""
    content = {}
    for name, described in options_of(type(config)).items():
        value = getattr(config, name)
        if described.recorded and value is not None:
            content[(described.flag or name).replace("_", "-")] = _plain(value)
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
