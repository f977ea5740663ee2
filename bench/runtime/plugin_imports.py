"""Find the modules that a Python file imports from its own folder, by reading the import statements.

No module is executed. Imports inside functions and branches are found, and so are ``importlib.import_module("name")``
and ``__import__("name")`` with a literal name. A name that is computed while the program runs cannot be found.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from importlib.util import resolve_name
from pathlib import Path

IMPORTERS = ("import_module", "__import__")  # functions that import the module named by their first argument
SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES)  # compiled files of Python are not imported
INIT = "__init__"
INSTALLED = frozenset({"site-packages", "dist-packages"})


def roots_in(folder: Path) -> list[Path]:
    """Return the folders in which a plug-in finds its modules: ``folder``, and folders on the path below or above it.

    From a folder above, the plug-in may import ``folder`` as a package. The folders are given without links.
    """
    on_path = dict.fromkeys(real for entry in sys.path if (real := _real(entry)) is not None and real != folder)
    below = [path for path in on_path if folder in path.parents and not is_installed(path, folder)]
    return [folder, *below, *(path for path in on_path if path in folder.parents)]


def _real(entry: str) -> Path | None:
    """Return an entry of the path without links; None for one that is no path, such as a loop of links."""
    try:
        return Path(entry).resolve()
    except (OSError, RuntimeError, ValueError):
        return None


def is_installed(file: Path, folder: Path) -> bool:
    """Return whether a file in ``folder`` belongs to an installed package or to Python, for example to ``.venv``."""
    prefixes = {Path(sys.prefix), Path(sys.base_prefix)}
    below = any(file.is_relative_to(prefix) and not folder.is_relative_to(prefix) for prefix in prefixes)
    return below or not INSTALLED.isdisjoint(file.relative_to(folder).parts)


def imported_files(path: Path, roots: Sequence[Path]) -> set[Path]:
    """Return the files in the folder of ``path`` that it imports, directly or indirectly, without ``path`` itself.

    ``roots`` are the folders in which absolute imports are looked up. Packages without ``__init__.py`` are followed,
    too. Symbolic links are kept as they are. A file that is not valid Python has no imports. Files outside of the
    folder, such as installed packages, are not read.
    """
    folder = path.parent
    found: set[Path] = set()
    pending = [path]
    while pending:
        file = pending.pop()
        files = {other for other in _files_of(file, roots) if other.is_relative_to(folder)}
        new = files - found - {path}
        found |= new
        pending += [other for other in new if other.suffix == ".py"]
    return found


def _files_of(file: Path, roots: Sequence[Path]) -> Iterator[Path]:
    """Yield the files of all import statements of ``file``."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _modules(roots, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            folders = [_above(file, node.level)] if node.level else roots
            yield from _from(folders, node.module.split(".") if node.module else [], [a.name for a in node.names])
        elif (name := _literal_import(node)) is not None:
            level = len(name) - len(name.lstrip("."))
            yield from _modules([_above(file, level)] if level else roots, name[level:].split("."))


def _literal_import(node: ast.AST) -> str | None:
    """Return the name in a call such as ``import_module("name")``; None for all other nodes.

    ``import_module(".name", "package")`` is "package.name".
    """
    if not isinstance(node, ast.Call):
        return None
    function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    name, package = [*(_text(argument) for argument in node.args[:2]), "", ""][:2]
    if function not in IMPORTERS or not name:
        return None
    if function == "import_module" and name.startswith(".") and package:
        with suppress(ImportError):  # more dots than packages
            return resolve_name(name, package)
    return name


def _text(node: ast.AST) -> str:
    """Return the value of a literal string; empty for all other nodes."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _above(file: Path, level: int) -> Path:
    """Return the folder in which a relative import of ``level`` dots is looked up."""
    return file.parents[min(level, len(file.parents)) - 1]


def _from(folders: Iterable[Path], parts: Sequence[str], names: Sequence[str]) -> Iterator[Path]:
    """Yield the files of ``from parts import names``. A name may be a module; a star stands for every module."""
    for folder in folders:
        yield from _modules([folder], parts) if parts else _module(folder, INIT)
        package = folder.joinpath(*parts)
        for name in names:
            if name == "*":
                yield from (file for file in _children(package) if _is_module(file))
                for child in _children(package):
                    yield from _module(child, INIT)
            else:
                yield from _modules([folder], [*parts, name])


def _modules(folders: Iterable[Path], parts: Sequence[str]) -> Iterator[Path]:
    """Yield the files of the module ``parts`` and of the packages that contain it."""
    for folder in folders:
        for part in parts:
            yield from _module(folder, part)
            folder = folder / part
            yield from _module(folder, INIT)


def _module(folder: Path, name: str) -> Iterator[Path]:
    for suffix in SUFFIXES:
        file = folder / f"{name}{suffix}"
        with suppress(OSError):  # the name is too long for a file
            if name and file.is_file():
                yield file


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _is_module(file: Path) -> bool:
    return file.is_file() and any(file.name.endswith(suffix) for suffix in SUFFIXES)
