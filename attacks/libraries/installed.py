"""Import a library of attacks, and check the parameters of an attack against its signature there."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from bench.attacks.libraries.names import LIBRARIES, LibraryName
from bench.core.errors import BenchError, did_you_mean, first_line
from bench.core.words import join


def library_module(prefix: str, submodule: str = "") -> ModuleType:
    """Import a library, or one of its modules. Raises BenchError with the command that installs it, if it is missing.

    Warnings of the import, such as deprecated names in the library itself, are not shown.
    """
    library = LIBRARIES[prefix]
    command = f"run: python -m pip install '{library.requirement}'"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(f"{library.module}.{submodule}" if submodule else library.module)
    except ModuleNotFoundError as error:
        if error.name == library.module:
            raise BenchError(
                f"{library.distribution}, which computes the attacks {prefix}:…, is not installed; {command}"
            ) from None
        raise BenchError(
            f"{library.distribution}, which computes the attacks {prefix}:…, needs {error.name}; {command}"
        ) from error
    except Exception as error:
        raise BenchError(
            f"{library.distribution}, which computes the attacks {prefix}:…, cannot be imported "
            f"({type(error).__name__}: {first_line(error)}); {command}"
        ) from error


def adapter_of(prefix: str) -> Any:
    """Return the module that adapts the library ``prefix``: it has the functions ``find`` and ``run``."""
    return importlib.import_module(LIBRARIES[prefix].adapter)


def parameters_of(attack: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the named parameters of an attack of a library, which is a class or a function."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: p for name, p in inspect.signature(attack).parameters.items() if p.kind in named}


def check_installed(parsed: LibraryName) -> None:
    """Check that the library is installed and that its attack accepts the parameters of the name. Imports it.

    Raises BenchError for a missing library or attack, and for a parameter that is unknown, missing or set by the row.
    """
    library, described = LIBRARIES[parsed.library], parsed.described
    attack = adapter_of(parsed.library).find(parsed.attack)
    if attack is None:
        raise BenchError(
            f"the installed version of {library.title} has no attack {parsed.attack!r}; run: python -m pip install "
            f"--upgrade '{library.requirement}'"
        )
    known = parameters_of(attack)
    by_row = {described.eps: "--eps", described.norm: "--norm", "seed": "--seeds", "batch_size": "--batch-size"}
    by_row |= {name: option for name, option in (("eps", "--eps"), ("norm", "--norm")) if name not in known}
    free = [name for name in known if name not in library.given and name not in by_row]
    for name in parsed.params:
        if name in by_row:
            raise BenchError(f"parameter {name!r} of '{parsed.shown}' is given by {by_row[name]}; leave it out.")
        if name in library.given:
            raise BenchError(f"parameter {name!r} of '{parsed.shown}' is set by this program; leave it out.")
        if name not in free:
            suggestion = did_you_mean(name, free) or "."
            listing = f" It has {join(free)}." if free else " It has none."
            raise BenchError(f"'{parsed.shown}' has no parameter {name!r}{suggestion}{listing}")
    needed = [name for name in free if known[name].default is inspect.Parameter.empty and name not in parsed.params]
    if needed:
        raise BenchError(f"'{parsed.shown}' needs the parameter {needed[0]!r}; write {parsed.shown}({needed[0]}=…).")


def options_of(parsed: LibraryName, attack: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the name, and those values ``given`` by the row that the attack accepts."""
    known = parameters_of(attack)
    return {**{name: value for name, value in given.items() if name in known}, **parsed.params}
