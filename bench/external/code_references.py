"""Describe the code of a function as data, and find the global values that the code uses.

Bytecode is used instead of source text. Bytecode is the code that runs, even if the file was edited after the import,
and it does not depend on comments.
"""

from __future__ import annotations

import dis
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

Reference = tuple[str, str, Any]  # module name, attribute of the module ("" for the module itself), value
IsLibrary = Callable[[str], bool]  # maps a module name to True for a library

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "transformers")  # libraries in any installation folder
_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")
_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
_MISSING = object()


def root_of(name: str | None) -> str:
    """Return the top-level package of a dotted module name."""
    return (name or "").split(".")[0]


def is_library(root: str) -> bool:
    """Return whether the top-level package ``root`` is in :data:`LIBRARIES`, installed, or in the standard library."""
    if root in LIBRARIES or root == "__main__":
        return root in LIBRARIES
    module = sys.modules.get(root)
    paths = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    installed = [_is_installed(path) for path in paths if path]
    return any(installed) if installed else root in sys.stdlib_module_names


@lru_cache(maxsize=4096)
def _is_installed(path: str) -> bool:
    file = Path(path)
    standard = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    return not {"site-packages", "dist-packages"}.isdisjoint(file.parts) or any(map(file.is_relative_to, standard))


def describe_code(code: CodeType) -> list[Any]:
    """Return the instructions, constants and names of ``code`` as JSON data, without file names and line numbers."""
    names = [*code.co_names, "|", *code.co_varnames, "|", *code.co_freevars, "|", *code.co_cellvars]
    arguments = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags]
    return [hashlib.sha256(code.co_code).hexdigest(), names, arguments, [_constant(part) for part in code.co_consts]]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return describe_code(value)
    if isinstance(value, tuple):
        return [_constant(part) for part in value]
    if isinstance(value, frozenset):
        return sorted(repr(part) for part in value)
    return repr(value)


def references(function: FunctionType, library: IsLibrary) -> Iterator[Reference]:
    """Yield the globals that ``function`` and its nested functions use, and the modules that they import.

    ``config.TAU`` yields only the attribute. A module that is used in another way, such as ``getattr(config, name)``,
    is yielded itself. Modules of a ``library`` are not followed.
    """
    space = function.__globals__
    for code in _nested(function.__code__):
        steps = [step for step in dis.get_instructions(code) if step.opname not in ("EXTENDED_ARG", "CACHE")]
        for k, step in enumerate(steps):
            if step.opname in _GLOBAL and step.argval in space:
                yield from _resolve(space, step.argval, _run(steps[k + 1 :], _ATTRIBUTE), library)
            elif step.opname == "IMPORT_NAME":
                imported = [part.argval for part in steps[k + 1 :] if part.opname == "IMPORT_FROM"]
                for name in _imported(step.argval, steps[k - 2].argval, space, imported):
                    if name in sys.modules and not library(name):
                        yield name, "", sys.modules[name]


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _nested(part)


def _run(steps: list[dis.Instruction], names: tuple[str, ...]) -> list[str]:
    """Return the arguments of the first instructions, up to the first instruction whose name is not in ``names``."""
    arguments = []
    for step in steps:
        if step.opname not in names:
            break
        arguments.append(step.argval)
    return arguments


def _resolve(space: dict[str, Any], name: str, attributes: list[str], library: IsLibrary) -> Iterator[Reference]:
    """Follow ``attributes`` from module to module, beginning with the global ``name``."""
    owner, value = str(space.get("__name__", "")), space[name]
    for attribute in attributes:
        if not isinstance(value, ModuleType) or library(value.__name__):
            break
        part = vars(value).get(attribute, _MISSING)
        if part is _MISSING:  # an attribute that the module computes on access
            yield value.__name__, "", value
            return
        owner, name, value = value.__name__, attribute, part
    yield owner, name, value


def _imported(name: str, level: int, space: dict[str, Any], imported: list[str]) -> list[str]:
    """Return the full names of the modules that an import statement in a function may import."""
    package = str(space.get("__package__") or "")
    full = importlib.util.resolve_name("." * level + name, package) if level else name
    return [full, *(f"{full}.{part}" for part in imported)]
