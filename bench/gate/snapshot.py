"""Convert a results folder to the form of a baseline, so that both sides of a check have the same form.

The module also finds cells whose robust accuracy is too high, because other attacks succeed on more of the same images.
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
from bench.core.inert import shell_word
from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import ID_LENGTH, Scalar, fingerprint
from bench.core.vocabulary import NATIVE, STANDARD
from bench.gate.baseline import CellOutcomes, RunOutcomes, encode
from bench.gate.rules import names_of
from bench.leaderboard.corruption_cells import STANDARD_COLUMNS, standard_cells
from bench.leaderboard.lowest_known import AUDIT, lowest_known
from bench.leaderboard.rows import BoardRow, board_rows
from bench.results.audit_verdict import verdict_word
from bench.results.outcomes import Outcomes
from bench.results.results_csv import Audits, Budget, Cell, all_audits, all_cells
from bench.results.store import Store


@dataclass(frozen=True)
class Lower:
    """Lowest known robust accuracy as a fraction, and the attack with most successes on the cell's correct images."""

    accuracy: float
    attack: str

    @property
    def text(self) -> str:
        """Accuracy in percent and name of the attack."""
        return f"lowest known {100 * self.accuracy:.1f} % ({self.attack})"


def lower_than_measured(row: BoardRow, outcomes: Outcomes) -> Iterator[tuple[str, Lower]]:
    """Yield each attack column for which other attacks or the audit give a lower accuracy. ``row`` has one seed."""
    for column, cells in row.cells.items():
        (cell,) = cells.values()
        attack = cell.spec.attack
        if attack is None or cell.status != "ok":
            continue
        own_outcomes = outcomes.of(cell)
        lowest = lowest_known(row, Budget(attack.norm, attack.eps), outcomes, own_outcomes.ids)
        if lowest is None or lowest.right.sum() >= own_outcomes.correct.sum():
            continue
        n_misclassified = {name: int((mask[0] & own_outcomes.correct).sum()) for name, mask in lowest.broken.items()}
        strongest = max(n_misclassified, key=lambda name: n_misclassified[name])
        source = f"{strongest.removeprefix(AUDIT)}, audit" if strongest.startswith(AUDIT) else strongest
        yield column, Lower(float(lowest.accuracy), source)


#: Value of weights_sha for a module without accessible weights. Its structure and behaviour are compared instead.
NO_WEIGHTS = hashlib.sha256().hexdigest()


@dataclass(frozen=True)
class Snapshot:
    """Runs with their per-image outcomes, failed cells, and models at chance level.

    ``replaced`` has superseded cells. A cell is superseded if another cell with the same name takes precedence, which
    has different attack settings or different corrupted images. Superseded cells are neither in ``runs`` nor in
    ``failures``. ``lowest`` has an entry for each cell with a lower known robust accuracy.
    """

    runs: tuple[RunOutcomes, ...]
    failures: Mapping[tuple[str, str], str]  # reason by run name and metric
    at_chance: Mapping[str, str] = field(default_factory=dict)  # such as "no better than chance", by run name
    replaced: Mapping[tuple[str, str], str] = field(default_factory=dict)  # settings by run name and metric
    lowest: Mapping[tuple[str, str], Lower] = field(default_factory=dict)  # lowest accuracy by run name and metric

    def left_out(self) -> list[str]:
        """Return one text per entry of ``replaced``."""
        return [f"{name} {metric} ({settings})" for (name, metric), settings in sorted(self.replaced.items())]


def take_snapshot(store: Store, names: Sequence[str] = ()) -> Snapshot:
    """Take a snapshot of the runs in ``names`` (prefixes of ids, or model:variant[:seed]), or of all runs if empty.

    If several cells fill the same leaderboard entry, the cell with the best evidence is used, as on the leaderboard.
    Raise BenchError for an unknown or ambiguous name, and for a folder without cells. Raise BenchError also for two
    trainings with the same name and seed, because one must not silently replace the other.
    """
    cells, audits = _selected(all_cells(store), store, names), all_audits(store)
    rows = [row for run_id in dict.fromkeys(run.run_id for run, _ in cells) for row in _rows(cells, audits, run_id)]
    if not rows:
        raise BenchError(
            f"no cells under {store.root}; create some by 'bench run --results {shell_word(str(store.root))} …'."
        )
    _check_distinct(rows, store)
    chance = {name_of(row.run): sentence for row in rows if (sentence := row.chance())}
    outcomes = Outcomes(store)
    lowest = {(name_of(row.run), metric): low for row in rows for metric, low in lower_than_measured(row, outcomes)}
    return Snapshot(tuple(_run(row, store) for row in rows), _failures(rows), chance, _replaced(rows), lowest)


def name_of(run: RunOutcomes | RunRecord) -> str:
    """Return the name of a trained network in the gate.

    The name includes the data set, because a folder may hold several data sets.
    """
    return f"{run.dataset} {run.model}:{run.variant}:{run.seed}"


def metrics_of(column: str) -> tuple[str, ...]:
    """Return the metrics of a column: the column itself, and for a standard corruption also the mean over them."""
    return (column, CORRUPTIONS_ACC) if column in STANDARD_COLUMNS else (column,)


def _selected(cells: Sequence[Cell], store: Store, names: Sequence[str]) -> list[Cell]:
    """Return the cells of the runs in ``names``; all cells without names. ``model:variant`` selects all its seeds."""
    if not names:
        return list(cells)
    run_ids: set[str] = set()
    for name in names:
        seeds = {run.run_id for run, _ in cells if name == f"{run.model}:{run.variant}"}
        run_ids |= seeds or {store.find_run(name).run_id}
    return [(run, cell) for run, cell in cells if run.run_id in run_ids]


def _rows(cells: Sequence[Cell], audits: Audits, run_id: str) -> list[BoardRow]:
    """Return the leaderboard rows of one run, one row per test split."""
    return board_rows([(run, cell) for run, cell in cells if run.run_id == run_id], audits)


def _check_distinct(rows: Sequence[BoardRow], store: Store) -> None:
    """Raise BenchError if two rows have the same name."""
    for name, count in Counter(name_of(row.run) for row in rows).items():
        if count > 1:
            ids = ", ".join(sorted(row.run.run_id for row in rows if name_of(row.run) == name))
            raise BenchError(
                f"{store.root} has {count} runs with the name {name} ({ids}) and different training or test settings; "
                "select runs by --run."
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
    """Return the verdict of the audit as one word. Points are left out, because they depend on the attack's seed."""
    record = row.audits.get(row.run.seed)
    counted = [cell for cells in row.cells.values() for cell in cells.values()]
    return None if record is None else verdict_word(record, counted)


def _cells(row: BoardRow, store: Store) -> dict[str, CellOutcomes]:
    standard = standard_cells(row) or []
    outcomes = {column: _outcomes(row, [column], store) for column in row.cells if row.accuracies(column)}
    outcomes = {column: cell for column, cell in outcomes.items() if column not in standard}
    return outcomes | ({CORRUPTIONS_ACC: _outcomes(row, standard, store)} if standard else {})


def _outcomes(row: BoardRow, columns: Sequence[str], store: Store) -> CellOutcomes:
    """Return the outcomes of one metric over ``columns``. All columns were evaluated on the same images."""
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
    """Return the settings that determine the accuracy, besides the weights, the test images and the seed."""
    first = cells[0]
    if first.spec.corruption is not None:
        specs = [cell.spec.corruption.identity() for cell in cells if cell.spec.corruption is not None]
        shown = ("source", "profile", "seed")
        return {**{key: specs[0][key] for key in shown}, "images": fingerprint(specs)[:ID_LENGTH]}
    attack = first.spec.attack
    if attack is None:
        return {}
    settings = {"version": attack.version, "precision": attack.precision, **attack.params}
    library = "" if attack.backend == NATIVE else f" {first.backend_version}"  # native attacks have their own version
    settings |= {"backend": f"{first.backend}{library}"}
    if attack.code_sha:
        settings |= {"code_sha": attack.code_sha}
    return settings | ({} if first.spec.protocol == STANDARD else {"protocol": first.spec.protocol})


def _failures(rows: Sequence[BoardRow]) -> dict[tuple[str, str], str]:
    """Return the failed cells by run name and metric. A failed corruption also fails the mean over corruptions."""
    failures: dict[tuple[str, str], str] = {}
    for row in rows:
        name = name_of(row.run)
        for column in {*row.cells, *row.superseded}:
            for cell in row.failures(column):
                sentence = f"{cell.status}: {cell.reason}" + (f" ({cell.message})" if cell.message else "")
                for metric in metrics_of(column):
                    failures[name, metric] = sentence if metric == column else f"{column} {sentence}"
    return failures


def _replaced(rows: Sequence[BoardRow]) -> dict[tuple[str, str], str]:
    """Return the settings of superseded cells by run name and metric, see :class:`Snapshot`.

    A superseded cell with the same settings as the cell that takes precedence is left out.
    """
    replaced: dict[tuple[str, str], str] = {}
    for row in rows:
        failed = {cell.cell_id for column in row.superseded for cell in row.failures(column)}
        for column, cells in row.superseded.items():
            counted = next(iter(row.cells.get(column, {}).values()), None)
            for cell in cells:
                same = counted is not None and _definition([counted]) == _definition([cell])
                if not same and cell.cell_id not in failed:
                    settings = ", ".join(f"{key} {value}" for key, value in _definition([cell]).items())
                    replaced[name_of(row.run), column] = f"{cell.status}, with {settings}; superseded by another cell"
    return replaced


def choose(snapshot: Snapshot, patterns: Sequence[str]) -> tuple[RunOutcomes, ...]:
    """Return the runs with the cells that match ``patterns``, or with all cells if there are no patterns.

    A pattern is a name as in tolerances, with optional wildcards. Raise BenchError for a pattern without a match and
    for a run without cells. Raise BenchError also for a selected cell that is not ok, because the gate would never
    report that this cell is missing.
    """
    metrics = sorted({metric for run in snapshot.runs for metric in run.cells} | {m for _, m in snapshot.failures})
    for pattern in patterns:
        if not any(_named(metric, [pattern]) for metric in metrics):
            raise unknown_name(
                "cell", pattern, metrics, hint="Use the names of leaderboard.csv; wildcards are allowed."
            )
    selected = {metric for metric in metrics if not patterns or _named(metric, patterns)}
    for (name, metric), why in sorted(snapshot.failures.items()):
        if metric in selected:
            raise BenchError(f"{name} {metric} is not ok ({why}); run it again, or exclude it by --cells.")
    runs = [replace(run, cells={m: cell for m, cell in run.cells.items() if m in selected}) for run in snapshot.runs]
    empty = [name_of(run) for run in runs if not run.cells]
    if empty:
        raise BenchError(f"{', '.join(empty)}: no cell matches, so nothing would be checked; extend --cells or --run.")
    return tuple(runs)


def _named(metric: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names_of(metric) for pattern in patterns)
