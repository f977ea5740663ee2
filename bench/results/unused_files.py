"""Find the files of a results folder to which nothing refers, and delete them. Does not import torch.

A file is deleted only if its name follows a rule of :mod:`bench.results.store` and the rule says that it is not needed.
Files with other names belong to the user. Nothing is deleted that was written in the last LIVE_S seconds, or that
belongs to a run or to a set of corrupted images with so young a claim: a process may be working there.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.limits import RECORD
from bench.core.records import RunRecord
from bench.core.specs import ID_LENGTH
from bench.core.strict_json import parse_json
from bench.core.words import pluralize
from bench.results.store import Store
from bench.results.table_hashes import HASHES, TABLES
from bench.runtime.claims import SUFFIX, file_system_time, is_claim, is_running
from bench.runtime.config_file import EVALUATE_FILE, RUN_FILE
from bench.runtime.files import is_temporary
from bench.runtime.input_files import entries, read_input

LIVE_S = 600.0  # a process renews its claims more often than this
KNOWN_FILES = (*TABLES, HASHES, RUN_FILE, EVALUATE_FILE)
REMOVED = ".removed-"  # prefix of a folder that is being deleted; the id of the run and of the process follow
ENDED = "claim of a process that has ended"
_ID = re.compile(f"[0-9a-f]{{{ID_LENGTH}}}")
_REMOVED = re.compile(rf"{re.escape(REMOVED)}.+-[0-9]+", re.DOTALL)


@dataclass(frozen=True)
class Unused:
    """A file that is not needed, with its size in bytes and the reason."""

    path: Path
    size: int
    reason: str


@dataclass
class Inventory:
    """Files that are not needed, files that follow no rule, and folders that are kept as a whole, with the reason."""

    unused: list[Unused] = field(default_factory=list)
    unknown: list[Path] = field(default_factory=list)
    kept: dict[Path, str] = field(default_factory=dict)
    young: list[Path] = field(default_factory=list)  # not needed, but written in the last LIVE_S seconds

    def add(self, path: Path, reason: str) -> None:
        """Add a file that is not needed."""
        if is_young(path):
            self.young.append(path)
        else:
            self.unused.append(Unused(path, _size(path), reason))

    def add_other(self, path: Path) -> None:
        """Add a file that follows no rule for its folder: a temporary file of ours, or a file of the user."""
        if is_temporary(path.name):
            self.add(path, "temporary file")
        elif is_claim(path):
            self.add(path, ENDED)
        else:
            self.unknown.append(path)

    @property
    def size(self) -> int:
        """Size in bytes of the files that are not needed."""
        return sum(entry.size for entry in self.unused)


def is_young(path: Path) -> bool:
    """Return whether a file was written in the last LIVE_S seconds, or has disappeared meanwhile.

    The claim of a process of this machine is young while the process exists: it may be suspended. The age of a claim
    is measured by the clock of the file system, because the clock of this machine may be ahead.
    """
    try:
        written = path.lstat().st_mtime
        if time.time() - written < LIVE_S:
            return True
        return path.name.endswith(SUFFIX) and (is_running(path) or file_system_time(path.parent) - written < LIVE_S)
    except FileNotFoundError:
        return True
    except OSError:  # the folder cannot be written, so nothing is deleted there
        return False


def in_use(folder: Path) -> bool:
    """Return whether a process may be working in a folder: it has a young claim."""
    return any(path.name.endswith(SUFFIX) and is_young(path) for path in entries(folder / "claims"))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield everything in a folder and its subfolders except folders. Links to folders are not followed."""
    for path in entries(folder):
        if path.is_dir() and not path.is_symlink():
            yield from files_below(path)
        else:
            yield path


def size_of(folder: Path) -> tuple[int, int]:
    """Return the number of files in a folder and its subfolders, and their size in bytes."""
    sizes = [_size(path) for path in files_below(folder)]
    return len(sizes), sum(sizes)


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if another process has just deleted it."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def is_removed(folder: Path) -> bool:
    """Return whether a folder has the name that :func:`remove_folder` gives, and is no link."""
    return _REMOVED.fullmatch(folder.name) is not None and folder.is_dir() and not folder.is_symlink()


def sort_run(found: Inventory, folder: Path, store: Store) -> None:
    """Sort the files of one run into needed, unneeded and unknown files. A folder without an id as name is unknown."""
    if not _ID.fullmatch(folder.name):
        found.unknown.append(folder)
        return
    try:
        run = store.read_run(folder.name)
        finished = store.finished_run(folder.name) is not None
    except BenchError as error:
        found.kept[folder] = f"the record of the run cannot be read: {error}"
        return
    for path in files_below(folder):
        rule = _RULES.get("/".join([*path.relative_to(folder).parts[:-1], _kind_of(path)]))
        if run is not None and path == store.network_path(run):
            continue
        if rule is None:
            found.add_other(path)
        elif reason := rule(path, run, finished, store):
            found.add(path, reason)


def _kind_of(path: Path) -> str:
    """Return the part of a file's name that tells its kind: the name, or the suffixes after an id."""
    stem, _, suffixes = path.name.partition(".")
    has_id = path.parent.name == "audits" or (path.parent.name == "cells" and _ID.fullmatch(stem))
    return f"*.{suffixes}" if stem and has_id else path.name


Rule = Callable[[Path, RunRecord | None, bool, Store], str]  # returns why a file is not needed; "" if it is needed


def _record(path: Path, run: RunRecord | None, finished: bool, store: Store) -> str:
    """Check whether a diagnosis, an audit or a cell was measured with the current weights of the run."""
    weights = _weights_of(path)
    return "belongs to weights that were replaced" if run and finished and weights not in (run.weights_sha, "") else ""


def _of_cell(path: Path, run: RunRecord | None, finished: bool, store: Store) -> str:
    """Check the outcomes or the adversarial images of a cell."""
    record = path.with_name(path.name.partition(".")[0] + ".json")
    return _record(record, run, finished, store) if record.exists() else "its cell has no record"


def _journal(path: Path, run: RunRecord | None, finished: bool, store: Store) -> str:
    """Check the state of a running cell. It is needed until the cell has a result."""
    try:
        cell = store.finished_cell(path.parent.parent.name, path.name.partition(".")[0])
    except BenchError:
        return ""
    return "state of a cell that is finished" if cell is not None else ""


def _training(path: Path, run: RunRecord | None, finished: bool, store: Store) -> str:
    return "state of a training that is finished" if finished else ""


def _network(path: Path, run: RunRecord | None, finished: bool, store: Store) -> str:
    return "weights without a record of their run" if run is None else "not the network of the run"


def _needed(path: Path, run: RunRecord | None, finished: bool, store: Store) -> str:
    return ""


_RULES: dict[str, Rule] = {
    "run.json": _needed,
    "weights.safetensors": _network,
    "training.safetensors": _training,
    "diagnosis.json": _record,
    "audits/*.json": _record,
    "cells/*.json": _record,
    "cells/*.samples.csv": _of_cell,
    "cells/*.adversarials.safetensors": _of_cell,
    "cells/*.journal": _journal,
    "cells/*.search": _journal,
}


def _weights_of(record: Path) -> str:
    """Return the hash of the weights in a record; empty if the record cannot be read or has none."""
    try:
        content = parse_json(read_input(record, RECORD))
    except (BenchError, ValueError):
        return ""
    return str(content.get("weights_sha", "")) if isinstance(content, dict) else ""


def delete_unused(found: Inventory, root: Path) -> list[Unused]:
    """Delete the files that are not needed, and folders that are then empty. Return the deleted files.

    Files that were written meanwhile, or whose folder has a new claim, are kept. Raises BenchError if a file cannot be
    deleted.
    """
    deleted: list[Unused] = []
    for entry in found.unused:
        parts = entry.path.relative_to(root).parts
        if is_young(entry.path) or (len(parts) > 2 and in_use(root / parts[0] / parts[1])):
            continue
        try:
            entry.path.unlink(missing_ok=True)
        except OSError as error:
            done = pluralize(len(deleted), "file")
            raise BenchError(
                f"cannot delete {entry.path}: {error.strerror or error}; {done} deleted before it."
            ) from error
        deleted.append(entry)
        _remove_empty(entry.path.parent, root)
    return deleted


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and its parents below ``root`` if they are empty."""
    while folder != root and not entries(folder):
        try:
            folder.rmdir()
        except OSError:  # another process has just written a file, or the folder is a link
            return
        folder = folder.parent


def remove_folder(folder: Path, root: Path) -> None:
    """Delete a folder of ``root``.

    It is renamed first, so that it disappears at once. 'bench gc' finds what an interrupted deletion leaves.
    Raises BenchError if it cannot be deleted, if it is in use, and if it is a link, because its files are outside of
    ``root``.
    """
    if folder.is_symlink():
        raise BenchError(f"cannot delete {folder}: it is a link to {folder.resolve()}; delete the link by hand.")
    name = f"{REMOVED}{folder.name}-{os.getpid()}"
    try:
        moved = _moved(folder, root / name, folder.with_name(name))
        if in_use(moved):  # a process has claimed work between the last check and the renaming
            moved.rename(folder)
            raise BenchError(f"cannot delete {folder}: it has a claim of the last minutes; end the other process.")
        shutil.rmtree(moved)
    except OSError as error:
        raise BenchError(f"cannot delete {error.filename or folder}: {error.strerror or error}.") from error


def _moved(folder: Path, *targets: Path) -> Path:
    """Rename ``folder`` to the first of ``targets`` that is on the same file system, and return it."""
    for target in targets[:-1]:
        try:
            return folder.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    return folder.rename(targets[-1])
