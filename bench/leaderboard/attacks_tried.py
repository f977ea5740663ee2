"""Attacks of a row: rows are ranked only by attacks that all of them went through.

Otherwise a row would lose its place for having been attacked or audited more than the others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from bench.core.records import AuditRecord
from bench.core.specs import Norm, fingerprint
from bench.leaderboard.rows import BoardRow
from bench.results.audit_thresholds import TRANSFER
from bench.results.precedence import drawn


class Counted(NamedTuple):
    """The attacks that count; by default all of them."""

    columns: Collection[str] | None = None  # attack columns; None: all cells, also those not shown on the board
    audit: bool = True  # the attacks of the audits
    without: tuple[str, ...] = ()  # attacks of the audits that do not count


EVERYTHING = Counted()


def common(rows: Sequence[BoardRow], columns: Collection[str]) -> Counted:
    """Return the attacks that all rows went through; all of them have ``columns``.

    The audits count if all rows have one by the same definitions, at the same level, at the same budgets and on the
    same images. Images that were made on the baseline count only if every row was shown such images.
    """
    audits = [row.audits.get(seed) for row in rows for seed in row.seeds]
    kinds = {_kind_of_audit(audit) for audit in audits}
    if len(kinds) != 1 or None in kinds:
        return Counted(columns, audit=False)
    twins = {bool(budget.twin) for audit in audits if audit for budget in audit.budgets}
    return Counted(columns, without=(TRANSFER,) if len(twins) > 1 else ())


def _kind_of_audit(record: AuditRecord | None) -> str | None:
    """Hash of how and on which images the audit was done; None if it failed or stored no images."""
    if record is None or record.status != "ok" or not record.budgets or not all(b.images for b in record.budgets):
        return None
    budgets = sorted((budget.norm, budget.eps, budget.images) for budget in record.budgets)
    return fingerprint([record.version, record.level, budgets])


def tried(row: BoardRow, norm: Norm) -> str:
    """Return a hash of every attack in ``norm`` that the row went through, the audit's included."""
    return fingerprint(sorted({fingerprint(_of_seed(row, seed, norm)) for seed in row.seeds}))


def _of_seed(row: BoardRow, seed: int, norm: Norm) -> list[Any]:
    cells = [cells[seed] for cells in row.cells.values() if seed in cells]
    cells += [cell for found in row.outdone.values() for cell in found if cell.spec.seed == seed]
    attacks = sorted(
        (cell.spec.name, fingerprint(cell.spec.attack), drawn(cell), cell.n)
        for cell in cells
        if cell.status == "ok" and cell.spec.attack is not None and cell.spec.attack.norm == norm
    )
    audit = row.audits.get(seed)
    twins = [] if audit is None else sorted({bool(budget.twin) for budget in audit.budgets})
    return [attacks, None if audit is None else _kind_of_audit(audit) or "incomplete", twins]
