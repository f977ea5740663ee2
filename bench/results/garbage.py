"""List the files of a whole results folder to which nothing refers. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.records import EvalRecord
from bench.data.corrupted.arrays import MANIFEST, raw_entries, raw_manifest
from bench.results.store import TRIAL_FOLDERS, Store
from bench.results.unused_files import KNOWN_FILES, Inventory, files_below, in_use, is_removed, sort_run
from bench.runtime.input_files import entries

IN_USE = "a process may be working in it"
LINK = "it is a link, and the files behind it may not belong to this folder"
LABELS = "labels.npy"


def find_unused(store: Store) -> Inventory:
    """List the files of the results folder to which nothing refers. Raises BenchError if there is no such folder."""
    root = store.root
    if not root.is_dir():
        raise BenchError(f"--results {root} is not a folder; give a results folder.")
    found = Inventory()
    _sort_root(found, root)
    cells: list[EvalRecord] | None = []
    for folder in _folders(found, root / "runs"):
        if is_removed(folder) and not folder.parent.is_symlink():
            _add_removed(found, folder)
            continue
        if reason := _protected(folder):
            found.kept[folder] = reason
        else:
            sort_run(found, folder, store)
        cells = _with_cells(cells, folder.name, store)
    for folder in _folders(found, root / "corrupted"):
        if reason := _protected(folder):
            found.kept[folder] = reason
        elif cells is None:
            found.kept[folder] = "a record cannot be read, so that it is not known which cells use it"
        else:
            _sort_set(found, folder, cells)
    return found


def _sort_root(found: Inventory, root: Path) -> None:
    """Sort the entries of the results folder except runs and corrupted images."""
    for path in entries(root):
        if is_removed(path):
            _add_removed(found, path)
        elif path.name == "claims" and path.is_dir() and not path.is_symlink():
            for file in files_below(path):
                found.add_other(file)
        elif path.name in TRIAL_FOLDERS and path.is_dir() and not path.is_symlink():
            for file in files_below(path):
                if file.parent != path or file.suffix != ".json":  # outcomes of bench.training.stored_trial
                    found.add_other(file)
        elif path.name not in ("runs", "corrupted", *TRIAL_FOLDERS, *KNOWN_FILES):
            found.add_other(path)


def _add_removed(found: Inventory, folder: Path) -> None:
    """Add the files of a run whose removal was interrupted."""
    for file in files_below(folder):
        found.add(file, "rest of a run that was removed")


def _protected(folder: Path) -> str:
    """Return why nothing in the folder of a run or of corrupted images may be deleted; empty if there is no reason."""
    if folder.is_symlink() or folder.parent.is_symlink():
        return LINK
    return IN_USE if in_use(folder) else ""


def _folders(found: Inventory, parent: Path) -> list[Path]:
    """Return the folders in ``parent``, and add the files in it to ``found``."""
    folders = []
    for path in entries(parent):
        if path.is_dir():
            folders.append(path)
        elif not parent.is_symlink():
            found.add_other(path)
    return folders


def _with_cells(cells: list[EvalRecord] | None, run_id: str, store: Store) -> list[EvalRecord] | None:
    """Return ``cells`` and the cells of one more run; None if a record cannot be read."""
    try:
        return None if cells is None else [*cells, *store.cells(run_id)]
    except BenchError:
        return None


def _sort_set(found: Inventory, folder: Path, cells: Sequence[EvalRecord]) -> None:
    """Sort the files of one set of corrupted images. A file is needed if its manifest fits a cell."""
    listed, used = raw_entries(folder), used_images(folder, cells)
    for path in files_below(folder):
        if path.parent != folder or (path.name not in listed and path.name != MANIFEST):
            found.add_other(path)
        elif path.name not in used and not (used and path.name == MANIFEST):
            found.add(path, "corrupted images that no cell uses")


def used_images(folder: Path, cells: Iterable[EvalRecord]) -> set[str]:
    """Return the names of the listed files of a set of corrupted images that ``cells`` use, and of their labels."""
    manifest, listed = raw_manifest(folder), raw_entries(folder)
    used: set[str] = set()
    for cell in cells:
        used |= {name for name, entry in listed.items() if _uses(cell, manifest, name, entry)}
    return used | ({LABELS} & set(listed) if used else set())


def _uses(cell: EvalRecord, manifest: dict[str, Any], name: str, entry: Any) -> bool:
    """Return whether a cell may use a file of corrupted images. The images themselves are not compared."""
    spec = cell.spec.corruption
    if spec is None or spec.source != "generated" or not isinstance(entry, dict):
        return False
    fits = (f"{spec.kind}.npy", spec.profile, spec.seed, spec.version) == (
        name, manifest.get("profile"), manifest.get("seed"), entry.get("version"),
    )  # fmt: skip
    same_code = (spec.files_sha, spec.code_sha) == (entry.get("files_sha", ""), entry.get("code_sha", ""))
    return fits and same_code and (cell.status != "ok" or cell.n == manifest.get("images"))
