"""Load plug-ins: user-written Python files that register models, variants, attacks, data sets and other entries."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping
from importlib.machinery import BYTECODE_SUFFIXES
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.limits import PLUGIN
from bench.core.paths import shown
from bench.core.registry import REGISTRATIONS, Registration
from bench.runtime.foreign_code import foreign_code
from bench.runtime.input_files import read_input, resolved, status_of
from bench.runtime.plugin_imports import imported_files, is_installed, roots_in
from bench.runtime.source_loader import SourceLoader, code_sha, import_from_source, keep_code

_LOADED: dict[Path, str] = {}  # hash by path of the plug-in
_REGISTERED: dict[Path, tuple[Registration, ...]] = {}  # entries by path of the plug-in


def plugin_sha() -> str:
    """Return a hash of all loaded plug-ins and of the modules that they import from their own folders.

    The hash is part of the specs of the entries that the plug-ins register.
    """
    return hashlib.sha256("".join(sorted(_LOADED.values())).encode()).hexdigest()[:16]


def plugin_sha_of(kind: str, name: str) -> str:
    """Return a hash of the plug-in that registered an entry, and of the modules imported from the same folder.

    Unlike :func:`plugin_sha`, the hash does not depend on other plug-ins. It is "" if no loaded plug-in registered the
    entry.
    """
    paths = [path for path, entries in _REGISTERED.items() if Registration(kind, name) in entries]
    return _LOADED[paths[0]][:16] if paths else ""


def load_plugins(paths: Iterable[Path]) -> None:
    """Execute each file once. Raises BenchError, with the path, for a missing file and for an error in a file."""
    for path in paths:
        _load(resolved(path, PLUGIN.name))


def registered_by(path: Path) -> tuple[Registration, ...]:
    """Return the entries that were registered while the plug-in ``path`` was loaded, in order."""
    return _REGISTERED.get(resolved(path, PLUGIN.name), ())


def is_of_plugin(kind: str, name: str) -> bool:
    """Return whether a loaded plug-in registered the entry ``name`` of ``kind``."""
    return any(Registration(kind, name) in entries for entries in _REGISTERED.values())


def content_sha(path: Path, loaded: Iterable[str]) -> str:
    """Return a hash of the file, of the modules it imports from its folder, and of ``loaded`` files in this folder.

    Absolute imports are looked up in the folder, and in folders on ``sys.path`` below or above it.
    """
    return _sha_of(_hashes(path, loaded), path.parent)


def _hashes(path: Path, loaded: Iterable[str]) -> dict[Path, str]:
    """Return the hashes of the files that :func:`content_sha` covers."""
    folder = path.parent
    own = (_inside(Path(file), folder) for file in loaded)
    files = {path, *imported_files(path, roots_in(folder)), *own}
    files = {file for file in files if file.is_relative_to(folder) and not is_installed(file, folder)}
    return {file: code_sha(read_input(file, PLUGIN)) for file in sorted(files)}


def _sha_of(hashes: Mapping[Path, str], folder: Path) -> str:
    parts = [f"{file.relative_to(folder)}:{sha}" for file, sha in hashes.items()]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _inside(file: Path, folder: Path) -> Path:
    """Return the path without symbolic links, unless it lies in ``folder`` as it is."""
    return file if file.is_relative_to(folder) else file.resolve()


def _files(names: Iterable[str]) -> list[str]:
    """Return the files of loaded modules. Some modules name a file that does not exist, such as torch.classes."""
    files = [getattr(sys.modules[name], "__file__", None) for name in names]
    return [file for file in files if file and Path(file).is_file()]


def _load(path: Path) -> None:
    name = f"bench_plugin_{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    if name in sys.modules:
        return
    if status_of(path, PLUGIN.name) is None:
        raise BenchError(f"plugin {shown(path)} does not exist.")
    if path.suffix in BYTECODE_SUFFIXES:
        raise BenchError(f"plugin {shown(path)} is a compiled file, which is never run; give its source.")
    loader = SourceLoader(name, str(path)) if path.suffix == ".py" else None
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None or spec.loader is None:
        raise BenchError(f"plugin {shown(path)} is not a Python file.")
    read_input(path, PLUGIN)  # raises BenchError unless it is a regular file of a possible size
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before, count = set(sys.modules), len(REGISTRATIONS)
    try:
        import_from_source(path.parent)
        with foreign_code():
            spec.loader.exec_module(module)
        hashes = _hashes(path, _files(set(sys.modules) - before))
        for file, sha in hashes.items():
            keep_code(file, sha)
    except BenchError as error:
        del sys.modules[name]
        raise BenchError(f"plugin {path}: {error}") from error
    except Exception as error:
        del sys.modules[name]
        raise BenchError(f"plugin {path} failed: {type(error).__name__}: {error}.") from error
    _LOADED[path] = _sha_of(hashes, path.parent)
    _REGISTERED[path] = tuple(REGISTRATIONS[count:])
