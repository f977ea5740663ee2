"""Compute the lowest known robust accuracy at a budget: the worst case per image over all verified attacks.

An image is misclassified within ε if any attack in this norm found an adversarial image within distance ε. These are
the attacks of the run, with any protocol, version, precision or budget, and the attacks of the audit. All adversarial
images are verified (ball, box, float32 prediction). An attack that was not run on an image is ignored for this image.

For the ranking, only attacks that were run on all rows are counted. Otherwise a row would be ranked lower because it
was attacked or audited more than the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.core.records import AuditRecord, BudgetAudit, EvalRecord
from bench.core.specs import Norm, fingerprint
from bench.leaderboard.rows import BoardRow, board_rows, drawn_alike
from bench.results.audit_verdict import TRANSFER
from bench.results.outcomes import Ids, Outcome, Outcomes, common_images
from bench.results.precedence import FEWEST, drawn
from bench.results.results_csv import Audits, Budget, Cell, Known, LowestKnown


class Counted(NamedTuple):
    """Selection of the attacks that are counted; by default all attacks."""

    columns: Collection[str] | None = None  # attack columns; None: all cells, including superseded cells
    audit: bool = True  # True if the attacks of the audits are counted
    without: tuple[str, ...] = ()  # names of audit attacks that are not counted


EVERYTHING = Counted()


def common(rows: Sequence[BoardRow], columns: Collection[str]) -> Counted:
    """Return the attacks that were run on all rows. All rows must have the columns ``columns``.

    The audits are counted if all rows have an audit with the same version, level, budgets and images. If the transfer
    attack from the baseline was run on some rows only, it is not counted.
    """
    audits = [row.audits.get(seed) for row in rows for seed in row.seeds]
    kinds = {_kind_of_audit(audit) for audit in audits}
    if len(kinds) != 1 or None in kinds:
        return Counted(columns, audit=False)
    with_baseline = {bool(budget.baseline_run) for audit in audits if audit for budget in audit.budgets}
    return Counted(columns, without=(TRANSFER,) if len(with_baseline) > 1 else ())


def _kind_of_audit(record: AuditRecord | None) -> str | None:
    """Return a hash of the version, level, budgets and images of an audit; None if it failed or stored no images."""
    if record is None or record.status != "ok" or not record.budgets or not all(b.images for b in record.budgets):
        return None
    budgets = sorted((budget.norm, budget.eps, budget.images) for budget in record.budgets)
    return fingerprint([record.version, record.level, budgets])


def tried(row: BoardRow, norm: Norm) -> str:
    """Return a hash of all attacks in ``norm`` that were run on the row, including those of the audit."""
    return fingerprint(sorted({fingerprint(_of_seed(row, seed, norm)) for seed in row.seeds}))


def _of_seed(row: BoardRow, seed: int, norm: Norm) -> list[Any]:
    cells = [cells[seed] for cells in row.cells.values() if seed in cells]
    cells += [cell for superseded in row.superseded.values() for cell in superseded if cell.spec.seed == seed]
    attacks = sorted(
        (cell.spec.name, fingerprint(cell.spec.attack), drawn(cell), cell.n)
        for cell in cells
        if cell.status == "ok" and cell.spec.attack is not None and cell.spec.attack.norm == norm
    )
    audit = row.audits.get(seed)
    with_baseline = [] if audit is None else sorted({bool(budget.baseline_run) for budget in audit.budgets})
    return [attacks, None if audit is None else _kind_of_audit(audit) or "incomplete", with_baseline]


AUDIT = "audit:"  # prefix of the names of audit attacks
NO_IMAGES = "the audit stored no images"


@dataclass(frozen=True)
class Lowest:
    """Outcomes of one row at one budget on the images ``ids``, over all counted attacks."""

    ids: Ids
    right: NDArray[np.bool_]  # (seeds, images): correctly classified under every attack
    broken: Mapping[str, NDArray[np.bool_]]  # (seeds, images), by attack: misclassified only under attack
    n_audited: int | None  # number of audited images among ids, minimum over seeds; None unless all seeds were audited
    stored_none: bool  # True if an audit at this budget stored no images

    @property
    def accuracy(self) -> Fraction:
        """Lowest known robust accuracy over seeds and images, as an exact fraction."""
        return Fraction(int(self.right.sum()), self.right.size)

    @property
    def percent(self) -> float:
        """Lowest known robust accuracy over seeds and images, in percent."""
        return 100 * int(self.right.sum()) / self.right.size

    def broken_by(self) -> str:
        """Format the numbers of misclassified images per attack: ``fgsm@linf-0.1 30; audit:square 3 (2 alone)``.

        The numbers are summed over seeds. "alone" is the number of images that no other attack fooled.
        """
        total = sum((mask.astype(int) for mask in self.broken.values()), np.zeros(self.right.shape, dtype=int))
        texts = []
        for name, mask in self.broken.items():
            count, alone = int(mask.sum()), int((mask & (total == 1)).sum())
            if count:
                texts.append(f"{name} {count}" + (f" ({alone} alone)" if alone else ""))
        return "; ".join([*texts, *([NO_IMAGES] if self.stored_none else [])])


def budgets_of(rows: Iterable[BoardRow]) -> list[Budget]:
    """Return all attacked budgets of the rows, sorted by norm and eps."""
    specs = (next(iter(cells.values())).spec for row in rows for cells in row.cells.values())
    return sorted({Budget(s.attack.norm, s.attack.eps) for s in specs if s.attack is not None})


def attacks_at(row: BoardRow, budget: Budget) -> list[str]:
    """Return the row's attack columns at ``budget`` that have an accuracy."""
    attacks = {column: next(iter(cells.values())).spec.attack for column, cells in row.cells.items()}
    at_budget = [c for c, a in attacks.items() if a is not None and (a.norm, a.eps) == budget]
    return [column for column in at_budget if row.images(column) is not None]


def suite_images(row: BoardRow, budget: Budget, outcomes: Outcomes) -> Ids:
    """Return the images common to the attacks at ``budget`` in all seeds.

    Attacks on outdated samples, or on fewer than ``FEWEST`` images, are ignored unless no other attack remains.
    """
    columns = drawn_alike(row, attacks_at(row, budget), outcomes)
    large = [column for column in columns if (row.images(column) or 0) >= FEWEST] or columns
    cell_outcomes = [outcomes.of(cell) for column in large for cell in row.cells[column].values()]
    return common_images(cell_outcomes) if cell_outcomes else ()


def lowest_known(
    row: BoardRow, budget: Budget, outcomes: Outcomes, ids: Ids | None = None, counted: Counted = EVERYTHING
) -> Lowest | None:
    """Return the outcomes on the images ``ids`` over the attacks ``counted``.

    By default, ``ids`` are :func:`suite_images`. At least one attack at ``budget`` must cover ``ids`` in every seed.
    Returns None without common images.
    """
    ids = suite_images(row, budget, outcomes) if ids is None else ids
    if not ids:
        return None
    seeds = sorted(row.seeds)
    index = {name: i for i, name in enumerate(ids)}
    correct = np.ones((len(seeds), len(ids)), dtype=np.bool_)
    misclassified: dict[str, NDArray[np.bool_]] = defaultdict(lambda: np.zeros(correct.shape, dtype=np.bool_))
    for i, seed in enumerate(seeds):
        for cell in _cells(row, seed, budget.norm, counted):
            outcome = outcomes.of(cell)
            hit = _within(cell, outcome, budget.eps)
            correct[i, _indices(outcome, hit, ids, index)] = False
            fooled = hit & (outcome.distance > 0) & ~_filtered(row, cell, outcomes)
            misclassified[cell.spec.name][i, _indices(outcome, fooled, ids, index)] = True
        for audit in _audits(row.audits.get(seed), budget) if counted.audit else ():
            for name, audit_indices in audit.broken.items():
                if name in counted.without:
                    continue
                indices = [index[audit.images[hit]] for hit in audit_indices if audit.images[hit] in index]
                correct[i, indices] = False
                misclassified[f"{AUDIT}{name}"][i, indices] = True
    audits_by_seed = [_audits(row.audits.get(seed), budget) for seed in seeds]
    return Lowest(
        ids,
        correct,
        dict(sorted(misclassified.items())),
        _n_audited(audits_by_seed, index),
        _stored_none(audits_by_seed),
    )


def lowest_accuracies(cells: Iterable[Cell], audits: Audits, outcomes: Outcomes) -> LowestKnown:
    """Return the lowest known robust accuracy of every run at each of its budgets."""
    runs: dict[str, list[Cell]] = defaultdict(list)
    for run, cell in cells:
        runs[run.run_id].append((run, cell))
    known_by_run = {}
    for run_id, run_cells in runs.items():
        for row in board_rows(run_cells, audits):
            for budget in budgets_of([row]):
                lowest = lowest_known(row, budget, outcomes)
                if lowest is not None:
                    known = Known(float(lowest.accuracy), len(lowest.ids), lowest.broken_by())
                    known_by_run[run_id, row.data_sha, budget] = known
    return known_by_run


def _cells(row: BoardRow, seed: int, norm: Norm, counted: Counted) -> list[EvalRecord]:
    """Return the ok attack cells of one seed in one norm, with superseded cells if ``counted.columns`` is None."""
    columns = row.cells if counted.columns is None else counted.columns
    selected = (row.cells[column][seed] for column in columns if seed in row.cells.get(column, {}))
    superseded_by_column = row.superseded.values() if counted.columns is None else ()
    superseded = (cell for cells in superseded_by_column for cell in cells if cell.spec.seed == seed)
    ok_cells = (cell for cell in (*selected, *superseded) if cell.spec.attack is not None and cell.status == "ok")
    return [cell for cell in ok_cells if cell.spec.attack is not None and cell.spec.attack.norm == norm]


def _within(cell: EvalRecord, outcome: Outcome, eps: float) -> NDArray[np.bool_]:
    """Mask the images of a cell that are misclassified within ``eps``, with or without an attack."""
    attack = cell.spec.attack
    inside = attack is not None and attack.eps <= eps
    misclassified: NDArray[np.bool_] = ~outcome.correct if inside else ~outcome.correct & (outcome.distance <= eps)
    return misclassified


def _filtered(row: BoardRow, cell: EvalRecord, outcomes: Outcomes) -> NDArray[np.bool_]:
    """Mask the images of a cell that were not attacked because they are misclassified under a filtering attack."""
    ids, filtered = outcomes.of(cell).ids, set[str]()
    if not cell.spec.filters:
        return np.zeros(len(ids), dtype=np.bool_)
    seed_cells = _cells(row, cell.spec.seed, cell.spec.attack.norm, EVERYTHING) if cell.spec.attack else []
    for filtering in (outcomes.of(c) for c in seed_cells if c.cell_id in cell.spec.filters):
        filtered |= {filtering.ids[j] for j in np.flatnonzero(~filtering.correct)}
    return np.asarray([name in filtered for name in ids], dtype=np.bool_)


def _indices(outcome: Outcome, mask: NDArray[np.bool_], ids: Ids, index: Mapping[str, int]) -> list[int]:
    """Return the indices in ``ids`` of the images masked by ``mask``. ``index`` maps an id to its index."""
    if outcome.ids is ids:
        indices: list[int] = np.flatnonzero(mask).tolist()
        return indices
    return [index[outcome.ids[j]] for j in np.flatnonzero(mask) if outcome.ids[j] in index]


def _audits(record: AuditRecord | None, budget: Budget) -> list[BudgetAudit]:
    """Return the audited budgets in the norm of ``budget`` with at most its eps."""
    budgets = () if record is None else record.budgets
    return [audit for audit in budgets if audit.norm == budget.norm and audit.eps <= budget.eps]


def _n_audited(audits_by_seed: Sequence[Sequence[BudgetAudit]], index: Mapping[str, int]) -> int | None:
    if not all(audits_by_seed):
        return None
    return min(len({name for audit in audits for name in audit.images if name in index}) for audits in audits_by_seed)


def _stored_none(audits_by_seed: Sequence[Sequence[BudgetAudit]]) -> bool:
    return any(not audit.images for audits in audits_by_seed for audit in audits)
