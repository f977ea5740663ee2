"""``bench gc``: list the files of a results folder to which nothing refers, and delete them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import click

from bench.cli.config_options import config_options
from bench.cli.group import cli
from bench.cli.options import json_option
from bench.config import RunConfig
from bench.core.vocabulary import Exit
from bench.core.words import format_bytes, pluralize
from bench.results.garbage import find_unused
from bench.results.store import Store
from bench.results.unused_files import LIVE_S, Inventory, Unused, delete_unused

SHOWN = 5  # maximum number of files per reason


@cli.command(
    "gc",
    examples=(
        "bench gc --results results",
        "bench gc --results results --delete",
    ),
)
@config_options(RunConfig, only=("results",))
@click.option("--delete", is_flag=True, help="delete these files; without it, they are only listed")
@json_option
def gc_command(*, results: Path, delete: bool, as_json: bool) -> int:
    """List the files of a results folder to which nothing refers, and delete them with --delete.

    Files in question: temporary files, claims and journals of finished work, states of finished trainings, outcomes and
    images without a record, results of replaced weights, and corrupted images that no cell uses. Files that do not
    belong to the results folder are listed and kept. No table changes.
    """
    found = find_unused(Store(results))
    deleted = delete_unused(found, results) if delete else []
    print(json.dumps(_as_data(found, deleted), indent=2) if as_json else _as_text(found, deleted, results, delete))
    return Exit.OK


def _as_data(found: Inventory, deleted: list[Unused]) -> dict[str, object]:
    return {
        "unused": [{"path": str(entry.path), "bytes": entry.size, "reason": entry.reason} for entry in found.unused],
        "deleted": [str(entry.path) for entry in deleted],
        "unknown": list(map(str, found.unknown)),
        "young": list(map(str, found.young)),
        "kept": {str(path): reason for path, reason in found.kept.items()},
    }


def _as_text(found: Inventory, deleted: list[Unused], root: Path, delete: bool) -> str:
    """Return the files by reason, the files that are kept, and a summary."""
    by_reason: dict[str, list[Unused]] = defaultdict(list)
    for entry in found.unused:
        by_reason[entry.reason].append(entry)
    lines = []
    for reason, entries in by_reason.items():
        size = format_bytes(sum(entry.size for entry in entries))
        lines += [f"{reason}: {pluralize(len(entries), 'file')}, {size}"]
        lines += _names([entry.path for entry in entries], root)
    lines += [f"kept {path.relative_to(root)}: {reason}" for path, reason in found.kept.items()]
    if found.young:
        lines += [f"kept for now, since written in the last {LIVE_S / 60:.0f} minutes:", *_names(found.young, root)]
    if found.unknown:
        lines += ["kept, since not written by bench:", *_names(found.unknown, root)]
    return "\n".join([*lines, _summary(found, deleted, root, delete)])


def _names(paths: list[Path], root: Path) -> list[str]:
    more = [f"  … and {len(paths) - SHOWN} more (--json lists all)"] if len(paths) > SHOWN else []
    return [*(f"  {path.relative_to(root)}" for path in paths[:SHOWN]), *more]


def _summary(found: Inventory, deleted: list[Unused], root: Path, delete: bool) -> str:
    if delete:
        size = format_bytes(sum(entry.size for entry in deleted))
        left = len(found.unused) - len(deleted)
        rest = f"; {pluralize(left, 'file')} changed meanwhile and kept" if left else ""
        return f"{pluralize(len(deleted), 'file')} deleted, {size}{rest}."
    if not found.unused:
        return "nothing to delete."
    total = f"{pluralize(len(found.unused), 'file')}, {format_bytes(found.size)}"
    return f"{total} can be deleted; nothing was deleted: add --delete."
