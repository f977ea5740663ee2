"""Find the modules that a Python file imports from its own folder, by reading the import statements.

No module is executed. Imports inside functions and branches are found, and so are ``importlib.import_module("name")``
and ``__import__("name")`` with a literal name. A name that is computed while the program runs cannot be found.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.machinery import all_suffixes
from pathlib import Path

IMPORTERS = ("import_module", "__import__")  # functions that import the module named by their first argument
INIT = "__init__"
INSTALLED = frozenset({"site-packages", "dist-packages"})


def roots_in(folder: Path) -> list[Path]:
    """Return the folders in which a plug-in finds its modules: ``folder``, and its subfolders on the path."""
    on_path = (Path(entry) for entry in sys.path)
    return [folder, *dict.fromkeys(e for e in on_path if folder in e.parents and not is_installed(e, folder))]


def is_installed(file: Path, folder: Path) -> bool:
    """Return whether a file in ``folder`` belongs to an installed package or to Python, for example to ``.venv``."""
    prefixes = {Path(sys.prefix), Path(sys.base_prefix)}
    below = any(file.is_relative_to(prefix) and not folder.is_relative_to(prefix) for prefix in prefixes)
    return below or not INSTALLED.isdisjoint(file.relative_to(folder).parts)


def imported_files(path: Path, roots: Sequence[Path]) -> set[Path]:
    """Return the files below ``roots`` that ``path`` imports, directly or indirectly, without ``path`` itself.

    ``roots`` are the folders in which absolute imports are looked up. Packages without ``__init__.py`` are followed,
    too. Symbolic links are kept as they are. A file that is not valid Python has no imports.
    """
    found: set[Path] = set()
    pending = [path]
    while pending:
        file = pending.pop()
        new = set(_files_of(file, roots)) - found - {path}
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
    """Return the name in a call such as ``import_module("name")``; None for all other nodes."""
    if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
        return None
    function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    value = node.args[0].value
    return value if function in IMPORTERS and isinstance(value, str) else None


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
    for suffix in all_suffixes():
        file = folder / f"{name}{suffix}"
        with suppress(OSError):  # the name is too long for a file
            if name and file.is_file():
                yield file


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _is_module(file: Path) -> bool:
    return file.is_file() and any(file.name.endswith(suffix) for suffix in all_suffixes())
