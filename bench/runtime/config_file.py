"""Read the options of a command from a TOML file, and write the configuration of a run to a TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from bench.core.errors import BenchError
from bench.core.limits import CONFIG
from bench.core.number_text import MAX_INTEGER, parse_number
from bench.core.options import Config, as_toml
from bench.runtime.files import write_atomic
from bench.runtime.input_files import is_file, read_input, read_text

#: Files in the results folder with the configurations of the last ``bench run`` and ``bench evaluate``.
RUN_FILE, EVALUATE_FILE = "run.toml", "evaluate.toml"


def read_config(
    path: Path,
    known: Mapping[str, str],
    opposites: Mapping[str, tuple[str, Any]],
    tables: dict[str, list[Mapping[str, Any]]],
) -> dict[str, Any]:
    """Read the options in ``path``, by name. Keys are option names with dashes or underscores.

    Args:
        path: TOML file.
        known: Option names by key.
        opposites: Pairs of option name and value by key, such as no_diagnose. If the key is true, the option is set to
            the value.
        tables: Keys that are arrays of tables. The tables are stored in this dictionary.

    Raises:
        BenchError: For a file that cannot be read, for invalid TOML, for an unknown key, and for two keys that set the
            same option.
    """
    try:
        content = tomllib.loads(read_text(path, CONFIG), parse_float=parse_number)
    except (ValueError, RecursionError) as error:  # ValueError: a number of more than 4300 digits, too
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).rstrip(".")
        raise BenchError(f"config {path} is not TOML: {reason}.") from None
    _check_values(path, content)
    options: dict[str, Any] = {}
    keys: dict[str, str] = {}  # key in the file, by option
    for key in tables:
        value = content.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
            raise BenchError(f"config {path}: {key!r} is not a list of tables; write [[{key}]] above each table.")
        tables[key] = value
    for key, value in content.items():
        name = _option(path, key, {**known, **{name: name for name in opposites}})
        if name in opposites:
            if not isinstance(value, bool):
                raise BenchError(f"config {path}: {key!r} is on or off; write true or false.")
            name, target_value = opposites[name]
            value = target_value if value else None
        if name in keys:
            raise BenchError(f"config {path}: {keys[name]!r} and {key!r} set the same option; write only one of them.")
        keys[name] = key
        if value is not None:
            options[name] = value
    return options


MAX_DEPTH = 4  # a table of networks with lists is two levels deep


def _check_values(path: Path, content: Mapping[str, Any]) -> None:
    """Raise BenchError for tables nested deeper than ``MAX_DEPTH``, and for an integer of more than 64 bits."""
    level: list[tuple[str, Any]] = list(content.items())
    for _ in range(MAX_DEPTH):
        large = next((key for key, v in level if isinstance(v, int) and abs(v) > MAX_INTEGER), None)
        if large is not None:
            raise BenchError(f"config {path}: {large!r} has an integer of more than 64 bits; write a smaller number.")
        level = [(key, inner) for key, value in level for inner in _inner(value)]
    if level:
        raise BenchError(f"config {path}: {level[0][0]!r} is nested more than {MAX_DEPTH} levels deep.")


def _inner(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def write_config(config: Config, path: Path, **tables: Sequence[Mapping[str, Any]]) -> None:
    """Write the recorded options of ``config`` and arrays of tables to a file for ``--config``, if they changed.

    Raises BenchError for an option that TOML cannot hold: a path that is not UTF-8.
    """
    try:
        content = tomli_w.dumps({**as_toml(config), **tables}).encode()
    except UnicodeEncodeError as error:
        before, after = error.object[: error.start].rpartition("\n")[2], error.object[error.start :].partition("\n")[0]
        raise BenchError(
            f"{path} cannot hold {f'{before}{after}'.strip()!r}, which is not UTF-8; rename this file or folder."
        ) from None
    if not is_file(path) or read_input(path, CONFIG) != content:
        write_atomic(path, content)


def as_typed(value: Any) -> list[str]:
    """Convert a TOML value to command-line texts, so that the same parser reads both. A table becomes key=value.

    Raises ValueError for true and false, which have no command-line text.

    >>> as_typed({"autoattack": 5}), as_typed(["a", "b"]), as_typed(1.5)
    (['autoattack=5'], ['a', 'b'], ['1.5'])
    """
    if isinstance(value, dict):
        return [f"{key}={_text(inner)}" for key, inner in value.items()]
    return [_text(item) for item in value] if isinstance(value, list) else [_text(value)]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        raise ValueError(f"{value} is not text")
    return str(value)


def _option(path: Path, key: str, known: Mapping[str, str]) -> str:
    name = key.replace("-", "_")
    if name not in known:
        similar = difflib.get_close_matches(name, known, n=1)
        question = f"; did you mean {similar[0].replace('_', '-')!r}?" if similar else "."
        raise BenchError(f"config {path}: unknown key {key!r}{question} Keys are the options of 'bench run --help'.")
    return known[name]
