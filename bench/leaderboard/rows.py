"""Rows of the leaderboard: cells grouped by configuration, and their means over seeds.

Accuracies on differently drawn samples of images estimate different quantities. Version 1 of the sampling drew equally
many images per class. On an unbalanced split its accuracy does not estimate that of the split, and must not be
averaged, compared or ranked with others.
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
    """Values by column. A missing column has the value ``empty``, and reading it does not insert it."""

    def __init__(self, values: Mapping[str, V], empty: V) -> None:
        super().__init__(values)
        self._empty = empty

    def __missing__(self, column: str) -> V:
        return self._empty


def _columns(values: Mapping[str, V], empty: V) -> Mapping[str, V]:
    """Return ``values`` by column, read-only: a metric cannot change the row that other metrics are computed from."""
    return MappingProxyType(_Columns(values, empty))


NO_CELLS: Mapping[int, EvalRecord] = MappingProxyType({})


@dataclass
class BoardRow:
    """All seeds of one configuration on one test split, with one cell per metric column and seed."""

    run: RunRecord
    data_sha: str
    seeds: set[int] = field(default_factory=set)
    runs: dict[int, RunRecord] = field(default_factory=dict)  # of each seed
    diagnoses: dict[int, DiagnosisRecord] = field(default_factory=dict)  # of each seed that has one
    cells: Mapping[str, Mapping[int, EvalRecord]] = field(default_factory=lambda: _columns({}, NO_CELLS))  # read-only
    audits: dict[int, AuditRecord] = field(default_factory=dict)  # of each seed that has one
    superseded: Mapping[str, Sequence[EvalRecord]] = field(default_factory=lambda: _columns({}, ()))  # read-only
    missed: set[str] = field(default_factory=set)  # ids of superseded cells that would be selected if they were ok

    def accuracies(self, column: str) -> list[float]:
        """Return the accuracy of every seed in ``column``, as fractions in the order of the seeds.

        Empty unless every seed has an ok cell, all on the same number of images from the same sampling.
        """
        cells = [self.cells[column][seed] for seed in sorted(self.cells.get(column, {}))]
        counts = [cell.n_correct for cell in cells if cell.status == "ok" and cell.n_correct is not None]
        if len(counts) < len(self.seeds) or len({(cell.n, drawn(cell)) for cell in cells}) != 1:
            return []
        return [count / cell.n for count, cell in zip(counts, cells, strict=True)]

    def mean(self, column: str) -> float | None:
        """Return the mean of :meth:`accuracies`, a fraction; None if it is empty."""
        found = self.accuracies(column)
        return sum(found) / len(found) if found else None

    def images(self, column: str) -> int | None:
        """Return the number of images of a column; None if it has no accuracy."""
        return next(iter(self.cells[column].values())).n if self.accuracies(column) else None

    def flags(self, column: str) -> list[str]:
        """Return the flags of the cells of a column and of the audits that apply to them, over all seeds.

        For a seed at chance level only the findings of the audit about the model itself are included.
        """
        cells, at_chance = self.cells.get(column, {}), self.seeds_at_chance()
        found = {flag for cell in cells.values() for flag in cell.flags}
        for seed, cell in cells.items():
            record = self.audits.get(seed)
            if seed in at_chance:
                found |= {finding.flag for finding in record.findings} if record else set()
            else:
                found |= {finding.flag for finding in findings_for(record, cell)}
        return sorted(found)

    def leaked(self) -> int | None:
        """Return the largest number of images of any cell that are also in the training split; None if unknown."""
        found = [cell.leaked for cells in self.cells.values() for cell in cells.values()]
        return max((n for n in found if n is not None), default=None)

    def verdict(self) -> str | None:
        """Return the verdict of the audits of all seeds; see :func:`bench.results.audit_verdict.verdict_of`."""
        cells = {s: [column[s] for column in self.cells.values() if s in column] for s in self.seeds}
        return verdict_of(self.audits, cells, at_chance=bool(self.chance()))

    def seeds_at_chance(self) -> set[int]:
        """Return the seeds with a clean accuracy no better than chance."""
        return {seed for seed, cell in self.cells.get(CLEAN, {}).items() if is_at_chance(self.runs[seed], cell)}

    def chance(self) -> str:
        """Return a note if the clean accuracy of any seed is no better than chance; otherwise "".

        One such seed is enough: a network at chance level loses little accuracy under attack, and would raise the mean
        over the seeds.
        """
        found = self.seeds_at_chance()
        some = "" if len(found) == len(self.seeds) else f"{len(found)} of {pluralize(len(self.seeds), 'seed')} "
        return f"{some}{CHANCE}" if found else ""

    def acquitted(self, column: str) -> bool:
        """Check whether every cell of the column passed its audit."""
        cells = self.cells.get(column, {})
        passed = all(verdict(self.audits.get(seed), cell) == PASSED for seed, cell in cells.items())
        return bool(cells) and passed and not self.chance()

    def doubtful(self) -> bool:
        """Check whether the robust accuracies of the row are not reliable.

        True for a row at chance level, with a flag in any attack column, with a failed audit, or with audits of some
        but not all seeds.
        """
        if self.chance() or self.audit_lacks():
            return True
        attacked = (column for column, cells in self.cells.items() if any(c.spec.attack for c in cells.values()))
        return any(self.flags(column) for column in attacked)

    def audit_lacks(self) -> bool:
        """Check whether an audit failed, or only some of the seeds were audited."""
        partly = bool(self.audits) and set(self.audits) != self.seeds
        return partly or any(record.status != "ok" for record in self.audits.values())

    def failed(self, column: str) -> bool:
        """Check whether a cell of the column was attempted and is not ok."""
        return bool(self.failures(column))

    def failures(self, column: str) -> list[EvalRecord]:
        """Return the cells that are not ok: those in the column, and superseded ones that would replace them if ok."""
        missed = (cell for cell in self.superseded.get(column, []) if cell.cell_id in self.missed)
        return [cell for cell in (*self.cells.get(column, {}).values(), *missed) if cell.status != "ok"]

    def corrupted(self) -> set[str]:
        """Return the corruption columns of all cells, including superseded ones."""
        found = (cell for cells in self.cells.values() for cell in cells.values())
        superseded = (cell for cells in self.superseded.values() for cell in cells)
        return {cell.spec.name for cell in (*found, *superseded) if cell.spec.corruption is not None}


def board_rows(
    cells: Iterable[Cell], audits: Audits | None = None, diagnoses: Mapping[str, DiagnosisRecord] | None = None
) -> list[BoardRow]:
    """Group cells by configuration and test split.

    Among several cells of one column and seed, the one with the highest :func:`~bench.results.precedence.evidence` is
    selected. Corruption cells are first restricted to one set of images per row, see
    :func:`bench.leaderboard.corruption_choice.choose`. ``diagnoses`` are by run id.
    """
    rows: dict[tuple[str, ...], BoardRow] = {}
    found: dict[tuple[str, ...], list[EvalRecord]] = defaultdict(list)
    for run, cell in cells:
        key = (run.dataset, run.model, run.variant, run.config_sha, cell.spec.data_sha)
        row = rows.setdefault(key, BoardRow(run, cell.spec.data_sha))
        found[key].append(cell)
        row.seeds.add(cell.spec.seed)
        row.runs[cell.spec.seed] = run
        if diagnoses and run.run_id in diagnoses:
            row.diagnoses[cell.spec.seed] = diagnoses[run.run_id]
        if audits and (run.run_id, cell.spec.data_sha) in audits:
            row.audits[cell.spec.seed] = audits[run.run_id, cell.spec.data_sha]
    for name, row in rows.items():
        _fill(row, found[name])
    return list(rows.values())


def row_names(rows: Sequence[BoardRow]) -> list[str]:
    """Return a unique name per row: ``model:variant``, extended by data set, split hash and configuration if needed."""
    sets = {(row.run.dataset, row.data_sha) for row in rows}
    datasets = {dataset for dataset, _ in sets}
    repeats = Counter((row.data_sha, row.run.model, row.run.variant) for row in rows)
    names = []
    for row in rows:
        run = row.run
        before = [run.dataset] if len(datasets) > 1 else []
        before += [row.data_sha] if len([s for s in sets if s[0] == run.dataset]) > 1 else []
        after = [run.config_sha] if repeats[row.data_sha, run.model, run.variant] > 1 else []
        names.append(":".join([*before, run.model, run.variant, *after]))
    return names


def _fill(row: BoardRow, cells: Sequence[EvalRecord]) -> None:
    others, missed = choose(cells)
    row.missed |= missed
    left_out = {cell.cell_id for cell in others}
    places: dict[tuple[str, int], list[EvalRecord]] = defaultdict(list)
    chosen: dict[str, dict[int, EvalRecord]] = defaultdict(dict)
    behind: dict[str, list[EvalRecord]] = defaultdict(list)
    for cell in cells:
        if cell.cell_id in left_out:
            behind[cell.spec.name].append(cell)
        else:
            places[cell.spec.name, cell.spec.seed].append(cell)
    for (column, seed), candidates in places.items():
        selected = chosen[column][seed] = max(candidates, key=evidence)
        superseded = [cell for cell in candidates if cell is not selected]
        behind[column] += superseded
        row.missed |= {cell.cell_id for cell in superseded if strength(cell) > strength(selected)}
    row.cells = _columns({column: MappingProxyType(found) for column, found in chosen.items()}, NO_CELLS)
    row.superseded = _columns({column: tuple(found) for column, found in behind.items()}, ())


EQUAL_PER_CLASS = "equally many images per class"


def is_outdated(cell: EvalRecord, outcomes: Outcomes) -> bool:
    """Check whether the images of a limited cell were drawn by an older version of the sampling."""
    return cell.spec.limit is not None and cell.spec.sampling < outcomes.sampling(cell.spec.data_sha)


def subset_of(cells: Iterable[EvalRecord], outcomes: Outcomes) -> str:
    """Return ``EQUAL_PER_CLASS`` if any cell is on an outdated sample; otherwise ""."""
    return EQUAL_PER_CLASS if any(is_outdated(cell, outcomes) for cell in cells) else ""


def drawn_alike(row: BoardRow, columns: Sequence[str], outcomes: Outcomes) -> list[str]:
    """Return the columns that are not on outdated samples; if all are, all columns."""
    outdated = set(outdated_columns(row, outcomes))
    return [column for column in columns if column not in outdated] or list(columns)


def outdated_columns(row: BoardRow, outcomes: Outcomes) -> list[str]:
    """Return the columns of the board with a cell on an outdated sample."""
    return [column for column, cells in row.cells.items() if subset_of(cells.values(), outcomes)]
