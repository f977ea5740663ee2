"""``bench rm RUN``: remove a run with all its results."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.config_options import config_options
from bench.cli.group import cli
from bench.config import RunConfig
from bench.core.errors import BenchError
from bench.core.inert import shell_word
from bench.core.records import RunRecord
from bench.core.vocabulary import Exit
from bench.core.words import format_bytes, pluralize
from bench.results.paired_baseline import is_paired
from bench.results.store import Store
from bench.results.unused_files import in_use, remove_folder, size_of
from bench.runtime.input_files import entries


@cli.command(
    "rm",
    examples=(
        "bench rm resnet18:lpc:0",
        "bench rm 0a1b2c3d --results results --yes",
    ),
)
@click.argument("name", metavar="RUN")
@config_options(RunConfig, only=("results",))
@click.option("--yes", is_flag=True, help="remove without a question")
def rm_command(name: str, *, results: Path, yes: bool) -> int:
    """Remove a run with all its results.

    RUN is a prefix of the run id, or model:variant[:seed]. A run whose record is damaged is removed by its complete id.
    The tables are not changed: 'bench leaderboard' rebuilds them.
    """
    store = Store(results)
    folder, title = _found(store, name)
    _check_unused(folder, title)
    count, size = size_of(folder)
    print(f"{title}: {pluralize(count, 'file')}, {format_bytes(size)}, in {folder}")
    for line in _consequences(store, folder.name):
        print(line)
    if not yes:
        _ask(title)
        _check_unused(folder, title)  # a process may have started during the question
    remove_folder(folder, results)
    print(f"removed {title}. {_rebuild(results)}")
    return Exit.OK


def _check_unused(folder: Path, title: str) -> None:
    """Raise BenchError if a process may be working in the folder of a run."""
    if in_use(folder):
        raise BenchError(
            f"{title} is in use: {folder} has a claim of the last minutes; end the other process, or wait."
        )


def _found(store: Store, name: str) -> tuple[Path, str]:
    """Return the folder and the title of a run. Raises BenchError unless exactly one run matches.

    A complete id needs no readable record.
    """
    for folder in entries(store.root / "runs"):
        if folder.name == name and folder.is_dir() and not folder.is_symlink():
            return folder, f"run {name}"
    run = store.find_run(name)
    return store.run_folder(run.run_id), f"run {run.run_id} ({run.model}:{run.variant}:{run.seed})"


def _consequences(store: Store, run_id: str) -> list[str]:
    """Describe what other runs lose: the reference of comparisons, and the source of transferred images."""
    runs = _readable(store)
    run = next((run for run in runs if run.run_id == run_id), None)
    if run is None:
        return []
    others = [other for other in runs if other.run_id != run_id]
    audited = [other for other in others if _uses_images_of(run_id, other, store)]
    lines = []
    if audited:
        lines.append(
            f"the audits of {pluralize(len(audited), 'run')} used its adversarial images; these audits stay as they "
            "are, and an audit that is repeated needs the run again for its transfer attack."
        )
    paired = [other for other in others if other.variant != run.variant and is_paired(other, run)]
    if paired and not any(o.variant == run.variant and o.seed != run.seed and is_paired(o, run) for o in others):
        lines.append(f"{pluralize(len(paired), 'run')} can no longer be compared with {run.model}:{run.variant}.")
    return lines


def _readable(store: Store) -> list[RunRecord]:
    """Return the runs whose records can be read. 'bench verify --all' reports the others."""
    runs = []
    for folder in entries(store.root / "runs"):
        try:
            record = store.read_run(folder.name)
        except BenchError:
            continue
        runs += [record] if record is not None else []
    return runs


def _uses_images_of(run_id: str, other: RunRecord, store: Store) -> bool:
    try:
        return any(budget.baseline_run == run_id for audit in store.audits(other.run_id) for budget in audit.budgets)
    except BenchError:  # a damaged audit has to be repeated anyway
        return False


def _ask(title: str) -> None:
    """Ask for a confirmation. Raises BenchError unless the answer is yes."""
    try:
        agreed = click.confirm(f"remove {title}?", err=True)
    except click.Abort:  # no terminal
        agreed = False
    if not agreed:
        raise BenchError("nothing was removed; answer y, or give --yes.")


def _rebuild(results: Path) -> str:
    """Say how the tables are brought up to date."""
    if any((folder / "run.json").exists() for folder in entries(results / "runs")):
        return f"The tables still show it; 'bench leaderboard --results {shell_word(str(results))}' rebuilds them."
    return f"No run is left in {results}; the tables there still show removed runs and can be deleted."
