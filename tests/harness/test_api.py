"""A user's own module through the Python API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import LinearModel
from torch import nn

from bench.api import evaluate, weights_sha
from bench.core.errors import BenchError


def own_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 10))


def test_rows_of_a_users_own_module(tmp_path: Path, bench: Callable[..., Any]) -> None:
    model = own_model().train()
    rows = evaluate(
        model, name="mine", attacks=["fgsm", "pgd-5"], eps=["0.1", "8/255"], limit=50, results=tmp_path, device="cpu"
    )
    assert list(rows["attack"]) == ["clean", "fgsm", "fgsm", "pgd-5", "pgd-5"]
    assert set(rows["variant"]) == {"external"}
    assert (rows["n"] == 50).all()
    assert set(rows["weights_sha"]) == {weights_sha(model)}
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    shown = bench("leaderboard", "--results", tmp_path)
    assert "mine" in shown.out


def test_finished_cells_are_kept_and_other_weights_are_another_model(tmp_path: Path) -> None:
    model = own_model()
    first = evaluate(model, name="mine", attacks=["pgd-5"], eps=["0.1"], limit=50, results=tmp_path)
    again = evaluate(model, name="mine", attacks=["pgd-5"], eps=["0.1"], limit=50, results=tmp_path)
    assert list(first["created"]) == list(again["created"])
    with torch.no_grad():
        model[1].weight.add_(1e-3)
    other = evaluate(model, name="mine", attacks=["pgd-5"], eps=["0.1"], limit=50, results=tmp_path)
    assert set(other["run_id"]).isdisjoint(first["run_id"])


def test_a_model_that_is_not_one_fails_its_cells() -> None:
    class Words(nn.Module):
        def forward(self, inputs: torch.Tensor) -> str:
            return "cat"

    rows = evaluate(Words(), name="words", attacks=["fgsm"], eps=["0.1"], limit=20)
    assert set(rows["status"]) == {"failed"}
    assert set(rows["reason"]) == {"wrong_shape"}
    assert rows["acc"].isna().all()


def test_names_are_checked() -> None:
    with pytest.raises(BenchError, match="unknown attack"):
        evaluate(own_model(), name="mine", attacks=["fgms"])


def test_two_logits_for_ten_classes_are_refused_or_wrong_and_never_hidden() -> None:
    """A model with fewer outputs than classes can be right on those it has; nothing crashes."""
    model = LinearModel(torch.randn(3 * 64), 0.0)
    rows = evaluate(model, name="two", attacks=["fgsm"], eps=["0.1"], limit=20)
    assert set(rows["status"]) <= {"ok", "failed"}
