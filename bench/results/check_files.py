"""Check every stored file of a results folder against its hash. Does not import torch.

Records are checked by :class:`bench.results.store.Store`, which raises BenchError for an invalid one. Every error is
reported as a problem, and the check goes on with the next file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.inert import shell_word
from bench.core.limits import RECORD
from bench.core.records import EvalRecord, RunRecord
from bench.core.sources import STORED_AS
from bench.core.specs import short_id
from bench.core.words import pluralize
from bench.data.corrupted.arrays import MANIFEST, entries, raw_manifest
from bench.results.garbage import used_images
from bench.results.record_files import parse_sealed
from bench.results.store import TRIAL_FOLDERS, Store
from bench.results.table_hashes import HASHES, WRITTEN_AGAIN, has_hashes, table_problems, tables_in
from bench.results.unused_files import in_use
from bench.runtime.files import file_sha
from bench.runtime.input_files import entries as entries_of
from bench.runtime.input_files import exists, read_input

OUTCOMES = ".samples.csv"
CASE = ("model", "image_size", "batch_size", "code_sha", "stem")  # fields of bench.training.precision_trial.Case


@dataclass
class FileReport:
    """Problems of a results folder, and what was checked."""

    problems: list[str] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)  # with a readable record and the recorded network
    unchecked: list[str] = field(default_factory=list)  # files that could not be checked, with the reason
    n_runs: int = 0
    n_cells: int = 0
    n_files: int = 0  # files whose hash was computed and compared, or whose content was read completely

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Add the BenchError that ends the block to the problems."""
        try:
            yield
        except BenchError as error:
            self.problems.append(str(error))

    def compare(self, path: Path, sha: str, source: str) -> bool:
        """Compare the hash of a file with the hash in ``source``. Add a problem, and return False, if they differ."""
        before = len(self.problems)
        with self.reporting():
            if not path.exists():
                raise BenchError(f"{path} is missing; {source} has its hash.")
            self.n_files += 1
            if file_sha(path) != sha:
                raise BenchError(f"{path} does not have the hash in {source}; it was damaged or replaced.")
        return len(self.problems) == before


def check_files(store: Store, tell: Callable[[str], None] = lambda line: None) -> FileReport:
    """Check all runs and all corrupted images. ``tell`` is called with the name of each folder before it is checked.

    Raises BenchError if the folder has neither runs nor corrupted images.
    """
    report = FileReport()
    run_folders = [path for path in entries_of(store.root / "runs") if path.is_dir()]
    sets = [path for path in entries_of(store.root / "corrupted") if path.is_dir()]
    if not run_folders and not sets:
        raise BenchError(
            f"no runs under {store.root}; 'bench run --results {shell_word(str(store.root))} …' creates some."
        )
    for folder in run_folders:
        tell(folder.name)
        _check_run(report, folder.name, store)
    cells = list(_readable_cells(store)) if sets else []
    for folder in sets:
        tell(folder.name)
        _check_set(report, folder, cells)
    _check_choices(report, store)
    _check_tables(report, store)
    return report


def _check_choices(report: FileReport, store: Store) -> None:
    """Check the seals and names of the outcomes of trials, see :mod:`bench.training.stored_trial`."""
    for path in (path for folder in TRIAL_FOLDERS for path in entries_of(store.root / folder)):
        if path.suffix == ".json":
            report.n_files += 1
            with report.reporting():
                content = parse_sealed(read_input(path, RECORD), where=str(path))
                name = content.get("case") or short_id({key: content[key] for key in CASE if key in content})
                if name != path.stem:
                    raise BenchError(f"{path} is the outcome of another trial; delete it to repeat the trial.")


def _check_tables(report: FileReport, store: Store) -> None:
    """Check the tables against their recorded hashes. Older folders have no hashes."""
    tables = tables_in(store.root)
    if has_hashes(store.root):
        report.n_files += len(tables)
        report.problems += table_problems(store.root)
    elif tables:
        report.unchecked.append(f"the tables of {store.root}: {HASHES} is missing; {WRITTEN_AGAIN}")


def _check_run(report: FileReport, run_id: str, store: Store) -> None:
    run = None
    with report.reporting():
        run = store.read_run(run_id)
    if run is not None:
        report.n_runs += 1
        report.n_files += 1
        if _check_network(report, run, store):
            report.runs.append(run)
        with report.reporting():
            store.read_diagnosis(run_id)
        for path in _records(store, run_id, "audits"):
            with report.reporting():
                report.n_files += 1
                store.read_audit(run_id, path.stem)
    report.problems += _missing_records(run_id, store)
    for path in _records(store, run_id, "cells"):
        with report.reporting():
            record = store.read_cell(run_id, path.stem)
            if record is not None:
                report.n_cells += 1
                report.n_files += 1
                _check_cell(report, record, store)


def _missing_records(run_id: str, store: Store) -> Iterator[str]:
    """Yield one sentence per record that is missing although files of the run need it.

    A process that works in the folder may be about to write them.
    """
    folder, run = store.run_folder(run_id), store.run_path(run_id)
    if run_id.startswith(".") or in_use(folder):  # a run that is being removed has such a name
        return
    cells = _records(store, run_id, "cells")
    if cells and not exists(run):
        rest = f"the folder has {pluralize(len(cells), 'cell')}, which no table shows"
        yield f"{run} is missing; {rest}: run the same command again, or delete {folder}."
    names = {path.name.partition(".")[0] for path in entries_of(folder / "cells") if path.name.endswith(OUTCOMES)}
    for name in sorted(names - {path.stem for path in cells}):
        path = folder / "cells" / name
        yield f"{path}.json is missing; {name}{OUTCOMES} has its outcomes: run the same command again, or 'bench gc'."


def _records(store: Store, run_id: str, kind: str) -> list[Path]:
    return [path for path in entries_of(store.run_folder(run_id) / kind) if path.suffix == ".json"]


def _check_network(report: FileReport, run: RunRecord, store: Store) -> bool:
    """Check the file of the network. A network of a factory or of Python is not stored."""
    path = store.network_path(run)
    is_stored = run.spec is not None or (run.source is not None and run.source.kind in STORED_AS)
    if run.status != "ok" or not (is_stored or path.exists()):
        return False
    return report.compare(path, run.weights_sha, "run.json")


def _check_cell(report: FileReport, record: EvalRecord, store: Store) -> None:
    """Check the outcomes and the adversarial images of a cell. Raises BenchError for invalid outcomes."""
    if record.adversarials != "none":
        path = store.adversarials_path(record.spec.run_id, record.cell_id)
        report.compare(path, record.adversarials_sha, f"{record.cell_id}.json")
    if record.status == "ok":
        report.n_files += 1
        store.read_samples(record)


def _check_set(report: FileReport, folder: Path, cells: Sequence[EvalRecord]) -> None:
    """Check the files of a set of corrupted images against its manifest. Files that are not listed are never used.

    ``cells`` are those of all runs. A file that no cell uses may be missing: 'bench gc' deletes such files.
    """
    again = f"delete {folder}, which is generated again."
    if exists(folder / MANIFEST) and not raw_manifest(folder):
        report.problems.append(f"{folder / MANIFEST} is damaged; {again}")
    found = entries(folder)
    for name, entry in found.items():
        report.compare(folder / name, entry.sha256, MANIFEST)
    if in_use(folder):  # the files are being written
        return
    if not exists(folder / MANIFEST):  # nor has a set whose process was killed, but no cell uses that
        kinds = {cell.spec.corruption.kind for cell in cells if cell.spec.corruption is not None}
        if any(exists(folder / f"{kind}.npy") for kind in kinds):
            report.problems.append(f"{folder / MANIFEST} is missing; {again}")
    for name in sorted(used_images(folder, cells) - set(found)):
        report.problems.append(f"{folder / name} is missing; {MANIFEST} has its hash: {again}")


def _readable_cells(store: Store) -> Iterator[EvalRecord]:
    for folder in entries_of(store.root / "runs"):
        for path in _records(store, folder.name, "cells"):
            with suppress(BenchError):  # reported already
                if (record := store.read_cell(folder.name, path.stem)) is not None:
                    yield record
