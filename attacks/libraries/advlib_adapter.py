"""Run an attack of adversarial-library."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.attacks.libraries.installed import library_module, options_of
from bench.attacks.libraries.names import LibraryName
from bench.attacks.libraries.row import Row

ORDERS = {"linf": torch.inf, "l2": 2, "l1": 1}


def find(attack: str) -> Any:
    """Return the function of an attack; None if the installed version has none of this name."""
    return getattr(library_module("advlib", "attacks"), attack, None)


def run(parsed: LibraryName, model: nn.Module, inputs: Tensor, labels: Tensor, row: Row) -> Any:
    """Return the images of the attack, (N, C, H, W)."""
    function, described = find(parsed.attack), parsed.described
    norm = row.norm if described.norm == "distance" else ORDERS[row.norm]
    given = {described.eps: row.eps, described.norm: norm, "targeted": False}
    return function(model, inputs, labels, **options_of(parsed, function, given))
