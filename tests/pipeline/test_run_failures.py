"""``bench run`` where something fails: attacks, trainings, memory, an interrupted training."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import LEARNED, rows

from bench.cli import invoke
from bench.core.columns import TIME_COLUMNS
from bench.results.store import Store

Bench = Callable[..., Any]

FAILURES = {
    "crash": ("attack_error", "ValueError: the attack is broken"),
    "too-far": ("budget_violation", "beyond eps"),
    "outside": ("budget_violation", "outside [0, 1]"),
    "not-a-number": ("nan_input", "NaN"),
    "misshapen": ("wrong_shape", "returned"),
    "vandal": ("model_changed", "changed the model's"),
}


TRAINED = ("--variants", "baseline", "--no-diagnose", *LEARNED)


@pytest.fixture(scope="module")
def learned(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results folder of a trained baseline without any attack. Tests copy it."""
    folder = tmp_path_factory.mktemp("learned")
    _run("--attacks", "none", plugin=plugin, folder=folder)
    return folder


@pytest.fixture(scope="module")
def fgsm_alone(learned: Path, plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Number of images that FGSM leaves when no other attack runs."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copytree(learned, folder, dirs_exist_ok=True)
    _run("--attacks", "fgsm", plugin=plugin, folder=folder)
    return next(row["n_correct"] for row in rows(folder) if row["attack"] == "fgsm")


def _run(*arguments: object, plugin: Path, folder: Path) -> None:
    fixed = ("--plugin", plugin, "--models", "tiny", "--limit", 60, "--eps", 0.1, "--corruptions", "none", *TRAINED)
    texts = ("run", *fixed, "--audit", "none", "--results", folder, *arguments)
    assert invoke([str(text) for text in texts]) == 0


@pytest.mark.parametrize("attack", FAILURES)
def test_a_failed_attack_is_never_robustness(
    run: Bench, learned: Path, fgsm_alone: str, tmp_path: Path, attack: str
) -> None:
    """The cell has its reason and no accuracy, the others go on, the row has no rank, and the exit code is 3."""
    reason, message = FAILURES[attack]
    shutil.copytree(learned, tmp_path / "out")
    outcome = run("--attacks", f"{attack},fgsm", *TRAINED)
    assert outcome.code == 3
    table = {row["attack"]: row for row in rows(tmp_path / "out")}
    assert (table[attack]["status"], table[attack]["reason"], table[attack]["acc"]) == ("failed", reason, "")
    assert table[attack]["n_correct"] == ""
    assert message in table[attack]["notes"]
    assert table["fgsm"]["status"] == table["clean"]["status"] == "ok"
    assert table["fgsm"]["n_correct"] == fgsm_alone
    assert "failed" in outcome.out
    with (tmp_path / "out" / "leaderboard.csv").open() as file:
        board = next(csv.DictReader(file))
    assert (board["rank"], board["status"], board[f"{attack}@linf-0.1"]) == ("", "1 not ok", "")


def test_what_an_attack_warns_of_is_in_its_row_and_what_it_does_to_the_model_is_undone(
    run: Bench, tmp_path: Path
) -> None:
    assert run("--attacks", "warns", "--variants", "baseline", "--no-diagnose").code == 0
    table = {row["attack"]: row for row in rows(tmp_path / "out")}
    assert table["warns"]["notes"].split("; ")[1:] == ["library: something is odd"]
    assert table["warns"]["n_correct"] == table["clean"]["n_correct"]


def test_a_failed_cell_is_tried_again(run: Bench) -> None:
    arguments = ("--attacks", "crash", "--variants", "baseline", "--no-diagnose")
    run(*arguments)
    outcome = run(*arguments)
    assert outcome.code == 3
    assert "0 trained, 0 of 2 cells computed, 1 already stored" in outcome.err


def test_a_nan_loss_fails_its_run_and_no_other(run: Bench, tmp_path: Path) -> None:
    outcome = run("--variants", "exploding,baseline", "--attacks", "fgsm")
    assert outcome.code == 3
    table = rows(tmp_path / "out")
    assert all(row["n"] == "0" for row in table if row["status"] == "skipped")
    assert {(r["variant"], r["status"], r["reason"]) for r in table} == {
        ("exploding", "skipped", "training_failed"),
        ("baseline", "ok", ""),
    }
    assert "nan_loss" in outcome.err


def test_memory_that_runs_out_halves_the_batch(run: Bench, learned: Path, tmp_path: Path) -> None:
    shutil.copytree(learned, tmp_path / "out")
    assert run("--attacks", "hungry", *TRAINED).code == 0
    row = next(r for r in rows(tmp_path / "out") if r["attack"] == "hungry")
    assert (row["status"], row["batch_size"]) == ("ok", "16")


def test_memory_that_runs_out_fails_a_batch_size_that_was_asked_for(run: Bench, learned: Path, tmp_path: Path) -> None:
    shutil.copytree(learned, tmp_path / "out")
    assert run("--attacks", "hungry", *TRAINED, "--batch-size", "32").code == 3
    row = next(r for r in rows(tmp_path / "out") if r["attack"] == "hungry")
    assert row["reason"] == "out_of_memory"


def test_an_interrupted_training_goes_on_and_ends_with_the_same_weights(
    run: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after some batches, with γ in a closed loop."""
    arguments = ("--variants", "lpc", "--epochs", "4", "--attacks", "none", "--no-diagnose")
    assert run(*arguments, results=tmp_path / "whole").code == 0
    monkeypatch.setattr("bench.training.checkpoints.SAVE_EVERY_S", 0.0)
    monkeypatch.setattr("bench.training.checkpoints.COST", 0.0)
    save = Store.write_training

    def stop(store: Store, run_id: str, content: bytes) -> None:
        save(store, run_id, content)
        saved.append(run_id)
        if len(saved) == 3:
            raise KeyboardInterrupt

    saved: list[str] = []
    monkeypatch.setattr(Store, "write_training", stop)
    assert run(*arguments).code == 130
    (unfinished,) = (tmp_path / "out").glob("runs/*/training.safetensors")
    outcome = run(*arguments)
    assert "resuming at epoch" in outcome.err
    assert not unfinished.exists()
    (whole,), (resumed,) = rows(tmp_path / "whole"), rows(tmp_path / "out")
    assert {k: v for k, v in whole.items() if k not in TIME_COLUMNS} == {
        k: v for k, v in resumed.items() if k not in TIME_COLUMNS
    }


def test_a_damaged_state_of_a_training_says_what_to_delete(run: Bench, tmp_path: Path) -> None:
    arguments = ("--variants", "lpc", "--attacks", "none", "--no-diagnose")
    run(*arguments)
    (weights,) = (tmp_path / "out").glob("runs/*/weights.safetensors")
    state = weights.with_name("training.safetensors")
    state.write_bytes(weights.read_bytes()[:100])
    weights.unlink()
    outcome = run(*arguments)
    assert outcome.code == 2
    assert str(state) in outcome.err
    assert "Delete it" in outcome.err
    state.unlink()
    assert run(*arguments).code == 0
