"""Audit networks of a study without changes and with known kinds of gradient masking.

    python results/studies/audit_controls.py RESULTS DATA model:variant:seed …

The thresholds of the audit were chosen on other networks. Every network is audited without a wrapper and with three
wrappers: logits times 1000, pixels rounded to five levels, and a random shift by one pixel. The wrappers change no or
few predictions. A wrapped network must get a flag, and the network itself must get none.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.api import evaluate
from bench.evaluation.load_run import reopen
from bench.results.store import Store

IMAGES = 200


class Scaled(nn.Module):
    """Logits times 1000: their softmax is exactly 0 or 1 in float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (N, K) for ``inputs``, (N, C, H, W)."""
        logits: Tensor = 1000 * self.model(inputs)
        return logits


class Quantised(nn.Module):
    """Pixels rounded to five levels: gradients are exactly 0."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (N, K) for ``inputs``, (N, C, H, W)."""
        logits: Tensor = self.model((inputs * 4).round() / 4)
        return logits


class Shifted(nn.Module):
    """Images shifted randomly by up to one pixel in every forward pass (after Xie et al. 2018, arXiv 1711.01991)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (N, K) for ``inputs``, (N, C, H, W)."""
        top, left = (int(torch.randint(0, 3, ())) for _ in range(2))
        side = inputs.shape[-1]
        logits: Tensor = self.model(functional.pad(inputs, (1, 1, 1, 1))[..., top : top + side, left : left + side])
        return logits


WRAPPERS = {"unchanged": lambda model: model, "logits × 1000": Scaled, "quantised": Quantised, "shifted": Shifted}


def main(results: Path, data: Path, names: list[str]) -> None:
    """Print one row per network and wrapper."""
    store, rows = Store(results), []
    for name in names:
        run = store.find_run(name)
        model = reopen(run, store, data_dir=data, device="cpu").model
        for title, wrap in WRAPPERS.items():
            with tempfile.TemporaryDirectory() as folder:
                results_table = evaluate(
                    wrap(model), name="control", dataset=run.dataset, data_dir=data, attacks=["fgsm", "pgd"],
                    eps="8/255", corruptions="none", limit=IMAGES, results=folder,
                )  # fmt: skip
            pgd = results_table[results_table.attack == "pgd-20"].iloc[0]
            flags = "" if pd.isna(pgd.audit_flags) else pgd.audit_flags
            rows.append((name, title, f"{100 * pgd.acc:.1f}", pgd.audit, flags))
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows, columns=["network", "control", "PGD-20", "audit", "flags"])
    print(table.to_markdown(index=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
