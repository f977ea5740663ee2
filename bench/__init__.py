"""collapse-bench: decides whether a training-time idea makes image classifiers really robust.

>>> from bench import evaluate, run                                                             # doctest: +SKIP
>>> rows = evaluate(my_module, name="mine", dataset="digits", attacks=["pgd"], eps=["0.1"])     # doctest: +SKIP
>>> rows = run(models="resnet18", variants="baseline,lpc", seeds="0,1,2")                       # doctest: +SKIP

Importing this package does not import torch. The functions are imported when they are first used.

docs/glossary.md defines the terms of this package, such as cell, budget, flag and recipe.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import FailedCellsWarning, evaluate, run
    from bench.config import RunConfig
    from bench.core.errors import BenchError

try:
    __version__ = version("collapse-bench")
except PackageNotFoundError:  # the package is not installed, such as in a checkout
    __version__ = "0+unknown"

__all__ = ["BenchError", "FailedCellsWarning", "RunConfig", "__version__", "evaluate", "run"]

_MODULES = {
    "BenchError": "bench.core.errors",
    "FailedCellsWarning": "bench.api",
    "RunConfig": "bench.config",
    "evaluate": "bench.api",
    "run": "bench.api",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
