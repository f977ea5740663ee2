"""Describe the structure of an externally trained model: its modules, their attributes, and their code.

Two models with equal weights compute different functions if a switch, a threshold or a line of code differs. Therefore
the structure contains the values of all attributes, and the code of every class and function outside of libraries. It
also contains the values that this code uses from closures, defaults, globals and other modules. Code of libraries is
described only by name and version.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter, deque
from itertools import chain
from pathlib import Path as File
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn

from bench.external.code_references import LIBRARIES, describe_code, is_library, references, root_of
from bench.external.object_parts import (
    Parts,
    attributes,
    class_parts,
    closure_of,
    globals_of,
    items,
    module_parts,
    plain,
    shown,
)

Path = tuple[str, ...]
Structure = dict[Path, Any]  # JSON data of each object by the path to the object

#: Libraries whose versions are recorded in every row. Versions of other libraries are part of the structure.
RECORDED = ("torch", "torchvision", "timm", "numpy")
#: Packages and modules whose objects are described by their repr.
SHOWN = (
    "builtins", "datetime", "decimal", "fractions", "itertools", "numpy", "operator", "pathlib", "re", "torch",
    "torch._ops", "uuid",
)  # fmt: skip
#: Modules of torch and of the standard library whose objects are described by their attributes. Objects of other
#: modules contain locks, handles and counters.
HOLDERS = ("argparse", "collections", "enum", "functools", "types", "torch.distributions", "torch.nn")


def structure_of(model: nn.Module) -> Structure:
    """Describe the modules, attributes and code of ``model``, without memory addresses."""
    return _Walk(model).found


def unchanged(before: Structure, after: Structure) -> Structure:
    """Return the entries that a forward pass does not change. Counters, for example, are removed.

    If the keys or the length of a container change, all of its items are removed.
    """
    stable = {path for path, value in before.items() if path in after and after[path] == value}
    changed = before.keys() - stable
    return {
        path: before[path] for path in stable if not any(path[:length] in changed for length in range(1, len(path)))
    }


class _Walk:
    """Breadth-first walk over every object to which a model refers. Each object is visited once."""

    def __init__(self, model: nn.Module) -> None:
        modules = [*model.named_modules()]
        roots = {root_of(cls.__module__) for _, module in modules for cls in type(module).__mro__}
        self.own = roots - {*LIBRARIES, *sys.stdlib_module_names}  # the model's package may be installed
        self.names: Counter[Path] = Counter()
        self.seen: dict[int, tuple[Any, Path]] = {}  # the objects are stored, so that their ids are not reused
        self.found: Structure = {("repr",): shown(model)}
        self.queue: deque[tuple[Path, Any]] = deque()
        for name, module in modules:
            self.seen[id(module)] = module, ("modules", name)
        for name, module in modules:
            self._add_parts(("modules", name), module_parts(module))
        while self.queue:
            path, value = self.queue.popleft()
            self._visit(path, value)

    def _add_parts(self, path: Path, parts: Parts) -> None:
        for name, value in parts:
            self._add((*path, name), value)

    def _add(self, path: Path, value: Any) -> None:
        """Store a plain value. Queue any other value, under its own path if it has a name."""
        if path in self.found:
            return
        data = plain(value)
        if data is not None:
            self.found[path] = data
            return
        if id(value) not in self.seen:
            self.seen[id(value)] = value, self._home(value) or path
            self.queue.append((self.seen[id(value)][1], value))
        home = self.seen[id(value)][1]
        if home != path:
            self.found[path] = {"see": [*home]}

    def _home(self, value: Any) -> Path | None:
        if isinstance(value, ModuleType):
            return ("module", value.__name__)
        if not isinstance(value, FunctionType | type):
            return None
        name = ("code", value.__module__ or "", value.__qualname__)
        self.names[name] += 1
        return (*name, str(self.names[name]))  # functions created in a function share a name

    def _visit(self, path: Path, value: Any) -> None:
        if isinstance(value, ModuleType):
            self._visit_module(path, value)
        elif isinstance(value, FunctionType):
            self._visit_function(path, value)
        elif isinstance(value, type):
            library = self._library(value.__module__)
            self.found[path] = [f"{value.__module__}.{value.__qualname__}", library]
            self._add_parts(path, iter(()) if library else class_parts(value))
        elif isinstance(value, BuiltinFunctionType):
            self.found[path] = f"{value.__module__}.{value.__qualname__}"
            self._add((*path, "self"), value.__self__)
        else:
            self._visit_object(path, value)

    def _visit_module(self, path: Path, module: ModuleType) -> None:
        """Describe a Python module by its globals, and a compiled module by the hash of its file."""
        library, file = self._library(module.__name__), File(getattr(module, "__file__", None) or "")
        compiled = not library and file.suffix in (".so", ".pyd")
        self.found[path] = [module.__name__, library, hashlib.sha256(file.read_bytes()).hexdigest() if compiled else ""]
        self._add_parts(path, iter(()) if library else globals_of(module))

    def _visit_function(self, path: Path, function: FunctionType) -> None:
        """Describe a function by code, defaults, closure and globals, a library function by the wrapped function."""
        library = self._library(function.__globals__.get("__name__"))
        self._add_parts(path, ((f".{name}", value) for name, value in vars(function).items()))
        if not (library and hasattr(function, "__wrapped__")):
            self._add_parts(path, closure_of(function))
        if library:
            self.found[path] = [f"{function.__module__}.{function.__qualname__}", library]
            return
        self.found[path] = describe_code(function.__code__)
        self._add_parts(path, iter((("defaults", function.__defaults__), ("keywords", function.__kwdefaults__))))
        for module, name, value in references(function, lambda module: bool(self._library(module))):
            self._add(("module", module, name) if name else ("module", module), value)

    def _visit_object(self, path: Path, value: Any) -> None:
        kind = type(value)
        library, root = self._library(kind.__module__), root_of(kind.__module__)
        head, parts = items(value)
        if head is None and (kind.__module__ in SHOWN or (root in SHOWN and root != "torch")):
            head = shown(value)
        if isinstance(value, torch.jit.ScriptFunction):
            head = value.code
        opaque = library and (root == "torch" or root in sys.stdlib_module_names) and not _holds_values(value)
        self.found[path] = [f"{kind.__module__}.{kind.__qualname__}", library, head]
        self._add_parts(path, chain(() if library else (("class", kind),), parts, () if opaque else attributes(value)))

    def _library(self, module: str | None) -> str:
        """Return name and version of the library of a module; an empty string for the user's code."""
        root = root_of(module)
        if root in self.own or not is_library(root):
            return ""
        recorded = root in RECORDED or root in sys.stdlib_module_names
        return root if recorded else f"{root} {getattr(sys.modules.get(root), '__version__', '')}"


def _holds_values(value: Any) -> bool:
    bound = isinstance(value, nn.Module | MethodType | property | staticmethod | classmethod)
    return bound or type(value).__module__.startswith(HOLDERS)
