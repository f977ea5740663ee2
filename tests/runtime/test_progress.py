"""Progress on a terminal: bars may draw, and names and prints may not."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator

import pytest

from bench.runtime.console import ERRORS, Output, bars_stream, say
from bench.runtime.progress import InertConsole, PlainProgress, TerminalProgress

HOSTILE = "\x1b[2J\u202e[red]x[/] :star:\r\nnew"
SHOWN = "\\x1b[2J\\u202e[red]x[/] :star:\\x0d\\x0anew"


@contextlib.contextmanager
def hardened_stderr() -> Iterator[io.BytesIO]:
    """Replace stderr as the command line does."""
    raw = io.BytesIO()
    stream = Output(raw, encoding="utf-8", errors=ERRORS)
    with contextlib.redirect_stderr(stream):
        yield raw
        stream.flush()


def test_names_and_prints_are_inert_beside_a_bar() -> None:
    with hardened_stderr() as raw:
        progress = TerminalProgress(InertConsole(file=bars_stream(), force_terminal=True, width=200))
        with progress.stage(HOSTILE, total=2, unit="images") as stage:
            stage.advance(1, accuracy=0.5)
            progress.line(f"a line {HOSTILE}")
            progress.line("a" * 10**6)
            print("a plug-in prints \x1b]0;title\x07\x1b[2J\u202e", file=sys.stderr)
        sys.stderr.flush()
        shown = raw.getvalue().decode()
    assert f"a line {SHOWN}" in shown
    assert shown.count(SHOWN) >= 2, "also in the title of the bar"
    assert "a plug-in prints" in shown
    assert shown.count("a" * 7000) == 1
    assert len(shown) < 20_000
    for sequence in ("\x1b[2J", "\u202e", "\x1b]", "\x07"):
        assert sequence not in shown
    assert "\x1b[" in shown, "the bar draws with escape sequences"


@pytest.mark.parametrize("show", [say, PlainProgress().line])
def test_plain_lines_are_inert_without_the_filter_of_the_stream(
    show: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    show(HOSTILE)
    show("a" * 10**6)
    first, second = capsys.readouterr().err.splitlines()
    assert first == SHOWN
    assert len(second) < 10_000
    assert second.endswith("more characters)")


def test_a_bar_of_another_library_is_printed_as_lines() -> None:
    with hardened_stderr() as raw:
        for share in (10, 20):
            sys.stderr.write(f"\r{share}%\x1b[A")
        sys.stderr.flush()
        assert raw.getvalue() == b"\n10%\\x1b[A\n20%\\x1b[A"


def test_work_of_an_earlier_process_counts_for_the_progress_but_not_for_the_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with PlainProgress().stage("attack", total=1000, unit="passes") as stage:
        stage.resume(600)
        now[0] += 20
        stage.advance(200)
    assert capsys.readouterr().err == "  attack: 800/1000 passes, 10 passes/s, at most 20 s left\n"


def test_a_bar_begins_at_the_work_of_an_earlier_process() -> None:
    progress = TerminalProgress(InertConsole(file=io.StringIO(), force_terminal=True, width=200))
    with progress.stage("attack", total=1000, unit="passes") as stage:
        stage.resume(600)
        stage.advance(200)
        (task,) = stage.bars.tasks  # type: ignore[attr-defined]
        assert (task.completed, task.total) == (800, 1000)
