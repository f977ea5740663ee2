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


def _option(path: Path, key: str, known: Collection[str]) -> str:
    name = _ALIASES.get(key, key.replace("-", "_"))
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        question = f"; did you mean {near[0].replace('_', '-')!r}?" if near else "."
        raise BenchError(f"config {path}: unknown key {key!r}{question} Keys are the options of 'bench run --help'.")
    return name
