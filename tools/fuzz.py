"""Read mutated files in worker processes, and report tracebacks, hangs, memory and wrong values.

    python tools/fuzz.py --cases 10000
    python tools/fuzz.py --target outcomes --seed 17 --cases 1 --show

The cases are those of tests/fuzz. A worker that hangs is ended after some seconds, and its case counts as a defect. A
worker has at most 3 GiB of memory more than at its start. Exits with 1 if there is a defect.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
HANGS = 60.0  # seconds without an answer after which a worker is ended; a case has 10 s of processor time
ADDRESS_SPACE = 3 << 30  # bytes that a worker may allocate after its start

Case = tuple[str, int]  # target and seed


def _import(name: str) -> Any:
    """Import a module of the fuzz tests."""
    for folder in (ROOT, ROOT / "tests", ROOT / "tests" / "fuzz"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    return importlib.import_module(name)


def work(cases: Sequence[Case], answers: Connection) -> None:
    """Run ``cases`` in a worker process. Send every case when it starts, and then its verdict."""
    targets, run_case = _import("targets").TARGETS, _import("cases").run_case
    warnings.simplefilter("ignore")
    logging.disable()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) if Path("/proc").exists() else 0
    if pages:
        limit = pages * resource.getpagesize() + ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory() as folder:
        for name, seed in cases:
            answers.send((name, seed))
            answers.send(run_case(targets[name], seed, Path(folder)))
    answers.send(None)


def verdicts(cases: Sequence[Case]) -> Iterator[Any]:
    """Yield the verdict of every case. A worker that hangs or dies is replaced by another one."""
    verdict = _import("cases").Verdict
    context = multiprocessing.get_context("spawn")
    left = list(cases)
    while left:
        receiver, sender = context.Pipe(duplex=False)
        worker = context.Process(target=work, args=(left, sender))
        worker.start()
        sender.close()
        running, ended = None, ""
        while True:
            try:
                if not receiver.poll(HANGS if running else 600):
                    ended = f"it hung for more than {HANGS:.0f} s"
                    break
                answer = receiver.recv()
            except EOFError:
                ended = "the process died"
                break
            if answer is None:
                left = []
                break
            if isinstance(answer, tuple):
                running = answer
            else:
                left, running = left[1:], None
                yield answer
        worker.kill() if ended else None
        worker.join()
        if ended:
            name, seed = left.pop(0)
            yield verdict(name, seed, "defect", f"{ended} (exit code {worker.exitcode})", HANGS)


@click.command(help=__doc__.split("\n\n", maxsplit=1)[0] if __doc__ else None)
@click.option("--cases", default=10_000, show_default=True, help="number of cases, in turn over the targets")
@click.option("--seed", default=0, show_default=True, help="first seed")
@click.option("--target", "names", multiple=True, help="name of a target  [default: all]")
@click.option("--show", is_flag=True, help="print the mutated files of the cases, and do not read them")
def main(cases: int, seed: int, names: tuple[str, ...], show: bool) -> None:
    """Run the cases and print one line per target."""
    targets = _import("targets").TARGETS
    unknown = [name for name in names if name not in targets]
    if unknown:
        raise click.BadParameter(f"unknown target {unknown[0]!r}; the targets are: {', '.join(targets)}.")
    chosen = names or tuple(targets)
    planned = [(chosen[i % len(chosen)], seed + i // len(chosen)) for i in range(cases)]
    if show:
        with tempfile.TemporaryDirectory() as folder:
            for name, number in planned:
                click.echo(_import("cases").mutated_file(targets[name], number, Path(folder))[0])
        return
    start, counts, slowest, defects = time.perf_counter(), Counter[tuple[str, str]](), dict.fromkeys(chosen, 0.0), 0
    for verdict in verdicts(planned):
        counts[verdict.target, verdict.outcome] += 1
        slowest[verdict.target] = max(slowest[verdict.target], verdict.seconds)
        if verdict.problem:
            defects += 1
            click.echo(f"{verdict.target}, seed {verdict.seed}: {verdict.problem}\n")
    click.echo("| target | refused | accepted | defects | slowest case |\n|---|---|---|---|---|")
    for name in chosen:
        outcomes = " | ".join(str(counts[name, outcome]) for outcome in ("refused", "accepted", "defect"))
        click.echo(f"| {name} | {outcomes} | {slowest[name]:.2f} s |")
    click.echo(f"\n{cases} cases, {defects} defects, {time.perf_counter() - start:.0f} s")
    raise SystemExit(bool(defects))


if __name__ == "__main__":
    main()
