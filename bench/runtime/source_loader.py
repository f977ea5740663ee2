"""Import the modules of plug-ins from their source, never from compiled files of Python beside them.

Python accepts a compiled file if size and modification time in seconds of its source are unchanged. A source that is
replaced by another one of equal size and time would therefore not be run, although its hash is recorded. A hostile
compiled file may also take any amount of memory. Compiled files are neither read nor written here.

A function of a plug-in may import a module hours after the plug-in was hashed. If the file has changed meanwhile, the
import fails.
"""

from __future__ import annotations

import codecs
import hashlib
import sys
from collections.abc import Sequence
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType

from bench.core.errors import BenchError
from bench.runtime.plugin_imports import is_installed

_FOLDERS: list[Path] = []  # of plug-ins, without links
_OWN = Path(__file__).absolute().parents[1]  # this package, which may lie in the folder of a plug-in
_RUN: dict[Path, str] = {}  # hash of the code that was run, by path without links
_HASHED: dict[Path, str] = {}  # hash of the code that is part of the identity of a plug-in
CHANGED = "changed after it was loaded; run the same command again, in a new process, when nothing writes to it"


def code_sha(content: bytes) -> str:
    """Return a hash of Python code that does not depend on line ends or on a byte order mark."""
    return hashlib.sha256(content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")).hexdigest()


def keep_code(file: Path, sha: str) -> None:
    """Refuse to run another code than ``sha`` from now on. Raises BenchError if another one was run before."""
    real = file.resolve()
    if _RUN.get(real, sha) != sha:
        raise BenchError(f"{file} {CHANGED}.")
    _HASHED[real] = sha


class SourceLoader(SourceFileLoader):
    """Loader of a Python file that always compiles the source."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled source.

        Raises SyntaxError for invalid code, OSError if it cannot be read, and ImportError if it is not the code that is
        part of the identity of a plug-in.
        """
        path = self.get_filename(fullname)
        content, real = self.get_data(path), Path(path).resolve()
        sha = code_sha(content)
        if _HASHED.get(real, sha) != sha:
            raise ImportError(f"{path} {CHANGED}")
        code: CodeType = self.source_to_code(content, path)
        _RUN[real] = sha
        return code


class _Finder(FileFinder):
    """Finder that imports the modules of plug-ins from their source, and other modules as Python does."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the specification of a module; None if it is not in this folder."""
        spec = super().find_spec(fullname, target)
        if spec is None or spec.origin is None or not _is_inside(Path(spec.origin).parent):
            return spec
        if isinstance(spec.loader, SourcelessFileLoader):
            return None
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader = SourceLoader(fullname, spec.origin)
        return spec


def import_from_source(folder: Path) -> None:
    """Import the modules in ``folder`` and below from their source from now on, except installed packages."""
    folder = folder.resolve()
    if folder in _FOLDERS:
        return
    _FOLDERS.append(folder)
    if _finder not in sys.path_hooks:
        sys.path_hooks.insert(0, _finder)
    for entry in list(sys.path_importer_cache):
        if _finds_plugins(entry):
            del sys.path_importer_cache[entry]


def _finder(entry: str) -> FileFinder:
    """Return a finder for a folder on the path. Raises ImportError, as Python requires, for all other folders."""
    if not _finds_plugins(entry):
        raise ImportError(f"{entry} is neither in the folder of a plug-in nor above it")
    loaders: Sequence[tuple[type, list[str]]] = (
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (SourceFileLoader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )
    return _Finder(entry, *loaders)


def _finds_plugins(entry: str) -> bool:
    """Return whether a folder on the path is in the folder of a plug-in, or above it."""
    path = Path(entry).absolute()
    real = _real(path)
    above = real is not None and any(real in folder.parents for folder in _FOLDERS)
    return path.is_dir() and (above or _is_inside(path))


def _is_inside(path: Path) -> bool:
    real = None if path.is_relative_to(_OWN) else _real(path)
    return real is not None and any(real.is_relative_to(f) and not is_installed(real, f) for f in _FOLDERS)


def _real(path: Path) -> Path | None:
    """Return the path without links; None for a loop of links."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return None
