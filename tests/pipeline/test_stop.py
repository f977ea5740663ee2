"""Signals and time budgets stop ``bench run`` between two batches, and the same command continues."""

from __future__ import annotations

import csv
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

import bench.cli.run as cli_run
from bench import pipeline
from bench.api import FailedCellsWarning, evaluate
from bench.core.errors import BenchError
from bench.evaluation import run_cells
from bench.evaluation.pass_counter import CountingModel
from bench.runtime import interrupt
from bench.runtime.interrupt import Stopped, StopRequest
from bench.training import epoch_trial

Bench = Callable[..., Any]

ARGUMENTS = ("--attacks", "pgd-5,pgd-10", "--no-diagnose", "--epochs", "2")


def counts(folder: Path) -> list[tuple[str, ...]]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return [(r["attack"], r["n_correct"], r["n_forwards"], r["n_backwards"]) for r in csv.DictReader(file)]


def stop_after(cells: int) -> Callable[..., None]:
    left = [cells]

    def check(*arguments: Any, **options: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stopped(StopRequest("the time budget of 1s", 0))

    return check


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_inside_of_an_attack_and_the_command_continues(
    run: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    assert run(*ARGUMENTS, results=tmp_path / "whole").code == 0
    passes, forward = [0], CountingModel.forward

    def counted(model: CountingModel, inputs: Tensor) -> Tensor:
        passes[0] += 1
        if passes[0] == 9:
            os.kill(os.getpid(), number)
        return forward(model, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(CountingModel, "forward", counted)
        stopped = run(*ARGUMENTS)
    assert stopped.code == code
    assert f"stopped by {signal.Signals(number).name}; to continue: bench run" in stopped.err
    assert list((tmp_path / "out").rglob("*.search"))
    assert passes[0] < 12  # stopped in the batch
    continued = run(*ARGUMENTS)
    assert continued.code == 0
    assert "of earlier work" in continued.err
    assert counts(tmp_path / "out") == counts(tmp_path / "whole")
    left = [p for pattern in ("*.search", "*.journal", "*.claim") for p in (tmp_path / "out").rglob(pattern)]
    assert not left


def test_a_command_with_force_continues_without_it(run: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_cells, "check_stop", stop_after(1))
        stopped = run(*ARGUMENTS, "--force", "--time-budget", "1h")
    assert "instead of all again by --force: bench run" in stopped.err
    assert "--force" not in stopped.err.rpartition("bench run")[2]
    continued = run(*ARGUMENTS)
    assert "1 already stored" in continued.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_last_cell_leaves_tables_and_results(
    run: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write = cli_run.write_tables

    def late(*arguments: Any) -> Any:
        os.kill(os.getpid(), number)
        return write(*arguments)

    monkeypatch.setattr(cli_run, "write_tables", late)
    outcome = run("--attacks", "fgsm", "--no-diagnose", "--epochs", "1", "--limit", "20")
    assert (outcome.code, "fgsm" in outcome.out) == (0, True), "all work is done"
    assert "interrupted" not in outcome.err
    assert counts(tmp_path / "out")


def test_a_time_budget_exits_with_success_and_names_the_command(
    run: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = interrupt.time.monotonic
    start = clock()
    monkeypatch.setattr(interrupt.time, "monotonic", lambda: start + 36000 * (clock() - start))
    stopped = run(*ARGUMENTS, "--time-budget", "1h")
    assert stopped.code == 0
    assert "stopped by the time budget of 1h; to continue: bench run" in stopped.err
    assert "--time-budget 1h" in stopped.err


def test_a_stop_before_the_audit_does_not_say_that_nothing_is_to_do(
    run: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--attacks", "fgsm", "--no-diagnose", "--epochs", "1", "--limit", "20")
    run(*arguments, "--audit", "none")
    monkeypatch.setattr(pipeline, "audit_run", stop_after(0))
    stopped = run(*arguments, "--audit", "default")
    assert "stopped by the time budget of 1s" in stopped.err
    assert "computed, 4 already stored" in stopped.err
    assert "nothing to do" not in stopped.err


def test_no_training_begins_after_the_end_of_the_time_budget(
    run: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial of --train-budget may take longer. Without its outcome, the recipe would be another one."""

    def trial(*_: object) -> dict[str, Any]:
        time.sleep(1.1)
        return {"epochs": 1}

    monkeypatch.setattr(epoch_trial, "_try", trial)
    arguments = ("--attacks", "fgsm", "--no-diagnose", "--limit", "20", "--train-budget", "1h")
    stopped = run(*arguments, "--time-budget", "1s")
    assert (stopped.code, "stopped by the time budget of 1s" in stopped.err) == (0, True)
    assert not list(tmp_path.rglob("training.safetensors"))
    assert not list(tmp_path.rglob("run.json"))
    assert run(*arguments).code == 0
    assert list(tmp_path.rglob("run.json"))


def test_another_time_budget_is_one_sentence(run: Bench) -> None:
    outcome = run(*ARGUMENTS, "--time-budget", "soon")
    assert outcome.code == 2
    assert "time budget 'soon' is no duration" in outcome.err


@pytest.mark.parametrize("cells", [0, 1])
def test_the_api_reports_missing_results_at_the_end_of_the_time_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    monkeypatch.setattr(run_cells, "check_stop", stop_after(cells))
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    options: dict[str, Any] = {"name": "net", "limit": 20, "attacks": ("fgsm",), "corruptions": ("none",)}
    with pytest.warns(FailedCellsWarning, match="time budget of 1s: results are missing"):
        rows = evaluate(net, results=tmp_path, **options)
    assert len(rows) == cells
    with pytest.raises(BenchError, match="results are missing"):
        evaluate(net, results=tmp_path, failures="raise", **options)
