"""Find modules of others on the search path that hide a library, the standard library or this package."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from bench.doctor.check import Check, passed
from bench.runtime.versions import DISTRIBUTION, module_of, requirements

PACKAGE = Path(__file__).resolve().parents[1]
OURS = ("models", "attacks")
SHOWN = 5


def name_checks() -> Iterator[Check]:
    """Yield the checks of names: ``bench``, its two linked packages, and modules that hide others."""
    problems = [*_other_bench(), *_links(), *_ambiguous(), *_hidden()]
    copies = "".join(f"; the installed copy {copy} is not used" for copy in _other_places() if _is_installed(copy))
    yield from problems or [passed("module names", f"bench is {PACKAGE}; nothing hides it or a library{copies}")]


def _other_bench() -> Iterator[Check]:
    """Report modules of others that have the name ``bench`` and stand on the path beside this package."""
    others = [place for place in _other_places() if not _is_installed(place)]
    if others:
        advice = f"other modules are called bench; start in another folder, or rename them: {_few(others)}."
        yield Check("module bench", "warn", f"{PACKAGE} is used", advice)


def _other_places() -> list[Path]:
    return [place for place in _places("bench") if place.resolve() != PACKAGE]


def _is_installed(place: Path) -> bool:
    """Return whether pip installed this package to the folder ``place``, beside a checkout that is used instead."""
    found = metadata.distributions(name=DISTRIBUTION, path=[str(place.parent)])
    files = (Path(str(copy.locate_file(file))) for copy in found for file in copy.files or ())
    return place / "__init__.py" in files


def _links() -> Iterator[Check]:
    """Report a checkout whose links ``bench/models`` and ``bench/attacks`` were written as text files."""
    broken = [name for name in OURS if not (PACKAGE / name / "__init__.py").is_file()]
    if broken:
        advice = (
            "the checkout has no symbolic links; run: git config core.symlinks true && git checkout -- bench, or "
            "install the package with pip."
        )
        yield Check(
            "packages of bench", "fail", f"{', '.join(f'bench/{name}' for name in broken)} cannot be read", advice
        )


def _ambiguous() -> Iterator[Check]:
    """Report ``models`` or ``attacks`` of a project that is on the path together with the ones of this checkout."""
    checkout = PACKAGE.parent
    for name in OURS:
        own = checkout / name
        places = [place.resolve() for place in _places(name)]
        others = [place for place in places if place != own.resolve()]
        if others and own.resolve() in places:
            first = "yours" if places[0] != own.resolve() else "the one of this checkout"
            advice = (
                f"'import {name}' finds {first}; start outside of {checkout}, or install the package with pip, so that "
                f"only bench.{name} is visible."
            )
            yield Check(f"module {name}", "warn", f"also at {_few(others)}", advice)


def _hidden() -> Iterator[Check]:
    """Report files in folders of the user that have the name of a library or of a standard module."""
    libraries = {module_of(name) for name in requirements()} | {"packaging"}
    for folder in _own_folders():
        names = _modules_in(folder)
        hidden = sorted(names & libraries)
        if hidden:
            advice = f"rename them, or start in another folder: 'import {hidden[0]}' finds this file, not the library."
            yield Check("hidden libraries", "fail", f"{folder} has {_some(hidden)}", advice)
        standard = sorted(names & sys.stdlib_module_names - {"test"})
        if standard:
            advice = f"rename them, or start in another folder: they hide modules of Python, such as {standard[0]}."
            yield Check("hidden modules of Python", "warn", f"{folder} has {_some(standard)}", advice)


def _own_folders() -> list[Path]:
    """Return the folders of the search path that belong neither to Python nor to installed packages."""
    python = {Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    python |= {Path(entry).resolve() for entry in sys.path if "-packages" in entry}
    return [
        folder
        for folder in dict.fromkeys(Path(entry or ".").resolve() for entry in sys.path)
        if folder.is_dir() and folder not in python and not any(base in folder.parents for base in python)
    ]


def _modules_in(folder: Path) -> set[str]:
    """Return the names that ``import`` finds in a folder: files, and folders with ``__init__.py``."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return set()
    return {
        entry.name.partition(".")[0]
        for entry in entries
        if entry.suffix in (".py", ".so", ".pyd") or (entry / "__init__.py").is_file()
    }


def _places(name: str) -> list[Path]:
    """Return the files and folders that ``import name`` could find, in the order of the search path.

    A file without a suffix, such as a console script, cannot be imported.
    """
    found = []
    for folder in dict.fromkeys(Path(entry or ".").absolute() for entry in sys.path):
        found += [folder / name] if any((folder / name).glob("*.py")) else []
        found += [folder / f"{name}.py"] if (folder / f"{name}.py").is_file() else []
    return found


def _few(places: list[Path]) -> str:
    return _some(list(map(str, places)))


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
