"""Read the options of a command from a TOML file, and write the configuration of a run to one."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from bench.core.errors import BenchError
from bench.core.options import Config, as_toml
from bench.runtime.files import read_text, write_atomic

#: Configurations of the last ``bench run`` and ``bench evaluate``, in the results folder.
RUN_FILE, EVALUATE_FILE = "run.toml", "evaluate.toml"


def read_config(
    path: Path,
    known: Mapping[str, str],
    opposites: Mapping[str, tuple[str, Any]],
    tables: dict[str, list[Mapping[str, Any]]],
) -> dict[str, Any]:
    """Return the options of ``path`` by name. Keys are option names with dashes or underscores.

    ``known`` maps keys to options. ``opposites`` maps further keys, which are true or false, to an option and the value
    that it gets if the key is true. The keys of ``tables`` are arrays of tables; their contents are stored there.
    Raises BenchError for a file that cannot be read, for invalid TOML, for an unknown key, and for two keys of one
    option.
    """
    try:
        content = tomllib.loads(read_text(path, "config"))
    except tomllib.TOMLDecodeError as error:
        raise BenchError(f"config {path} is not TOML: {error}.") from error
    found: dict[str, Any] = {}
    written: dict[str, str] = {}  # the key that gave an option its value
    for key in tables:
        value = content.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
            raise BenchError(f"config {path}: {key!r} is not a list of tables; write [[{key}]] above each.")
        tables[key] = value
    for key, value in content.items():
        name = _option(path, key, {**known, **{name: name for name in opposites}})
        if name in opposites:
            if not isinstance(value, bool):
                raise BenchError(f"config {path}: {key!r} is on or off; write true or false.")
            name, meant = opposites[name]
            value = meant if value else None
        if name in written:
            raise BenchError(f"config {path}: {written[name]!r} and {key!r} are one option; write one of them.")
        written[name] = key
        if value is not None:
            found[name] = value
    return found


def write_config(config: Config, path: Path, **tables: Sequence[Mapping[str, Any]]) -> None:
    """Write the recorded options of ``config``, and arrays of tables, as a file for ``--config``, if it changes."""
    content = tomli_w.dumps({**as_toml(config), **tables}).encode()
    if not path.is_file() or path.read_bytes() != content:
        write_atomic(path, content)


def as_typed(value: Any) -> list[str]:
    """Return a TOML value as texts of the command line, so that one parser reads both; a table becomes key=value.

    Raises ValueError for true and false, which have no such text.

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
        near = difflib.get_close_matches(name, known, n=1)
        question = f"; did you mean {near[0].replace('_', '-')!r}?" if near else "."
        raise BenchError(f"config {path}: unknown key {key!r}{question} Keys are the options of 'bench run --help'.")
    return known[name]
