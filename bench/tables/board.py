"""What stands on the board: cells grouped by configuration, their means over seeds, and the places."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from bench.auditing.marks import PASSED, findings_for, verdict, verdict_of
from bench.chance import CHANCE, is_at_chance
from bench.core.specs import AuditRecord, EvalRecord, RunRecord, fingerprint
from bench.core.vocabulary import CLEAN
from bench.core.words import counted
from bench.tables.corruption_choice import choose
from bench.tables.results import Audits, Cell
from bench.tables.standing import evidence, strength


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

    def chance(self) -> str:
        """That the clean accuracy is no better than chance; empty where it is.

        One such seed is enough: what learnt nothing has nothing to lose under attack, and lifts the mean of the others.
        Where the mean is no better, the worst seed is not either.
        """
        found = [cell for cell in self.cells.get(CLEAN, {}).values() if is_at_chance(self.run, cell)]
        some = "" if len(found) == len(self.seeds) else f"{len(found)} of {counted(len(self.seeds), 'seed')} "
        return f"{some}{CHANCE}" if found else ""

    def acquitted(self, column: str) -> bool:
        """Whether every cell of the column was audited by what could have flagged it, and was not."""
        cells = self.cells.get(column, {})
        return bool(cells) and all(verdict(self.audits.get(seed), cell) == PASSED for seed, cell in cells.items())

    def doubtful(self) -> bool:
        """Whether something speaks against the number of an attack or its worth, or nobody knows.

        That is so where an audit failed, and where some seeds have one and others none: a flag may be missing.
        """
        partly = bool(self.audits) and set(self.audits) != self.seeds
        if self.chance() or partly or any(record.status != "ok" for record in self.audits.values()):
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

    Corruptions are first held to one set of images a row, see :func:`bench.tables.corruption_choice.choose`.
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


def row_names(rows: Sequence[BoardRow]) -> list[str]:
    """``model:variant``, with the data set and the hashes of its test split and of the configuration where needed."""
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
    whose audit failed or whose clean accuracy is no better than chance, among them unless ``rank_flagged``.

    A row has a place when it has an ok cell in every column that any row has, by the attack that counts there, as one
    name may stand for several, and over as many images as any row has of that. Corruptions, which have no part in the
    order, count only where they were tried and are not ok.
    """
    corrupted = {column for row in group for column in row.corrupted()}
    columns = {column for row in group for column in row.cells} - corrupted | {CLEAN}
    counts = {column: _that_counts(group, column) for column in columns}
    held = {column: [row for row in group if set(_by_attack(row, column)) == {counts[column]}] for column in columns}
    most = {column: max((row.images(column) or 0 for row in rows), default=0) for column, rows in held.items()}
    complete = [
        row
        for row in group
        if all((row.images(c) or -1) == most[c] and any(row is r for r in held[c]) for c in columns)
        and not any(row.failed(c) for c in corrupted)
        and (rank_flagged or not row.doubtful())
    ]
    complete.sort(key=lambda row: (*_score(row), _name(row)))
    scores = [_score(row) for row in complete]
    rest = sorted((row for row in group if not any(row is c for c in complete)), key=_name)
    return [*((scores.index(_score(row)) + 1, row) for row in complete), *((None, row) for row in rest)]


def _that_counts(group: Sequence[BoardRow], column: str) -> str:
    """Hash of the attack that the rows are held to in a column; "" where none has an accuracy.

    The newest version and a search in full precision, as in :func:`evidence`; then that of most cells, then the newest.
    """
    found: dict[str, list[EvalRecord]] = defaultdict(list)
    for row in group:
        for sha, cells in _by_attack(row, column).items():
            found[sha] += cells if row.accuracies(column) else ()

    def strength(sha: str) -> tuple[int, int, bool, int, str]:
        version, sampling, _, exact, _ = evidence(found[sha][0])[1:]
        return version, sampling, exact, len(found[sha]), max(cell.created for cell in found[sha])

    return max((sha for sha in found if found[sha]), key=strength, default="")


def _by_attack(row: BoardRow, column: str) -> dict[str, list[EvalRecord]]:
    """The cells of a column by the hash of their attack; several where the seeds were attacked otherwise."""
    found: dict[str, list[EvalRecord]] = defaultdict(list)
    for cell in row.cells.get(column, {}).values():
        found[fingerprint(cell.spec.attack)].append(cell)
    return found


def _score(row: BoardRow) -> tuple[Fraction, Fraction]:
    return -robust_accuracy(row), -(_exact(row, CLEAN) or Fraction(0))


def _exact(row: BoardRow, column: str) -> Fraction | None:
    """The mean of a column by its counts: the same in any order of the seeds, which a sum of shares is not."""
    if row.mean(column) is None:
        return None
    cells = row.cells[column].values()
    return Fraction(sum(cell.n_correct or 0 for cell in cells), sum(cell.n for cell in cells))


def _name(row: BoardRow) -> tuple[str, ...]:
    return row.run.model, row.run.variant, row.run.config_sha


def robust_accuracy(row: BoardRow) -> Fraction:
    """Mean over the budgets of the lowest accuracy that any attack left at that budget; clean without an attack."""
    lowest: dict[tuple[str, float], Fraction] = {}
    for column, cells in row.cells.items():
        attack, mean = next(iter(cells.values())).spec.attack, _exact(row, column)
        if attack is not None and mean is not None:
            budget = (attack.norm, attack.eps)
            lowest[budget] = min(mean, lowest.get(budget, mean))
    return sum(lowest.values(), Fraction(0)) / len(lowest) if lowest else _exact(row, CLEAN) or Fraction(0)
