"""Results that another process stored meanwhile: failures are reported, and missing images are computed."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tiny_runs import rows
from torch import nn

from bench import evaluate, pipeline
from bench.config import RunConfig
from bench.context import RunContext
from bench.core.errors import BenchError, CellFailure
from bench.core.specs import EvalSpec
from bench.evaluation import run_cells
from bench.job import Job
from bench.leaderboard import write_tables as tables
from bench.leaderboard.write_tables import write_tables
from bench.planning.plan import RunPlan
from bench.planning.resume import RunSummary
from bench.results.shared_work import SharedWork
from bench.runtime.claims import CLAIMS
from bench.runtime.progress import Progress
from bench.training import checkpoints
from bench.training.checkpoints import train_run


def job(folder: Path, plugin: Path, **options: Any) -> Job:
    config = RunConfig(
        models=("tiny",), variants=("baseline",), limit=20, epochs=1, attacks=("fgsm",), eps=("0.1",),
        corruptions=("none",), audit="none", diagnose=False, plugin=(plugin,), results=folder, **options,
    )  # fmt: skip
    return Job.of(config)


def test_a_training_that_failed_in_another_process_is_reported(
    tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> NoReturn:
        raise CellFailure("nan_loss", "the loss became nan.")

    execute_run = pipeline._execute_run

    def after_another_process(run: RunPlan, work: Any, context: RunContext, summary: RunSummary) -> None:
        train_run(run.train, context)
        execute_run(run, work, context, summary)

    monkeypatch.setattr(checkpoints, "_train", fail)
    monkeypatch.setattr(pipeline, "_execute_run", after_another_process)
    summary = job(tmp_path, plugin).execute(Progress())
    assert summary.bad == ["tiny:baseline:0: training failed: nan_loss: the loss became nan."]


def test_a_result_of_another_process_without_the_requested_images_is_computed_again(
    tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute_run, others = pipeline._execute_run, [job(tmp_path, plugin)]

    def after_another_process(run: RunPlan, work: Any, context: RunContext, summary: RunSummary) -> None:
        if others:
            assert others.pop().execute(Progress()).evaluated == 2
        execute_run(run, work, context, summary)

    monkeypatch.setattr(pipeline, "_execute_run", after_another_process)
    asked = job(tmp_path, plugin, save_adversarials="uint8")
    summary = asked.execute(Progress())
    assert (summary.evaluated, summary.elsewhere) == (1, 1)
    assert list(tmp_path.rglob("*.adversarials.safetensors"))
    assert asked.execute(Progress()).cached == 2


def test_tables_of_a_slow_process_do_not_replace_those_of_a_later_one(
    tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = job(tmp_path, plugin), job(tmp_path, plugin, seeds=("1",))
    first.execute(Progress())
    board_table, others = tables.board_table, [threading.Thread(target=write_tables, args=(second.store,))]

    def slow(*arguments: Any, **options: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            second.execute(Progress())
            others[0].start()
            others[0].join(2.0)
        return board_table(*arguments, **options)

    monkeypatch.setattr(tables, "board_table", slow)
    write_tables(first.store)
    others[0].join()
    assert {row["seed"] for row in rows(tmp_path)} == {"0", "1"}


@pytest.mark.parametrize("lost", ["weights.safetensors", "run.json", ""], ids=["weights", "record", "whole run"])
def test_a_run_that_is_lost_during_the_command_is_trained_again(
    tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Otherwise the command would wait for ever for another process that does it."""
    asked = job(tmp_path, plugin)
    run = asked.plan[0]
    folder, waits = asked.store.run_folder(run.train.run_id), [0]

    def lose(*_: object) -> None:
        waits[0] += 1
        assert waits[0] == 1, "waits for work that nobody does"
        other.__exit__(None, None, None)
        shutil.rmtree(folder) if not lost else (folder / lost).unlink()

    monkeypatch.setattr(SharedWork, "wait", lose)
    other = CLAIMS.claim(folder / "claims", f"cells-{run.cells[-1].cell_id}")
    assert other.__enter__()
    summary = asked.execute(Progress())
    assert (summary.trained, summary.bad, waits) == (2, [], [1])
    assert asked.execute(Progress()).cached == len(run.cells)


def test_an_evaluation_whose_run_is_deleted_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim_and_store, calls = run_cells._claim_and_store, [0]

    def then_delete(spec: EvalSpec, *arguments: Any) -> Any:
        records = claim_and_store(spec, *arguments)
        calls[0] += 1
        if calls[0] == 2:
            shutil.rmtree(tmp_path / "runs")
        return records

    monkeypatch.setattr(run_cells, "_claim_and_store", then_delete)
    with pytest.raises(BenchError, match=r"run [0-9a-f]+ was deleted from .* during this command"):
        evaluate(
            nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), name="linear", dataset="digits", attacks=["fgsm"],
            eps=["0.1"], limit=20, corruptions="none", audit="none", results=tmp_path,
        )  # fmt: skip
