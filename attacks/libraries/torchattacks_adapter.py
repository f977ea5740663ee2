"""Run an attack of torchattacks."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bench.attacks.libraries.installed import library_module, options_of, parameters_of
from bench.attacks.libraries.names import LibraryName
from bench.attacks.libraries.row import Row, class_count

NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def find(attack: str) -> Any:
    """Return the class of an attack; None if the installed version has none of this name."""
    return getattr(library_module("torchattacks"), attack, None)


def run(parsed: LibraryName, model: nn.Module, inputs: Tensor, labels: Tensor, row: Row) -> Any:
    """Return the images of the attack, (N, C, H, W)."""
    kind, described = find(parsed.attack), parsed.described
    given: dict[str, Any] = {described.eps: row.eps, "norm": NORMS[row.norm], "seed": row.seed}
    if "n_classes" in parameters_of(kind):
        given["n_classes"] = class_count(model, inputs)
    method = kind(model, **options_of(parsed, kind, given))
    method.set_device(inputs.device)
    return method(inputs, labels)
