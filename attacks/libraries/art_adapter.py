"""Run an attack of the Adversarial Robustness Toolbox, which takes and returns arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.attacks.libraries.installed import library_module, options_of
from bench.attacks.libraries.names import LibraryName
from bench.attacks.libraries.row import Row, class_count

ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}


class Float32(nn.Module):
    """Convert images to float32, because some attacks of the toolbox make float64 from it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the model, (N, K), for images (N, C, H, W) of any floating type."""
        logits: Tensor = self.model(inputs.float())
        return logits


def find(attack: str) -> Any:
    """Return the class of an attack; None if the installed version has none of this name."""
    return getattr(library_module("art", "attacks.evasion"), attack, None)


def run(parsed: LibraryName, model: nn.Module, inputs: Tensor, labels: Tensor, row: Row) -> Any:
    """Return the images of the attack, (N, C, H, W), on the device of ``inputs``."""
    classifier = library_module("art", "estimators.classification").PyTorchClassifier(
        model=Float32(model).eval(),
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(inputs.shape[1:]),
        nb_classes=class_count(model, inputs),
        clip_values=(0.0, 1.0),
        device_type="gpu" if inputs.is_cuda else "cpu",
    )
    kind, described = find(parsed.attack), parsed.described
    given = {described.eps: row.eps, described.norm: ORDERS[row.norm], "batch_size": len(inputs)}
    method = kind(classifier, **options_of(parsed, kind, {**given, "targeted": False, "verbose": False}))
    found = method.generate(x=inputs.cpu().numpy(), y=labels.cpu().numpy())
    return torch.from_numpy(np.asarray(found)).to(inputs.device)
