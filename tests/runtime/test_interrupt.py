"""Stops are requested by signals and by time budgets, and happen at safe points."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.runtime.interrupt import (
    Stopped,
    check_stop,
    deferred_signals,
    duration,
    stop_requested,
    time_budget,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("1d", 86400), (" 2H ", 7200)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "2", "h", "2x", "0s", "-1h", "1.5h", "٢h", "2h30", "nan", "1e9h", "9" * 400 + "s", "1" * 5000 + "d"]
)
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(BenchError, match="no duration"):
        duration(text)


def signals_seen(*numbers: int) -> None:
    """Send signals to this process, and reach a safe point."""
    with deferred_signals():
        for number in numbers:
            os.kill(os.getpid(), number)
        assert stop_requested() is not None  # the code between two safe points still runs
        check_stop()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_at_the_next_safe_point(number: int, code: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped:
        signals_seen(number)
    assert stopped.value.request.exit_code == code
    assert signal.getsignal(number) == before
    check_stop()  # the request is over


def test_a_second_signal_interrupts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        signals_seen(signal.SIGINT, signal.SIGINT)


def test_other_threads_keep_the_handlers() -> None:
    """Python allows handlers in the main thread only."""
    seen = []

    def work() -> None:
        with deferred_signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_a_time_budget_stops_with_success(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with time_budget("1m"):
        check_stop()
        now[0] = 159.9
        check_stop()
        now[0] = 160.0
        with pytest.raises(Stopped, match="the time budget of 1m") as stopped:
            check_stop()
    assert stopped.value.request.exit_code == 0
    check_stop()


def test_a_time_budget_belongs_to_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stopped = [100.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def work() -> None:
        stopped.append(stop_requested())
        with time_budget("2m"):
            pass

    with time_budget("1m"):
        now[0] = 160.0
        other = threading.Thread(target=work)
        other.start()
        other.join()
        assert stopped == [None]
        with pytest.raises(Stopped, match="the time budget of 1m"):
            check_stop()


def test_a_stop_is_not_caught_as_an_error() -> None:
    assert not issubclass(Stopped, Exception)


def test_a_stop_needs_no_stderr() -> None:
    """The terminal may be gone. An error of the handler would be an error of the attack that runs."""
    stderr = os.dup(2)
    os.close(2)
    try:
        with pytest.raises(Stopped):
            signals_seen(signal.SIGTERM)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_program_is_loaded(number: int, code: int, tmp_path: Path) -> None:
    """The signal arrives during the first import of a library."""
    (tmp_path / "click.py").write_text(f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(5)\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    command = [sys.executable, "-m", "bench", "list", "models"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a background job ignores SIGINT
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "interrupted before the command began.\n")
