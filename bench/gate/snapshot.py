"""Snapshot of a results folder in the form of a baseline, so that both sides of a check have the same form.

Find cells whose robust accuracy is too high because other attacks broke more of the same images.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bench.core.columns import CORRUPTIONS_ACC
from bench.core.errors import BenchError, unknown_name
from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import ID_LENGTH, Scalar, fingerprint
from bench.core.vocabulary import NATIVE, STANDARD
from bench.gate.baseline import CellOutcomes, RunOutcomes, encode
from bench.gate.rules import names_of
from bench.leaderboard.corruption_cells import STANDARD_COLUMNS, standard_cells
from bench.leaderboard.lowest_known import AUDIT, lowest_known
from bench.leaderboard.rows import BoardRow, board_rows
from bench.results.audit_verdict import word_of
from bench.results.outcomes import Outcomes
from bench.results.results_csv import Audits, Budget, Cell, all_audits, all_cells
from bench.results.store import Store


@dataclass(frozen=True)
class Lower:
    """The lowest known robust accuracy (a fraction), and the attack that broke most of the cell's unbroken images."""

    accuracy: float
    attack: str

    @property
    def text(self) -> str:
        return f"lowest known {100 * self.accuracy:.1f} % ({self.attack})"


def lower_than_measured(row: BoardRow, outcomes: Outcomes) -> Iterator[tuple[str, Lower]]:
    """Yield each attack column with a lower known accuracy from other attacks or the audit; ``row`` has one seed."""
    for column, cells in row.cells.items():
        (cell,) = cells.values()
        attack = cell.spec.attack
        if attack is None or cell.status != "ok":
            continue
        own = outcomes.of(cell)
        lowest = lowest_known(row, Budget(attack.norm, attack.eps), outcomes, own.ids)
        if lowest is None or lowest.right.sum() >= own.correct.sum():
            continue
        more = {name: int((mask[0] & own.correct).sum()) for name, mask in lowest.broken.items()}
        strongest = max(more, key=lambda name: more[name])
        source = f"{strongest.removeprefix(AUDIT)}, audit" if strongest.startswith(AUDIT) else strongest
        yield column, Lower(float(lowest.accuracy), source)


#: Of a module that hides what it computes with; its recorded structure and behaviour must then stand for its weights.
NO_WEIGHTS = hashlib.sha256().hexdigest()


@dataclass(frozen=True)
class Snapshot:
    """The runs with the outcomes of their images, the cells that are not ok, and the models at chance level.

    ``replaced`` are cells of the same name as another one that counts, but of another attack or other corrupted images:
    they are neither in ``runs`` nor in ``failures``. ``lowest`` has an entry where more images of a cell are known to
    be broken than the cell itself broke.
    """

    runs: tuple[RunOutcomes, ...]
    failures: Mapping[tuple[str, str], str]  # why, by run name and metric
    at_chance: Mapping[str, str] = field(default_factory=dict)  # a sentence by run name
    replaced: Mapping[tuple[str, str], str] = field(default_factory=dict)  # how measured, by run name and metric
    lowest: Mapping[tuple[str, str], Lower] = field(default_factory=dict)  # by run name and metric

    def left_out(self) -> list[str]:
        """``replaced`` in words."""
        return [f"{name} {metric} ({how})" for (name, metric), how in sorted(self.replaced.items())]


def take_snapshot(store: Store, names: Sequence[str] = ()) -> Snapshot:
    """Take a snapshot of the runs in ``names`` (prefixes of ids, or model:variant[:seed]); of all runs without names.

    Among cells that fill the same leaderboard entry, the one with the best evidence counts, as on the board. Raises
    BenchError for an unknown or ambiguous name, for a folder without cells, and where two trainings have the same name
    and seed: neither may silently replace the other.
    """
    cells, audits = _asked(all_cells(store), store, names), all_audits(store)
    rows = [row for run_id in dict.fromkeys(run.run_id for run, _ in cells) for row in _rows(cells, audits, run_id)]
    if not rows:
        raise BenchError(f"no cells under {store.root}; 'bench run --results {store.root} …' makes some.")
    _check_distinct(rows, store)
    chance = {name_of(row.run): sentence for row in rows if (sentence := row.chance())}
    outcomes = Outcomes(store)
    lowest = {(name_of(row.run), metric): low for row in rows for metric, low in lower_than_measured(row, outcomes)}
    return Snapshot(tuple(_run(row, store) for row in rows), _failures(rows), chance, _replaced(rows), lowest)


def name_of(run: RunOutcomes | RunRecord) -> str:
    """Return the name of a trained network in the gate.

    It includes the data set, because one folder may hold several.
    """
    return f"{run.dataset} {run.model}:{run.variant}:{run.seed}"


def metrics_of(column: str) -> tuple[str, ...]:
    """The metrics that the cells of a column may count in: its own, or the mean over the standard corruptions."""
    return (column, CORRUPTIONS_ACC) if column in STANDARD_COLUMNS else (column,)


def _asked(cells: Sequence[Cell], store: Store, names: Sequence[str]) -> list[Cell]:
    """``model:variant`` means all its seeds here, not only the one there is."""
    if not names:
        return list(cells)
    wanted: set[str] = set()
    for name in names:
        seeds = {run.run_id for run, _ in cells if name == f"{run.model}:{run.variant}"}
        wanted |= seeds or {store.find_run(name).run_id}
    return [(run, cell) for run, cell in cells if run.run_id in wanted]


def _rows(cells: Sequence[Cell], audits: Audits, run_id: str) -> list[BoardRow]:
    """One row a test split."""
    return board_rows([(run, cell) for run, cell in cells if run.run_id == run_id], audits)


def _check_distinct(rows: Sequence[BoardRow], store: Store) -> None:
    for name, count in Counter(name_of(row.run) for row in rows).items():
        if count > 1:
            ids = ", ".join(sorted(row.run.run_id for row in rows if name_of(row.run) == name))
            raise BenchError(
                f"{store.root} has {count} times {name} ({ids}), trained or tested otherwise; name the runs that are "
                "meant by --run."
            )


def _run(row: BoardRow, store: Store) -> RunOutcomes:
    run = row.run
    return RunOutcomes(
        dataset=run.dataset,
        model=run.model,
        variant=run.variant,
        seed=run.seed,
        config_sha=run.config_sha,
        data_sha=row.data_sha,
        weights_sha=run.config_sha if run.weights_sha == NO_WEIGHTS else run.weights_sha,
        audit=_audit(row),
        flags=tuple(sorted({flag for column in row.cells for flag in row.flags(column)})),
        cells=_cells(row, store),
    )


def _audit(row: BoardRow) -> str | None:
    """Its verdict in one word, without the points, which another seed of the attack may change."""
    record = row.audits.get(row.run.seed)
    standing = [cell for cells in row.cells.values() for cell in cells.values()]
    return None if record is None else word_of(record, standing)


def _cells(row: BoardRow, store: Store) -> dict[str, CellOutcomes]:
    standard = standard_cells(row) or []
    found = {column: _one(row, [column], store) for column in row.cells if row.accuracies(column)}
    found = {column: cell for column, cell in found.items() if column not in standard}
    return found | ({CORRUPTIONS_ACC: _one(row, standard, store)} if standard else {})


def _one(row: BoardRow, columns: Sequence[str], store: Store) -> CellOutcomes:
    """A metric over ``columns``; all of them were evaluated on the same images."""
    cells = [next(iter(row.cells[column].values())) for column in columns]
    samples = [store.read_samples(cell) for cell in cells]
    counts = np.asarray([[s.correct for s in found] for found in samples]).sum(axis=0).astype(np.uint8)
    return CellOutcomes(
        n=len(counts),
        parts=len(cells),
        right=int(counts.sum()),
        images=fingerprint([[s.sample_id, s.label] for s in samples[0]])[:ID_LENGTH],
        definition=_definition(cells),
        outcomes=encode(counts, len(cells)),
    )


def _definition(cells: Sequence[EvalRecord]) -> dict[str, Scalar]:
    """Return the settings that determine the number besides the weights, the test images and the seed."""
    first = cells[0]
    if first.spec.corruption is not None:
        specs = [cell.spec.corruption.identity() for cell in cells if cell.spec.corruption is not None]
        shown = ("source", "profile", "seed")
        return {**{key: specs[0][key] for key in shown}, "images": fingerprint(specs)[:ID_LENGTH]}
    attack = first.spec.attack
    if attack is None:
        return {}
    found = {"version": attack.version, "precision": attack.precision, **attack.params}
    library = "" if attack.backend == NATIVE else f" {first.backend_version}"  # of ours the attack's own version counts
    found |= {"backend": f"{first.backend}{library}"}
    if attack.code_sha:
        found |= {"code_sha": attack.code_sha}
    return found | ({} if first.spec.protocol == STANDARD else {"protocol": first.spec.protocol})


def _failures(rows: Sequence[BoardRow]) -> dict[tuple[str, str], str]:
    """By name and metric; a corruption that failed takes their mean with it."""
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        name = name_of(row.run)
        for column in {*row.cells, *row.outdone}:
            for cell in row.failures(column):
                sentence = f"{cell.status}: {cell.reason}" + (f" ({cell.message})" if cell.message else "")
                for metric in metrics_of(column):
                    found[name, metric] = sentence if metric == column else f"{column} {sentence}"
    return found


def _replaced(rows: Sequence[BoardRow]) -> dict[tuple[str, str], str]:
    """By name and metric, how a cell was measured that another one of its name replaces; see :class:`Snapshot`.

    A cell of the same definition on no more images adds nothing to the one that counts.
    """
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        failed = {cell.cell_id for column in row.outdone for cell in row.failures(column)}
        for column, cells in row.outdone.items():
            standing = next(iter(row.cells.get(column, {}).values()), None)
            for cell in cells:
                same = standing is not None and _definition([standing]) == _definition([cell])
                if not same and cell.cell_id not in failed:
                    shown = ", ".join(f"{key} {value}" for key, value in _definition([cell]).items())
                    found[name_of(row.run), column] = f"{cell.status}, with {shown}; another cell of this name counts"
    return found


def choose(snapshot: Snapshot, patterns: Sequence[str]) -> tuple[RunOutcomes, ...]:
    """Its runs with the cells that ``patterns`` name, as tolerances do or with wildcards; all without patterns.

    Raises BenchError for a pattern that names none, and for a cell that is not ok: left out unseen, its loss would
    never show.
    """
    known = sorted({metric for run in snapshot.runs for metric in run.cells} | {m for _, m in snapshot.failures})
    for pattern in patterns:
        if not any(_named(metric, [pattern]) for metric in known):
            raise unknown_name("cell", pattern, known, hint="Cells are named as in leaderboard.csv, with wildcards.")
    kept = {metric for metric in known if not patterns or _named(metric, patterns)}
    for (name, metric), why in sorted(snapshot.failures.items()):
        if metric in kept:
            raise BenchError(f"{name} {metric} is not ok ({why}); run it again, or leave it out by --cells.")
    runs = [replace(run, cells={m: cell for m, cell in run.cells.items() if m in kept}) for run in snapshot.runs]
    empty = [name_of(run) for run in runs if not run.cells]
    if empty:
        raise BenchError(f"{', '.join(empty)}: there is no such cell, so that nothing of it would be checked.")
    return tuple(runs)


def _named(metric: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names_of(metric) for pattern in patterns)
