"""Code of plug-ins and models ends no command, and does not change its working folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.context import failures_as
from bench.contracts.check import run_check
from bench.core.errors import BenchError, CellFailure
from bench.data import DataRequest, load_dataset
from bench.data.registry import DATASETS
from bench.leaderboard.metrics import METRICS, MetricEntry, register_metric
from bench.leaderboard.registry import MetricColumn, _call
from bench.models.sources import call_factory
from bench.runtime.foreign_code import ExitedError, foreign_code
from bench.runtime.interrupt import Stopped, StopRequest

ENDINGS = {
    "import sys\nsys.exit(0)\n": r"it called sys.exit\(0\)",
    "quit('bye')\n": r"it called sys.exit\('bye'\)",
    "import asyncio\nraise asyncio.CancelledError('a\\nb')\n": r"it raised CancelledError \(a\)",
    "raise GeneratorExit('a')\n": r"it raised GeneratorExit \(a\)",
    "import sys\nraise type('Odd', (ValueError,), {'__str__': sys.exit})\n": "it raised Odd, whose text cannot be",
}


@pytest.mark.parametrize("source", ENDINGS)
def test_a_plugin_that_ends_the_command_is_one_sentence(source: str, tmp_path: Path, bench: Any) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(source)
    outcome = bench("list", "models", "--plugin", path)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: plugin {path} failed: ExitedError: ")


@pytest.mark.parametrize("source", ENDINGS)
def test_a_factory_that_ends_the_command_is_an_error(source: str, tmp_path: Path) -> None:
    path = tmp_path / "factory.py"
    path.write_text("def make():\n" + "".join(f"    {line}\n" for line in source.splitlines()))
    with pytest.raises(BenchError, match=ENDINGS[source]):
        call_factory(f"{path}:make")


def test_other_code_that_ends_the_command_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(*_: object) -> Any:
        sys.exit(0)

    monkeypatch.setitem(DATASETS._entries, "digits", replace(DATASETS.get("digits"), load=leave))
    with pytest.raises(BenchError, match=r"data set 'digits' could not be loaded: ExitedError: it called sys.exit"):
        load_dataset("digits", DataRequest())
    register_metric("leaving", MetricEntry(unit="percent", meaning="m", function=leave, source="s"), __file__)
    try:
        with pytest.raises(BenchError, match=r"metric 'leaving' .* raised ExitedError"):
            _call(MetricColumn("leaving"), None)  # type: ignore[arg-type]
    finally:
        METRICS.remove("leaving")
    assert "sys.exit(0)" in run_check("an entry", "a rule", leave).problem
    with pytest.raises(CellFailure, match="ExitedError"), failures_as("model_error"):
        leave()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Stopped(StopRequest("SIGTERM", 143)), ValueError("a")])
def test_a_stop_of_the_user_and_other_exceptions_pass(error: BaseException) -> None:
    with pytest.raises(type(error)), foreign_code():
        raise error


def test_a_generator_of_the_harness_can_be_closed() -> None:
    def numbers() -> Iterator[int]:
        with failures_as("model_error"):
            yield 1

    made = numbers()
    next(made)
    made.close()  # raises GeneratorExit at the yield


def test_a_command_that_code_of_others_ends_elsewhere_is_one_sentence(bench: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("bench.cli.list.load_plugins", lambda paths: sys.exit(0))
    outcome = bench("list", "models")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: code of a plug-in or of a library ended the command: it called sys.exit(0)")


@pytest.mark.parametrize("leave", [lambda: None, lambda: sys.exit(0)])
def test_the_working_folder_is_restored(leave: Callable[[], Any], tmp_path: Path, monkeypatch: Any) -> None:
    """Otherwise results would be written to another folder than that of --results."""
    monkeypatch.chdir(tmp_path)
    try:
        with foreign_code():
            os.chdir("/")
            leave()
    except ExitedError:
        pass
    assert Path.cwd() == tmp_path


def test_a_thread_that_never_ends_does_not_keep_the_command(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    path.write_text("import threading, time\nthreading.Thread(target=time.sleep, args=(300,)).start()\n")
    command = [sys.executable, "-m", "bench", "list", "recipes", "--plugin", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, bool(done.stdout)) == (0, True)
    assert "a thread of a plug-in or of a library still runs" in done.stderr
