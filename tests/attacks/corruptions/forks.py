"""The corruptions of imagecorruptions-imaug and corrupt-tta with constants of our choice, as independent references.

Both write ImageNet-C's constants into their functions. Here a function's source is compiled again with its first
assignment to ``c`` replaced, in a namespace where its helpers can be replaced too.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.corruptions.severities import Zooms


def with_constants(
    module: ModuleType, kind: str, constants: Any, replaced: Mapping[str, Any] | None = None
) -> Callable[[Any], NDArray[np.uint8]]:
    """``module``'s function ``kind`` of one image, its ``c`` as ``constants``, some of its globals replaced."""
    tree = ast.parse(inspect.getsource(getattr(module, kind)))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    assignments = [s for s in function.body if isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == "c"]
    assert len(assignments) == 1, f"{module.__name__}.{kind} has another form"
    assignments[0].value = ast.Name("OUR_CONSTANTS", ast.Load())
    ast.fix_missing_locations(tree)
    namespace = {**vars(module), **(replaced or {}), "OUR_CONSTANTS": _their_form(constants)}
    exec(compile(tree, f"<{module.__name__}.{kind}>", "exec"), namespace)
    corruption = namespace[kind]
    return lambda image: np.asarray(corruption(image)).astype(np.uint8)


def _their_form(constants: Any) -> Any:
    """A single number stands alone, enlargements are listed, radii are whole numbers."""
    if isinstance(constants, Zooms):
        return np.arange(*constants)
    return constants[0] if len(constants) == 1 else tuple(constants)
