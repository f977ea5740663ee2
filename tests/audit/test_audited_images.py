"""On which images an audit looks, norm by norm, in which batches, and what of it every norm has for itself."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from controls import briefly_trained
from torch import Tensor, nn

from bench import api
from bench.audit.audit import Audited, PairedModel, audit
from bench.context import RunContext
from bench.core.records import AuditRecord
from bench.core.specs import Norm
from bench.data import DataRequest, load_dataset
from bench.leaderboard.write_tables import rebuild
from bench.results.store import Store
from bench.runtime.progress import Progress


class Narrow(nn.Module):
    """It takes no batch of more than ``most`` images, as a device without memory for one."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.net, self.most = briefly_trained(), most

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > self.most:
            raise RuntimeError("CUDA out of memory")
        logits: Tensor = self.net(inputs)
        return logits


def attack(model: nn.Module, folder: Path, norm: Norm, n: int, *, batch_size: int = 16) -> None:
    eps = {"linf": [0.1], "l2": [0.5], "l1": [2.0]}[norm]
    api.evaluate(
        model, name="net", attacks=["fgsm" if norm != "l1" else "pgd-2"], eps=eps, norm=norm, limit=n,
        corruptions="none", audit="none", results=folder, device="cpu", batch_size=batch_size,
    )  # fmt: skip


def audited(model: nn.Module, folder: Path, *, batch_size: int, paired: nn.Module | None = None) -> AuditRecord:
    store = Store(folder)
    (run,) = store.runs()
    data = load_dataset("digits", DataRequest())
    context = RunContext(dataset=data, store=store, device=torch.device("cpu"), progress=Progress())
    shown = None if paired is None else PairedModel(run_id="b", model=paired)
    record = audit(Audited(run=run, model=model, num_classes=10, batch_size=batch_size, paired=shown), context)
    assert record.status == "ok", record.message
    return record


@pytest.mark.parametrize("batch_size", [16, 128])
def test_no_batch_is_larger_than_what_fitted(batch_size: int, tmp_path: Path) -> None:
    """Neither than what is asked for, nor than what the cells came down to when memory ran out."""
    model = Narrow(16).eval()
    attack(model, tmp_path, "linf", 40)
    audited(model, tmp_path, batch_size=batch_size, paired=model)


def test_every_norm_has_its_own_images_and_figures(tmp_path: Path) -> None:
    """A cell of 20 images in one norm does not hold the audit of another down to 20."""
    model = briefly_trained()
    attack(model, tmp_path, "linf", 120)
    attack(model, tmp_path, "l2", 20)
    record = audited(model, tmp_path, batch_size=64)
    sizes = {budget.norm: budget.n for budget in record.budgets}
    assert sizes == {"linf": 120, "l2": 20}
    for budget in record.budgets:
        assert budget.figures["acc_suite"] is not None
        assert budget.figures["softmax_one_perturbed"] is not None
    assert not [name for name in record.figures if name.endswith("_perturbed")]
    assert record.figures["n_correct"] is not None
    assert 10 <= record.figures["n_correct"] <= 120 / 8, "of an eighth of the larger set, those that are right"
    rebuild(Store(tmp_path))
    rows = pd.read_csv(tmp_path / "results.csv").set_index("norm")
    assert rows.loc["linf", "audit_n_correct"] == record.figures["n_correct"]
    assert rows.loc["l2", "audit_n"] == 20


def test_what_an_attack_makes_of_the_gradients_is_told_of_each_norm(tmp_path: Path) -> None:
    """Gradients that vanish only where the walk of one norm goes: in l2 it does not get there."""

    class Walled(nn.Module):
        """No gradient on an image with a pixel in the upper left corner that is far from its clean value, 0."""

        def __init__(self) -> None:
            super().__init__()
            self.net = briefly_trained()

        def forward(self, inputs: Tensor) -> Tensor:
            logits: Tensor = self.net(inputs)
            far = (inputs[:, :, 0, 0].amax(1) > 0.05)[:, None]
            return torch.where(far, logits.detach(), logits)

    model = Walled().eval()
    attack(model, tmp_path, "linf", 32)
    attack(model, tmp_path, "l2", 32)
    budgets = audited(model, tmp_path, batch_size=64).budgets
    shares = {budget.norm: budget.figures["zero_gradient_margin_perturbed"] or 0.0 for budget in budgets}
    assert shares["linf"] > shares["l2"]
