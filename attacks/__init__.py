"""Adversarial attacks, as plain functions and as registry entries, and common corruptions.

Each attack is a function of a model and tensors that can be used without the harness:

>>> from bench.attacks import pgd
>>> adversarials = pgd(model, inputs, labels, norm="linf", eps=8 / 255, steps=20)  # doctest: +SKIP

Importing this package fills :data:`ATTACKS` without importing torch. An attack is imported at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench.attacks import builtin
from bench.attacks.registry import ATTACKS, AttackEntry, Cost, resolve, resolve_all

if TYPE_CHECKING:
    from bench.attacks.apgd_attack import apgd
    from bench.attacks.auto_attack import autoattack
    from bench.attacks.corruptions.apply import corrupt
    from bench.attacks.ddn_attack import ddn
    from bench.attacks.deepfool_attack import deepfool
    from bench.attacks.engine.counter_rng import SampleRng
    from bench.attacks.engine.query_budget import QueryBudget
    from bench.attacks.fab_attack import fab
    from bench.attacks.fgsm_attack import fgsm
    from bench.attacks.fmn_attack import fmn
    from bench.attacks.pgd_attack import mim, pgd
    from bench.attacks.square_attack import square

__all__ = [
    "ATTACKS",
    "AttackEntry",
    "Cost",
    "QueryBudget",
    "SampleRng",
    "apgd",
    "autoattack",
    "builtin",
    "corrupt",
    "ddn",
    "deepfool",
    "fab",
    "fgsm",
    "fmn",
    "mim",
    "pgd",
    "resolve",
    "resolve_all",
    "square",
]

_MODULES = {
    "QueryBudget": "engine.query_budget",
    "SampleRng": "engine.counter_rng",
    "apgd": "apgd_attack",
    "autoattack": "auto_attack",
    "corrupt": "corruptions.apply",
    "ddn": "ddn_attack",
    "deepfool": "deepfool_attack",
    "fab": "fab_attack",
    "fgsm": "fgsm_attack",
    "fmn": "fmn_attack",
    "mim": "pgd_attack",
    "pgd": "pgd_attack",
    "square": "square_attack",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
