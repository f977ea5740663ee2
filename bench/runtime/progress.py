"""Progress display on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from bench.core.inert import one_line, shortened, terminal
from bench.runtime.console import MESSAGE, bars_stream, say


class Stage(Protocol):
    """Progress of one stage."""

    def advance(self, count: int, *, accuracy: float | None = None) -> None:
        """Advance by ``count`` images or passes. ``accuracy`` is the share of correct images so far."""

    def resume(self, count: int) -> None:
        """Advance by ``count`` images or passes of an earlier process. They do not count for the rate.

        Negative if work of an earlier process turns out to be unusable.
        """


class Progress:
    """Progress without output. Base class of the displays."""

    @contextmanager
    def stage(self, title: str, *, total: int, unit: str) -> Iterator[Stage]:
        """Yield the progress of one stage of ``total`` images or passes. ``unit`` is the name of the counted unit."""
        yield _Silent()

    def line(self, text: str) -> None:
        """Print one line of text."""


class _Silent:
    def advance(self, count: int, *, accuracy: float | None = None) -> None:
        pass

    def resume(self, count: int) -> None:
        pass


class InertConsole(Console):
    """Console that makes texts inert. While a bar is shown, everything that is printed passes through it."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects of rich unchanged, and texts without escape sequences."""
        super().print(*(Text(terminal(o.plain)) if isinstance(o, Text) else o for o in objects), **options)


class TerminalProgress(Progress):
    """One progress bar per stage, with accuracy, rate and remaining time."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.prefix = ""

    @contextmanager
    def stage(self, title: str, *, total: int, unit: str) -> Iterator[Stage]:
        """Yield the progress bar of one stage. The bar is removed at the end."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[accuracy]}", markup=False),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self.console, transient=True) as bars:
            yield _Bar(bars, bars.add_task(one_line(title), total=total, accuracy="", rate=""), unit)

    def line(self, text: str) -> None:
        """Print one line of text above the bars."""
        self.console.print(
            shortened(one_line(text), MESSAGE), highlight=False, markup=False, emoji=False, soft_wrap=True
        )


class _Bar:
    def __init__(self, bars: Bars, task: TaskID, unit: str) -> None:
        self.bars, self.task, self.unit = bars, task, unit
        self.start, self.done, self.earlier = time.monotonic(), 0, 0

    def resume(self, count: int) -> None:
        self.earlier += count
        self.bars.reset(self.task, completed=self.earlier + self.done)  # and estimate the remaining time anew

    def advance(self, count: int, *, accuracy: float | None = None) -> None:
        self.done += count
        rate = self.done / max(time.monotonic() - self.start, 1e-9)
        fields = {"rate": f"{rate:.0f} {self.unit}/s"}
        if accuracy is not None:
            fields["accuracy"] = f"acc {accuracy:.1%}"
        self.bars.update(self.task, advance=count, **fields)  # type: ignore[arg-type]


class PlainProgress(Progress):
    """Progress lines for logs and pipes: at most one line per ``interval`` seconds and stage."""

    interval = 20.0  # minimum number of seconds between two lines of one stage

    @contextmanager
    def stage(self, title: str, *, total: int, unit: str) -> Iterator[Stage]:
        """Yield the progress of one stage."""
        yield _Lines(self, title, total, unit)

    def line(self, text: str) -> None:
        """Print one line of text."""
        say(text)


class _Lines:
    def __init__(self, progress: PlainProgress, title: str, total: int, unit: str) -> None:
        self.progress, self.title, self.total, self.unit = progress, title, total, unit
        self.start = self.last = time.monotonic()
        self.done = self.earlier = 0

    def resume(self, count: int) -> None:
        self.earlier += count

    def advance(self, count: int, *, accuracy: float | None = None) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.last < self.progress.interval:
            return
        self.last = now
        rate = self.done / max(now - self.start, 1e-9)
        shown = "" if accuracy is None else f", acc {accuracy:.1%}"
        done = self.earlier + self.done
        left = max(self.total - done, 0) / max(rate, 1e-9)
        speed = f"{rate:.0f} {self.unit}/s, at most {left:.0f} s left"
        self.progress.line(f"  {self.title}: {done}/{self.total} {self.unit}{shown}, {speed}")


def choose_progress() -> Progress:
    """Return a TerminalProgress if stderr is a terminal, and a PlainProgress otherwise."""
    console = InertConsole(file=bars_stream())
    return TerminalProgress(console) if console.is_terminal else PlainProgress()
