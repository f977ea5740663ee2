"""What stands on the board: cells grouped by configuration, their means over seeds, and the places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.auditing.marks import findings_for, verdict_of
from bench.core.specs import AuditRecord, EvalRecord, RunRecord
from bench.core.vocabulary import CLEAN
from bench.corruption_choice import choose
from bench.results import Audits, Cell
from bench.standing import evidence, strength


@dataclass
class BoardRow:
    """All repeats of one configuration on one test split: its cells by metric column, one for each seed."""

    run: RunRecord
    data_sha: str
    seeds: set[int] = field(default_factory=set)
    cells: dict[str, dict[int, EvalRecord]] = field(default_factory=lambda: defaultdict(dict))
    audits: dict[int, AuditRecord] = field(default_factory=dict)  # of each seed that has one
    outdone: dict[str, list[EvalRecord]] = field(default_factory=lambda: defaultdict(list))  # what others stand for
    missed: set[str] = field(default_factory=set)  # ids of outdone cells that would count if they were ok

    def accuracies(self, column: str) -> list[float]:
        """Fractions over the seeds; empty unless every seed has an ok cell over the same number of images."""
        cells = [self.cells[column][seed] for seed in sorted(self.cells.get(column, {}))]
        counts = [cell.n_correct for cell in cells if cell.status == "ok" and cell.n_correct is not None]
        if len(counts) < len(self.seeds) or len({cell.n for cell in cells}) != 1:
            return []
        return [count / cell.n for count, cell in zip(counts, cells, strict=True)]

    def mean(self, column: str) -> float | None:
        found = self.accuracies(column)
        return sum(found) / len(found) if found else None

    def images(self, column: str) -> int | None:
        """The number of images of a column that has an accuracy."""
        return next(iter(self.cells[column].values())).n if self.accuracies(column) else None

    def flags(self, column: str) -> list[str]:
        """The flags of the column's cells and of what an audit says of them, of any seed."""
        cells = self.cells.get(column, {})
        found = {flag for cell in cells.values() for flag in cell.flags}
        for seed, cell in cells.items():
            found |= {finding.flag for finding in findings_for(self.audits.get(seed), cell)}
        return sorted(found)

    def verdict(self) -> str | None:
        """What an audit of its seeds says, see :func:`bench.auditing.marks.verdict_of`."""
        standing = {s: [cells[s] for cells in self.cells.values() if s in cells] for s in self.seeds}
        return verdict_of(self.audits, standing)

    def doubtful(self) -> bool:
        """Whether something speaks against the number of an attack, or nobody knows as an audit went wrong."""
        if any(record.status != "ok" for record in self.audits.values()):
            return True
        attacked = (column for column, cells in self.cells.items() if any(c.spec.attack for c in cells.values()))
        return any(self.flags(column) for column in attacked)

    def failed(self, column: str) -> bool:
        """Whether a cell of the column was tried and is not ok."""
        return bool(self.failures(column))

    def failures(self, column: str) -> list[EvalRecord]:
        """Cells that are not ok: those that stand in the column, and those that would if they were."""
        missed = (cell for cell in self.outdone.get(column, []) if cell.cell_id in self.missed)
        return [cell for cell in (*self.cells.get(column, {}).values(), *missed) if cell.status != "ok"]

    def corrupted(self) -> set[str]:
        """The columns of corruptions, those among them in which no cell counts."""
        found = (cell for cells in self.cells.values() for cell in cells.values())
        outdone = (cell for cells in self.outdone.values() for cell in cells)
        return {cell.spec.name for cell in (*found, *outdone) if cell.spec.corruption is not None}


def board_rows(cells: Iterable[Cell], audits: Audits | None = None) -> list[BoardRow]:
    """Group cells by configuration and test split; of several cells in one place the best evidence counts.

    Corruptions are first held to one set of images a row, see :func:`bench.corruption_choice.choose`.
    """
    rows: dict[tuple[str, ...], BoardRow] = {}
    found: dict[tuple[str, ...], list[EvalRecord]] = defaultdict(list)
    for run, cell in cells:
        key = (run.dataset, run.model, run.variant, run.config_sha, cell.spec.data_sha)
        row = rows.setdefault(key, BoardRow(run, cell.spec.data_sha))
        found[key].append(cell)
        row.seeds.add(cell.spec.seed)
        if audits and (run.run_id, cell.spec.data_sha) in audits:
            row.audits[cell.spec.seed] = audits[run.run_id, cell.spec.data_sha]
    for name, row in rows.items():
        _fill(row, found[name])
    return list(rows.values())


def _fill(row: BoardRow, cells: Sequence[EvalRecord]) -> None:
    others, missed = choose(cells)
    row.missed |= missed
    left_out = {cell.cell_id for cell in others}
    places: dict[tuple[str, int], list[EvalRecord]] = defaultdict(list)
    for cell in cells:
        if cell.cell_id in left_out:
            row.outdone[cell.spec.name].append(cell)
        else:
            places[cell.spec.name, cell.spec.seed].append(cell)
    for (column, seed), rivals in places.items():
        standing = row.cells[column][seed] = max(rivals, key=evidence)
        outdone = [cell for cell in rivals if cell is not standing]
        row.outdone[column] += outdone
        row.missed |= {cell.cell_id for cell in outdone if strength(cell) > strength(standing)}


def ranked(group: Sequence[BoardRow], *, rank_flagged: bool = False) -> list[tuple[int | None, BoardRow]]:
    """Rows of one test split with their places, the unranked ones last: those against whose numbers something speaks,
    or whose audit failed, among them unless ``rank_flagged``.

    A row has a place when it has an ok cell in every column that any row has, over as many images as any row has in it.
    Corruptions, which have no part in the order, count only where they were tried and are not ok.
    """
    corrupted = {column for row in group for column in row.corrupted()}
    columns = {column for row in group for column in row.cells} - corrupted | {CLEAN}
    most = {column: max((row.images(column) or 0 for row in group), default=0) for column in columns}
    complete = [
        row
        for row in group
        if all((row.images(c) or -1) == most[c] for c in columns)
        and not any(row.failed(c) for c in corrupted)
        and (rank_flagged or not row.doubtful())
    ]
    complete.sort(key=lambda row: (*_score(row), _name(row)))
    scores = [_score(row) for row in complete]
    rest = sorted((row for row in group if not any(row is c for c in complete)), key=_name)
    return [*((scores.index(_score(row)) + 1, row) for row in complete), *((None, row) for row in rest)]


def _score(row: BoardRow) -> tuple[float, float]:
    return -robust_accuracy(row), -(row.mean(CLEAN) or 0.0)


def _name(row: BoardRow) -> tuple[str, ...]:
    return row.run.model, row.run.variant, row.run.config_sha


def robust_accuracy(row: BoardRow) -> float:
    """Mean over the budgets of the lowest accuracy that any attack left at that budget; clean without an attack."""
    lowest: dict[tuple[str, float], float] = {}
    for column, cells in row.cells.items():
        attack, mean = next(iter(cells.values())).spec.attack, row.mean(column)
        if attack is not None and mean is not None:
            budget = (attack.norm, attack.eps)
            lowest[budget] = min(mean, lowest.get(budget, 1.0))
    return sum(lowest.values()) / len(lowest) if lowest else row.mean(CLEAN) or 0.0
