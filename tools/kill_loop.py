"""Kill a run at random moments until it is complete, and compare its tables with those of an undisturbed run.

    python tools/kill_loop.py --kills 50
    python tools/kill_loop.py --kills 50 --processes 4 --signals KILL,TERM,INT

The run is a small grid with training, attacks, corruptions, diagnosis and audit. Every process is a fork, so that a
start costs no import. Prints one table, and exits with 1 if a promise is broken: tables differ, a cell was evaluated
more often than once plus once per kill, or files of unfinished work are left.
"""

from __future__ import annotations

import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import click
from equal_results import TABLES, differences, read_table
from tabulate import tabulate

PLUGIN = """
from torch import nn
from bench.models.registry import ModelEntry, register_model

def net(*, image_size):
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())

register_model("conv", ModelEntry(summary="two convolutions", source="kill loop", build=net), __file__)
"""
ATTACKS = "fgsm,pgd-10,autoattack-apgd-ce+apgd-t+fab-t+square-i30-s300"
GRID = ("--models", "conv", "--variants", "baseline,lpc", "--epochs", "30", "--limit", "300", "--attacks", ATTACKS)
MORE = ("--eps", "0.05,0.15", "--corruptions", "fog,jpeg_compression", "--severities", "1,5", "--seeds", "0")
UNFINISHED = ("*.tmp", "*.claim", "cells/*.journal", "cells/*.search", "training.safetensors")
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Counters:
    """Images of training steps and attack passes of all processes, in shared memory: a killed process is counted."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 16)

    def add(self, number: int, count: int) -> None:
        """Add to the counter 0 (training) or 1 (attacks). Only one process at a time may use a counter."""
        values = list(self.values)
        values[number] += count
        struct.pack_into("<2q", self._memory, 0, *values)

    @property
    def values(self) -> tuple[int, int]:
        """Images trained, and passes of attacks."""
        trained, attacked = struct.unpack_from("<2q", self._memory)
        return trained, attacked


@dataclass
class Outcome:
    """Counts of all processes that worked on one results folder."""

    kills: int = 0
    processes: int = 0
    counters: Counters = field(default_factory=Counters)
    started: Counter[str] = field(default_factory=Counter)  # evaluations and trainings by id
    problems: list[str] = field(default_factory=list)


def command(folder: Path, plugin: Path) -> list[str]:
    """Return the arguments of the run."""
    return ["run", "--plugin", str(plugin), *GRID, *MORE, "--threads", "1", "--results", str(folder)]


def start(arguments: list[str], log: Path, counters: Counters) -> int:
    """Fork a process that runs the command line, with its output in ``log``. Return its id."""
    from bench.cli import invoke
    from bench.runtime.interrupt import Terminated, terminate

    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        signal.signal(signal.SIGTERM, terminate)  # as bench/__main__.py
        record_work(log.with_suffix(".work"), counters)
        code = invoke(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except KeyboardInterrupt as error:  # as bench/__main__.py
        code = 143 if isinstance(error, Terminated) else 130
    finally:
        os._exit(code)


def record_work(path: Path, counters: Counters) -> None:
    """Append every evaluation and every training that this process begins to ``path``, and count its passes."""
    from bench import pipeline
    from bench.evaluation import pass_counter, run_cells
    from bench.training import train

    def logged(function: Callable[..., Any], key: Callable[..., str]) -> Callable[..., Any]:
        def call(spec: Any, *arguments: Any, **keywords: Any) -> Any:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{key(spec)}\n")
            return function(spec, *arguments, **keywords)

        return call

    counted, stepped = pass_counter.CountingModel.forward, train.forward

    def forward(model: Any, inputs: Any) -> Any:
        counters.add(1, len(inputs))
        return counted(model, inputs)

    def step(model: Any, inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        counters.add(0, len(inputs))
        return stepped(model, inputs, *arguments, **keywords)

    evaluate = logged(run_cells.__dict__["evaluate_cell"], lambda spec: f"{spec.run_id}/{spec.cell_id}")
    train_run = logged(pipeline.__dict__["train_run"], lambda spec: spec.run_id)
    mock.patch.object(run_cells, "evaluate_cell", evaluate).start()
    mock.patch.object(pipeline, "train_run", train_run).start()
    mock.patch.object(pass_counter.CountingModel, "forward", forward).start()
    mock.patch.object(train, "forward", step).start()


def disturbed(
    folder: Path,
    plugin: Path,
    draw: random.Random,
    longest: float,
    signals: Sequence[int],
    n: int,
) -> Outcome:
    """Start ``n`` processes at a time and kill them after up to ``longest`` seconds, until one completes the run.

    If another one is killed after that, the command runs once more.
    """
    outcome, complete, killed_late, log = Outcome(), False, False, folder.with_suffix(".log")
    while not complete:
        pids = [start(command(folder, plugin), log, outcome.counters) for _ in range(n)]
        outcome.processes += n
        for pid in pids:
            number, limit = draw.choice(signals), time.monotonic() + draw.uniform(0.05, longest)
            done = wait_until(pid, limit)
            if done is None:
                os.kill(pid, number)
                outcome.kills += 1
                killed_late = complete
                done = wait_until(pid, time.monotonic() + 60)
                expected = {EXIT_CODES.get(signal.Signals(number), -number), 0}
            else:
                expected = {0}
            if done not in expected:
                outcome.problems.append(f"exit code {done} after signal {number}, see {log}")
                return outcome
            complete = complete or done == 0
    for pid in pids:
        wait_until(pid, time.monotonic() + 600)
    if killed_late:  # while it wrote the tables, perhaps: the next command removes its claim
        outcome.processes += 1
        if wait_until(start(command(folder, plugin), log, outcome.counters), time.monotonic() + 600):
            outcome.problems.append(f"the command after the last kill failed, see {log}")
    outcome.started = Counter(log.with_suffix(".work").read_text(encoding="utf-8").split())
    return outcome


def wait_until(pid: int, limit: float) -> int | None:
    """Return the exit code of a process (negative: its signal); None if it still runs at ``limit``."""
    while True:
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return 0  # waited for before
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > limit:
            return None
        time.sleep(0.005)


def problems_of(before: Path, after: Path, outcome: Outcome) -> list[str]:
    """Return the broken promises: differences of the tables, work that was done too often, and files that are left."""
    lines = list(outcome.problems)
    for name in TABLES:
        lines += [f"{name}: {line}" for line in differences(read_table(before / name), read_table(after / name))]
    extra = sum(count - 1 for count in outcome.started.values())
    if extra > outcome.kills:
        lines.append(f"{extra} evaluations and trainings began twice, after {outcome.kills} kills")
    left = [str(path.relative_to(after)) for pattern in UNFINISHED for path in after.rglob(pattern)]
    return lines + [f"{name} is left" for name in left]


@click.command()
@click.option("--kills", default=50, show_default=True, help="number of kills, over one or more runs")
@click.option("--processes", default=1, show_default=True, help="number of processes on one results folder")
@click.option("--signals", default="KILL", show_default=True, help="signals to draw from, such as KILL,TERM,INT")
@click.option("--share", default=0.25, show_default=True, help="latest kill, in shares of an undisturbed run")
@click.option("--seed", default=0, show_default=True, help="seed of the times and signals")
def main(kills: int, processes: int, signals: str, share: float, seed: int) -> None:
    """Kill a small run until it has survived KILLS kills, and compare."""
    numbers = [getattr(signal, f"SIG{name}") for name in signals.split(",")]
    rows, problems = loop(kills, processes, numbers, share, seed)
    print(tabulate(rows, headers="keys", tablefmt="pipe", floatfmt=".3g"))
    print("\n".join(problems) or "all tables are equal, nothing is left")
    raise SystemExit(bool(problems))


def loop(
    kills: int, processes: int, signals: Sequence[int], share: float, seed: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """Run until ``kills`` kills are reached. Return one row per run, and the broken promises."""
    import torch

    import bench.pipeline  # noqa: F401 - forked processes share the import

    torch.set_num_threads(1)
    root = Path(tempfile.mkdtemp(prefix="kill-loop-"))
    plugin = root / "plugin.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    draw, total = random.Random(seed), 0
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    counters, begin = Counters(), time.monotonic()
    if wait_until(start(command(root / "undisturbed", plugin), root / "undisturbed.log", counters), begin + 600):
        raise SystemExit(f"the undisturbed run failed, see {root}")
    seconds = time.monotonic() - begin
    while total < kills and not problems:
        folder = root / f"run{len(rows)}"
        outcome = disturbed(folder, plugin, draw, share * seconds, signals, processes)
        total += outcome.kills
        problems += problems_of(root / "undisturbed", folder, outcome)
        trained, attacked = (b - a for a, b in zip(counters.values, outcome.counters.values, strict=True))
        rows.append(
            {
                "processes": outcome.processes,
                "kills": outcome.kills,
                "cells and trainings": len(outcome.started),
                "begun": sum(outcome.started.values()),
                # The counters of several processes would overwrite each other.
                "images trained twice, per kill": trained / max(outcome.kills, 1) if processes == 1 else None,
                "attack passes twice, per kill": attacked / max(outcome.kills, 1) if processes == 1 else None,
                "of": f"{counters.values[0]}, {counters.values[1]} in {seconds:.1f} s",
            }
        )
    if not problems:
        shutil.rmtree(root)
    else:
        problems.append(f"the folders are in {root}")
    return rows, problems


if __name__ == "__main__":
    main()
