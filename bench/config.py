"""Options from a TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError

#: Options whose name in Python differs from the one users write.
_ALIASES = {"json": "as_json"}


def read_config(path: Path, known: Collection[str]) -> dict[str, Any]:
    """The keys of ``path`` as option names (``batch-size`` and ``batch_size`` are one).

    Raises BenchError for a file that cannot be read, for broken TOML and for a key that is no option.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"cannot read config {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"config {path} is not TOML: {error}.") from error
    return {_option(path, key, known): value for key, value in content.items()}


def as_typed(value: Any) -> list[str]:
    """A TOML value as what a user would have typed, so that one parser judges both; tables become k=v.

    >>> as_typed({"autoattack": 5}), as_typed(["a", "b"]), as_typed(1.5)
    (['autoattack=5'], ['a', 'b'], ['1.5'])
    """
    if isinstance(value, dict):
        return [f"{key}={inner}" for key, inner in value.items()]
    if isinstance(value, list):
        return [str(item) for item in value]
    return [str(value)]


def _option(path: Path, key: str, known: Collection[str]) -> str:
    name = _ALIASES.get(key, key.replace("-", "_"))
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        question = f"; did you mean {near[0].replace('_', '-')!r}?" if near else "."
        raise BenchError(f"config {path}: unknown key {key!r}{question} Keys are the options of 'bench run --help'.")
    return name
