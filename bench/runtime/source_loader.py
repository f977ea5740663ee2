"""Import the modules of plug-ins from their source, never from compiled files of Python beside them.

Python accepts a compiled file if size and modification time in seconds of its source are unchanged. A source that is
replaced by another one of equal size and time would therefore not be run, although its hash is recorded. A hostile
compiled file may also take any amount of memory. Compiled files are neither read nor written here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from types import CodeType

from bench.runtime.plugin_imports import is_installed

_FOLDERS: list[Path] = []  # of plug-ins, without links
_OWN = Path(__file__).absolute().parents[1]  # this package, which may lie in the folder of a plug-in


class SourceLoader(SourceFileLoader):
    """Loader of a Python file that always compiles the source."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled source. Raises SyntaxError for invalid code, and OSError if it cannot be read."""
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def import_from_source(folder: Path) -> None:
    """Import the modules in ``folder`` and below from their source from now on, except installed packages."""
    folder = folder.resolve()
    if folder in _FOLDERS:
        return
    _FOLDERS.append(folder)
    if _finder not in sys.path_hooks:
        sys.path_hooks.insert(0, _finder)
    for entry in list(sys.path_importer_cache):
        if _is_inside(entry):
            del sys.path_importer_cache[entry]


def _finder(entry: str) -> FileFinder:
    """Return a finder for a folder on the path. Raises ImportError, as Python requires, for all other folders."""
    if not _is_inside(entry):
        raise ImportError(f"{entry} is not in the folder of a plug-in")
    loaders: Sequence[tuple[type, list[str]]] = (
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (SourceLoader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )
    return FileFinder(entry, *loaders)


def _is_inside(entry: str) -> bool:
    path = Path(entry).absolute()
    if path.is_relative_to(_OWN) or not path.is_dir():
        return False
    try:
        real = path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return False
    return any(real.is_relative_to(folder) and not is_installed(real, folder) for folder in _FOLDERS)
