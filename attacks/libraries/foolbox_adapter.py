"""Run an attack of foolbox."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bench.attacks.libraries.installed import library_module, options_of
from bench.attacks.libraries.names import LibraryName
from bench.attacks.libraries.row import Row


def find(attack: str) -> Any:
    """Return the class of an attack; None if the installed version has none of this name."""
    return getattr(library_module("foolbox", "attacks"), attack, None)


def run(parsed: LibraryName, model: nn.Module, inputs: Tensor, labels: Tensor, row: Row) -> Any:
    """Return the images of the attack, (N, C, H, W). Only an attack in the ball gets ε."""
    foolbox, kind = library_module("foolbox"), find(parsed.attack)
    distances = {"linf": foolbox.distances.linf, "l2": foolbox.distances.l2, "l1": foolbox.distances.l1}
    method = kind(**options_of(parsed, kind, {"distance": distances[row.norm], "constraint": row.norm}))
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device=inputs.device)
    budget = {} if parsed.described.minimal_norm else {"epsilon": row.eps}
    return method.run(bounded, inputs, foolbox.criteria.Misclassification(labels), **budget)
