"""Mutation testing with a hand-picked list: apply one source change at a time and check that a test fails.

    python tools/mutate.py --list
    python tools/mutate.py --output tools/mutation_scores/after.csv

The list is tools/mutations.toml. Each table has ``old``, a piece of source text that occurs exactly once under bench/,
models/ and attacks/; ``new``, its replacement; ``why``, the error that a user would suffer; and ``tests``, the pytest
paths that should fail, narrow ones first. Files are found by ``old``, so that the list survives when they move. The
optional ``file_hint``, a glob, restricts the search. Changes are made in a temporary copy of the checkout.

Results are
    killed    a test fails, or a test module cannot be imported and the traceback passes through the changed file
    survived  all tests pass
    timeout   the tests do not end in time
    error     pytest fails in another way, or the test that fails with the mutation fails without it, too

mutmut, cosmic-ray and mutatest are not used. They generate mutations from operators and use one test command for all
mutations. None of them accepts a list of source changes with tests for each.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatch
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import click

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("bench", "models", "attacks")  # folders searched for ``old``
KEYS = {"old": str, "new": str, "why": str, "tests": list, "file_hint": str}
OPTIONAL = {"file_hint"}
PASSED, TESTS_FAILED = 0, 1  # exit codes of pytest
SUMMARY = "short test summary info"
FAILURE = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)  # line of the summary


class MutationError(click.ClickException):
    """Invalid list of mutations."""


@dataclass(frozen=True)
class Mutation:
    """One entry of the list."""

    name: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...]
    file_hint: str = "*"

    @property
    def digest(self) -> str:
        """Hash of the fields that determine the result. A result with another digest is outdated."""
        return hashlib.sha256(repr((self.old, self.new, self.tests)).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Result:
    """One row of the CSV."""

    name: str
    module: str
    result: str  # killed, survived, timeout or error
    seconds: float
    first_failing_test: str
    digest: str


def read_mutations(path: Path) -> list[Mutation]:
    """Read the list. Raises MutationError for a missing, unknown or mistyped key."""
    mutations = []
    for name, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
        wrong = [*(KEYS.keys() - OPTIONAL - table.keys()), *(table.keys() - KEYS.keys())]
        wrong += [key for key, kind in KEYS.items() if key in table and not isinstance(table[key], kind)]
        if wrong or not table["tests"]:
            raise MutationError(f"{path.name}: [{name}] needs strings old, new, why and a list tests; see {wrong}.")
        mutations.append(Mutation(name, **{**table, "tests": tuple(table["tests"])}))
    return mutations


def tracked_files(root: Path, *, untracked: bool = False) -> list[str]:
    """List the files that git tracks in ``root`` and, if ``untracked``, the files that git would add."""
    more = ["--others", "--exclude-standard"] if untracked else []
    join = subprocess.run(["git", "ls-files", "-z", "--cached", *more], cwd=root, check=True, capture_output=True)
    return [name for name in join.stdout.decode().split("\0") if os.path.lexists(root / name) and name]


@cache
def read_sources(root: Path) -> Mapping[str, str]:
    """Return the text of every tracked Python file of the program, by its path."""
    names = [name for name in tracked_files(root) if name.endswith(".py") and name.split("/")[0] in SOURCES]
    return {name: (root / name).read_text(encoding="utf-8") for name in names}


def find_file(mutation: Mutation, sources: Mapping[str, str]) -> str:
    """Return the file that contains ``old``. Raises MutationError unless it occurs exactly once in all files."""
    counts = {name: text.count(mutation.old) for name, text in sources.items() if fnmatch(name, mutation.file_hint)}
    files = [name for name, count in counts.items() if count]
    if sum(counts.values()) == 1:
        return files[0]
    raise MutationError(
        f"[{mutation.name}] its text occurs {sum(counts.values())} times, not once ({', '.join(files) or 'no file'}); "
        f"change 'old' in mutations.toml: {mutation.old!r}"
    )


def copy_checkout(root: Path, target: Path) -> None:
    """Copy the working tree without ignored files. Symbolic links stay links."""
    for name in tracked_files(root, untracked=True):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target / name, follow_symlinks=False)


@dataclass(frozen=True)
class TestRun:
    """Outcome of pytest. ``code`` is its exit code, or None after a timeout."""

    __test__ = False

    code: int | None
    output: str
    seconds: float

    @property
    def first_failure(self) -> str:
        """Return the first failing test, or the test module that could not be imported."""
        match = FAILURE.search(self.output.rpartition(SUMMARY)[2])  # tests of a plug-in also print summaries
        return match[1] if match else ""


def run_tests(root: Path, tests: Iterable[str], timeout: float, changes: Mapping[str, str]) -> TestRun:
    """Run the tests until the first failure, in a copy of ``root`` with ``changes``, the new text of files."""
    with tempfile.TemporaryDirectory(prefix="mutate-") as copy:
        copy_checkout(root, Path(copy))
        for file, text in changes.items():
            (Path(copy) / file).write_text(text, encoding="utf-8")
        paths = os.pathsep.join(filter(None, [copy, os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
            cwd=copy, env=environment, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        code: int | None = None
        output = ""
        try:
            output, _ = process.communicate(timeout=timeout)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # pytest and the processes that its tests started
            process.communicate()
        return TestRun(code, output, time.monotonic() - start)


def module_of(file: str) -> str:
    """Return the dotted name of a module from its path in the checkout.

    >>> module_of("models/heads.py"), module_of("bench/core/ids.py")
    ('bench.models.heads', 'bench.core.ids')
    """
    name = file.removesuffix(".py").replace("/", ".")
    return name if name.startswith("bench.") else f"bench.{name}"


def judge(run: TestRun, file: str) -> str:
    """Return the result of a mutation of ``file`` from the outcome of its tests."""
    if run.code is None:
        return "timeout"
    if run.code == PASSED:
        return "survived"
    imports_it = run.first_failure and re.search(rf"(?<!\w){re.escape(file)}(?!\w)", run.output)
    return "killed" if run.code == TESTS_FAILED or imports_it else "error"


def run_mutation(mutation: Mutation, root: Path, timeout: float, unmutated: dict[tuple[str, ...], TestRun]) -> Result:
    """Run the tests with the mutation, and repeat a failed test without the mutation.

    ``unmutated`` caches the runs without a mutation by their tests.
    """
    file = find_file(mutation, read_sources(root))
    text = read_sources(root)[file].replace(mutation.old, mutation.new)
    run = run_tests(root, mutation.tests, timeout, {file: text})
    result = judge(run, file)
    if result in ("killed", "timeout"):
        failed = (run.first_failure.partition("[")[0],) if run.first_failure else mutation.tests
        if failed not in unmutated:
            unmutated[failed] = run_tests(root, failed, timeout, {})
        result = result if unmutated[failed].code == PASSED else "error"
    if result == "error":
        click.echo(f"[{mutation.name}] {' '.join(mutation.tests)}\n{run.output}", err=True)
    return Result(mutation.name, module_of(file), result, round(run.seconds, 1), run.first_failure, mutation.digest)


def read_results(path: Path) -> dict[str, Result]:
    """Return the results in a CSV file by name; empty if the file does not exist."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{**row, "seconds": float(row["seconds"])} for row in csv.DictReader(file)]
    return {result.name: result for result in (Result(**cast(dict[str, Any], row)) for row in rows)}


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Replace the whole file at once, so that an interruption keeps the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.partial")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Result)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(result) for result in results)
    unfinished.replace(path)


@click.command(help="Apply the mutations of tools/mutations.toml one by one and run their tests.")
@click.option("--only", multiple=True, metavar="NAME", help="mutations to run, by name or wildcard; repeatable")
@click.option("--list", "listing", is_flag=True, help="print the mutations and run nothing")
@click.option("--timeout", default=600.0, show_default=True, help="seconds per run of the tests")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="mutations at a time")
@click.option("--root", type=click.Path(path_type=Path, exists=True), default=ROOT, help="checkout to mutate a copy of")
@click.option("--mutations", type=click.Path(path_type=Path, exists=True), default=ROOT / "tools/mutations.toml")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=ROOT / "tools/mutation_scores/latest.csv",
    help="CSV of results; mutations that have a result there are skipped  [default: tools/mutation_scores/latest.csv]",
)
def main(
    only: tuple[str, ...], listing: bool, timeout: float, jobs: int, root: Path, mutations: Path, output: Path
) -> None:
    """Run the mutations without a current result in ``output``, and write each result immediately."""
    root = root.resolve()
    all_mutations = read_mutations(mutations)
    chosen = [m for m in all_mutations if not only or any(fnmatch(m.name, pattern) for pattern in only)]
    if not chosen:
        raise MutationError(f"no mutation is called {' or '.join(only)}; see --list.")
    for mutation in chosen:
        file = find_file(mutation, read_sources(root))
        if listing:
            click.echo(f"{mutation.name}  {file}\n    {mutation.why}\n    {' '.join(mutation.tests)}")
    if listing:
        return
    results = read_results(output)
    done = {(result.name, result.digest) for result in results.values() if result.result != "error"}
    pending = [mutation for mutation in chosen if (mutation.name, mutation.digest) not in done]
    run = partial(run_mutation, root=root, timeout=timeout, unmutated={})
    with ThreadPoolExecutor(jobs) as pool:
        for number, result in enumerate(pool.map(run, pending), 1):
            results[result.name] = result
            write_results(output, [results[m.name] for m in all_mutations if m.name in results])
            click.echo(f"[{number}/{len(pending)}] {result.result:8} {result.seconds:6.1f} s  {result.name}")
    counts = Counter(results[mutation.name].result for mutation in chosen)
    click.echo(f"{counts['killed']} of {len(chosen)} mutations are killed; {dict(counts)}; see {output}.")


if __name__ == "__main__":
    main()
