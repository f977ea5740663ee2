"""Rows of the leaderboard: cells grouped by configuration, with means over seeds.

Accuracies on samples of different sampling versions estimate different quantities. Version 1 of the sampling drew the
same number of images from each class. On an unbalanced split, the accuracy on such a sample does not estimate the
accuracy on the split. It must not be averaged, compared or ranked with other accuracies.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

from bench.core.records import AuditRecord, DiagnosisRecord, EvalRecord, RunRecord
from bench.core.vocabulary import CLEAN
from bench.core.words import pluralize
from bench.leaderboard.corruption_choice import choose
from bench.results.audit_verdict import PASSED, findings_for, verdict, verdict_of
from bench.results.chance_level import CHANCE, is_at_chance
from bench.results.outcomes import Outcomes
from bench.results.precedence import drawn, evidence, strength
from bench.results.results_csv import Audits, Cell

V = TypeVar("V")


class _Columns(dict[str, V], Generic[V]):
    """Values by column. For a missing column, ``empty`` is returned but not inserted."""

    def __init__(self, values: Mapping[str, V], empty: V) -> None:
        super().__init__(values)
        self._empty = empty

    def __missing__(self, column: str) -> V:
        return self._empty


def _columns(values: Mapping[str, V], empty: V) -> Mapping[str, V]:
    """Return a read-only mapping of ``values``, so that a metric cannot change the input of other metrics."""
    return MappingProxyType(_Columns(values, empty))


NO_CELLS: Mapping[int, EvalRecord] = MappingProxyType({})


@dataclass
class BoardRow:
    """All seeds of one configuration on one test split, with one cell per column and seed.

    ``cells`` are by column and seed, and ``superseded`` cells by column. Both mappings are read-only.
    """

    run: RunRecord
    data_sha: str
    seeds: set[int] = field(default_factory=set)
    runs: dict[int, RunRecord] = field(default_factory=dict)  # by seed
    diagnoses: dict[int, DiagnosisRecord] = field(default_factory=dict)  # by seed
    cells: Mapping[str, Mapping[int, EvalRecord]] = field(default_factory=lambda: _columns({}, NO_CELLS))  # read-only
    audits: dict[int, AuditRecord] = field(default_factory=dict)  # by seed
    superseded: Mapping[str, Sequence[EvalRecord]] = field(default_factory=lambda: _columns({}, ()))  # by column
    missed: set[str] = field(default_factory=set)  # ids of superseded cells that would be selected if they were ok

    def accuracies(self, column: str) -> list[float]:
        """Return the accuracies of all seeds in ``column``, as fractions in the order of the seeds.

        Return an empty list unless every seed has an ok cell, with the same number of images from the same sampling.
        """
        cells = [self.cells[column][seed] for seed in sorted(self.cells.get(column, {}))]
        counts = [cell.n_correct for cell in cells if cell.status == "ok" and cell.n_correct is not None]
        if len(counts) < len(self.seeds) or len({(cell.n, drawn(cell)) for cell in cells}) != 1:
            return []
        return [count / cell.n for count, cell in zip(counts, cells, strict=True)]

    def mean(self, column: str) -> float | None:
        """Return the mean of :meth:`accuracies` as a fraction; None if it is empty."""
        accuracies = self.accuracies(column)
        return sum(accuracies) / len(accuracies) if accuracies else None

    def images(self, column: str) -> int | None:
        """Return the number of images of a column; None if the column has no accuracy."""
        return next(iter(self.cells[column].values())).n if self.accuracies(column) else None

    def flags(self, column: str) -> list[str]:
        """Return the flags of the cells of a column and of their audits, over all seeds.

        For a seed at chance level, only the findings of the audit about the model itself are included.
        """
        cells, at_chance = self.cells.get(column, {}), self.seeds_at_chance()
        flags = {flag for cell in cells.values() for flag in cell.flags}
        for seed, cell in cells.items():
            record = self.audits.get(seed)
            if seed in at_chance:
                flags |= {finding.flag for finding in record.findings} if record else set()
            else:
                flags |= {finding.flag for finding in findings_for(record, cell)}
        return sorted(flags)

    def leaked(self) -> int | None:
        """Return the largest number of images of a cell that are also in the training split; None if unknown."""
        counts = [cell.leaked for cells in self.cells.values() for cell in cells.values()]
        return max((n for n in counts if n is not None), default=None)

    def verdict(self) -> str | None:
        """Return the verdict of the audits of all seeds; see :func:`bench.results.audit_verdict.verdict_of`."""
        cells = {s: [column[s] for column in self.cells.values() if s in column] for s in self.seeds}
        return verdict_of(self.audits, cells, at_chance=bool(self.chance()))

    def seeds_at_chance(self) -> set[int]:
        """Return the seeds with a clean accuracy at chance level."""
        return {seed for seed, cell in self.cells.get(CLEAN, {}).items() if is_at_chance(self.runs[seed], cell)}

    def chance(self) -> str:
        """Return a note if the clean accuracy of any seed is at chance level; otherwise "".

        A single seed is sufficient, because a network at chance level loses little accuracy under attack and may
        increase the mean robust accuracy over seeds.
        """
        seeds = self.seeds_at_chance()
        prefix = "" if len(seeds) == len(self.seeds) else f"{len(seeds)} of {pluralize(len(self.seeds), 'seed')} "
        return f"{prefix}{CHANCE}" if seeds else ""

    def acquitted(self, column: str) -> bool:
        """Check whether every cell of the column passed its audit."""
        cells = self.cells.get(column, {})
        passed = all(verdict(self.audits.get(seed), cell) == PASSED for seed, cell in cells.items())
        return bool(cells) and passed and not self.chance()

    def doubtful(self) -> bool:
        """Check whether the robust accuracies of the row may be unreliable.

        True for a row at chance level, with a flag in any attack column, with a failed audit, or with audits of only
        some seeds.
        """
        if self.chance() or self.audit_lacks():
            return True
        attacked = (column for column, cells in self.cells.items() if any(c.spec.attack for c in cells.values()))
        return any(self.flags(column) for column in attacked)

    def audit_lacks(self) -> bool:
        """Check whether an audit failed, or only some seeds were audited."""
        incomplete = bool(self.audits) and set(self.audits) != self.seeds
        return incomplete or any(record.status != "ok" for record in self.audits.values())

    def failed(self, column: str) -> bool:
        """Check whether a cell of the column was attempted and is not ok."""
        return bool(self.failures(column))

    def failures(self, column: str) -> list[EvalRecord]:
        """Return the cells of the column that are not ok, and superseded cells that would be selected if ok."""
        missed = (cell for cell in self.superseded.get(column, []) if cell.cell_id in self.missed)
        return [cell for cell in (*self.cells.get(column, {}).values(), *missed) if cell.status != "ok"]

    def corrupted(self) -> set[str]:
        """Return the corruption columns of all cells, including superseded cells."""
        selected = (cell for cells in self.cells.values() for cell in cells.values())
        superseded = (cell for cells in self.superseded.values() for cell in cells)
        return {cell.spec.name for cell in (*selected, *superseded) if cell.spec.corruption is not None}


def board_rows(
    cells: Iterable[Cell], audits: Audits | None = None, diagnoses: Mapping[str, DiagnosisRecord] | None = None
) -> list[BoardRow]:
    """Group cells by configuration and test split.

    For each column and seed, the cell with the highest :func:`~bench.results.precedence.evidence` is selected. Before
    this selection, corruption cells are restricted to one set of images per row; see
    :func:`bench.leaderboard.corruption_choice.choose`. The keys of ``diagnoses`` are run ids.
    """
    rows: dict[tuple[str, ...], BoardRow] = {}
    cells_by_row: dict[tuple[str, ...], list[EvalRecord]] = defaultdict(list)
    for run, cell in cells:
        key = (run.dataset, run.model, run.variant, run.config_sha, cell.spec.data_sha)
        row = rows.setdefault(key, BoardRow(run, cell.spec.data_sha))
        cells_by_row[key].append(cell)
        row.seeds.add(cell.spec.seed)
        row.runs[cell.spec.seed] = run
        if diagnoses and run.run_id in diagnoses:
            row.diagnoses[cell.spec.seed] = diagnoses[run.run_id]
        if audits and (run.run_id, cell.spec.data_sha) in audits:
            row.audits[cell.spec.seed] = audits[run.run_id, cell.spec.data_sha]
    for name, row in rows.items():
        _fill(row, cells_by_row[name])
    return list(rows.values())


def row_names(rows: Sequence[BoardRow]) -> list[str]:
    """Return a unique name per row: ``model:variant``, extended by data set, split hash and configuration if needed."""
    splits = {(row.run.dataset, row.data_sha) for row in rows}
    datasets = {dataset for dataset, _ in splits}
    n_rows = Counter((row.data_sha, row.run.model, row.run.variant) for row in rows)
    names = []
    for row in rows:
        run = row.run
        prefixes = [run.dataset] if len(datasets) > 1 else []
        prefixes += [row.data_sha] if len([s for s in splits if s[0] == run.dataset]) > 1 else []
        suffixes = [run.config_sha] if n_rows[row.data_sha, run.model, run.variant] > 1 else []
        names.append(":".join([*prefixes, run.model, run.variant, *suffixes]))
    return names


def _fill(row: BoardRow, cells: Sequence[EvalRecord]) -> None:
    excluded, missed = choose(cells)
    row.missed |= missed
    excluded_ids = {cell.cell_id for cell in excluded}
    candidates_by_entry: dict[tuple[str, int], list[EvalRecord]] = defaultdict(list)
    selected_cells: dict[str, dict[int, EvalRecord]] = defaultdict(dict)
    superseded_cells: dict[str, list[EvalRecord]] = defaultdict(list)
    for cell in cells:
        if cell.cell_id in excluded_ids:
            superseded_cells[cell.spec.name].append(cell)
        else:
            candidates_by_entry[cell.spec.name, cell.spec.seed].append(cell)
    for (column, seed), candidates in candidates_by_entry.items():
        selected = selected_cells[column][seed] = max(candidates, key=evidence)
        superseded = [cell for cell in candidates if cell is not selected]
        superseded_cells[column] += superseded
        row.missed |= {cell.cell_id for cell in superseded if strength(cell) > strength(selected)}
    row.cells = _columns({column: MappingProxyType(by_seed) for column, by_seed in selected_cells.items()}, NO_CELLS)
    row.superseded = _columns({column: tuple(records) for column, records in superseded_cells.items()}, ())


EQUAL_PER_CLASS = "equally many images per class"


def is_outdated(cell: EvalRecord, outcomes: Outcomes) -> bool:
    """Check whether a cell has a limit and its images were drawn by an older version of the sampling."""
    return cell.spec.limit is not None and cell.spec.sampling < outcomes.sampling(cell.spec.data_sha)


def subset_of(cells: Iterable[EvalRecord], outcomes: Outcomes) -> str:
    """Return ``EQUAL_PER_CLASS`` if any cell is on an outdated sample; otherwise ""."""
    return EQUAL_PER_CLASS if any(is_outdated(cell, outcomes) for cell in cells) else ""


def drawn_alike(row: BoardRow, columns: Sequence[str], outcomes: Outcomes) -> list[str]:
    """Return the columns that are not on outdated samples; all columns if all are on outdated samples."""
    outdated = set(outdated_columns(row, outcomes))
    return [column for column in columns if column not in outdated] or list(columns)


def outdated_columns(row: BoardRow, outcomes: Outcomes) -> list[str]:
    """Return the columns with a cell on an outdated sample."""
    return [column for column, cells in row.cells.items() if subset_of(cells.values(), outcomes)]
