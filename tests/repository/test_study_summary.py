"""The table of a study: means and spreads by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[2] / "results" / "studies" / "summary.py"


@pytest.fixture
def summary() -> ModuleType:
    spec = importlib.util.spec_from_file_location("study_summary", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(run: str, variant: str, attack: str, acc: float | None, **more: object) -> dict[str, object]:
    plain = {"dataset": "d", "model": "m", "schedule": None, "latent_dim": 64, "epochs": 1, "n_train": 9}
    plain |= {"config_sha": "c", "protocol": "standard", "lr": 1e-3, "train_batch_size": 8}
    cell = {
        "run_id": run,
        "variant": variant,
        "attack": attack,
        "acc": acc,
        "status": "failed" if acc is None else "ok",
    }
    norm = {} if attack == "clean" else {"norm": "linf", "eps": 0.1}
    diagnosis = {"gamma": None, "gamma_per_sample": None, "collapse_nc1": 0.5}
    return {**plain, "train_precision": "fp32", "norm": None, "eps": None, "n": 10, **diagnosis, **cell, **norm, **more}


def test_means_and_spreads_are_over_seeds_and_failures_do_not_count(summary: ModuleType) -> None:
    table = summary.summarise(
        pd.DataFrame(
            [
                row("a", "lpc", "clean", 0.9, collapse_nc1=0.1),
                row("b", "lpc", "clean", 0.7, collapse_nc1=0.3),
                row("a", "lpc", "pgd", 0.4, collapse_nc1=0.1),
                row("b", "lpc", "pgd", None, collapse_nc1=0.3),
                row("c", "baseline", "clean", 0.8),
            ]
        )
    ).set_index("variant")
    assert table.loc["lpc", "seeds"] == 2
    assert table.loc["lpc", "clean"] == pytest.approx(80)
    assert table.loc["lpc", "clean_std"] == pytest.approx(200**0.5)
    assert table.loc["lpc", "pgd@linf-0.1 n=10"] == pytest.approx(40)
    assert table.loc["lpc", "collapse_nc1"] == pytest.approx(0.2)
    assert table.loc["baseline", "seeds"] == 1
    printed = summary.as_markdown(table.reset_index(), ["clean"])
    assert "80 ± 14" in printed
    assert "latent_dim" not in printed  # all have the same


def test_the_printed_table_names_what_its_rows_differ_in(summary: ModuleType) -> None:
    runs = [row("a", "lpc", "clean", 0.9), row("b", "lpc", "clean", 0.7, latent_dim=8, config_sha="e")]
    printed = summary.as_markdown(summary.summarise(pd.DataFrame(runs)), ["clean"])
    assert "latent_dim" in printed
    assert "±" not in printed
