"""Files of users that register models, variants, attacks or data sets beside the built-in ones."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.core.errors import BenchError

_LOADED: dict[Path, str] = {}


def plugin_sha() -> str:
    """A hash of the content of every plug-in that was loaded; part of the identity of whatever they registered."""
    return hashlib.sha256("".join(sorted(_LOADED.values())).encode()).hexdigest()[:16]


def load_plugins(paths: Iterable[Path]) -> None:
    """Run each file once. Raises BenchError for a missing file, or naming the file and its error."""
    for path in paths:
        _load(path.resolve())


def _load(path: Path) -> None:
    name = f"bench_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise BenchError(f"plugin {path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        spec.loader.exec_module(module)
    except BenchError as error:
        del sys.modules[name]
        raise BenchError(f"plugin {path}: {error}") from error
    except Exception as error:
        del sys.modules[name]
        raise BenchError(f"plugin {path} failed: {type(error).__name__}: {error}.") from error
    _LOADED[path] = content
