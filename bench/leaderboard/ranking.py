"""Rank the rows of the leaderboard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from bench.core.records import EvalRecord
from bench.core.specs import fingerprint
from bench.core.vocabulary import CLEAN
from bench.leaderboard.lowest_known import Counted, budgets_of, common, lowest_known, suite_images
from bench.leaderboard.rows import BoardRow
from bench.results.outcomes import Outcomes, common_ids
from bench.results.precedence import drawn, evidence

ATTACKS = "attacks"
ATTACKS_AND_AUDIT = "attacks and audit"


class Place(NamedTuple):
    """Row with its rank and the attacks that determine the rank. Both are None for an unranked row."""

    rank: int | None
    by: str | None  # ATTACKS or ATTACKS_AND_AUDIT
    row: BoardRow


def ranked(group: Sequence[BoardRow], outcomes: Outcomes, *, rank_flagged: bool = False) -> list[Place]:
    """Return the rows of one test split with their ranks, the unranked ones last.

    Rows are ranked by the share of images that are correctly classified under all attacks. These are the attacks on the
    leaderboard, which were run on all ranked rows. The attacks of the audits are included if all rows were audited in
    the same way, see :func:`bench.leaderboard.lowest_known.common`.

    A row is ranked if it has an ok cell in every attack column of the group, with the same attack and the same number
    of images as the other rows (several attacks may have the same column name). Corruptions do not affect the order,
    but a row with a failed corruption cell is not ranked. Unless ``rank_flagged``, rows with flags, with a failed or
    incomplete audit, or with a clean accuracy no better than chance are not ranked.
    """
    corrupted = {column for row in group for column in row.corrupted()}
    columns = {column for row in group for column in row.cells} - corrupted | {CLEAN}
    reference_attacks = {column: _reference_attack(group, column) for column in columns}
    rows_by_column = {
        column: [row for row in group if set(_by_attack(row, column)) == {reference_attacks[column]}]
        for column in columns
    }
    n_images = {
        column: max((row.images(column) or 0 for row in rows), default=0) for column, rows in rows_by_column.items()
    }
    complete = [
        row
        for row in group
        if all((row.images(c) or -1) == n_images[c] and any(row is r for r in rows_by_column[c]) for c in columns)
        and not any(row.failed(c) for c in corrupted)
        and (rank_flagged or not row.doubtful())
    ]
    counted = common(complete, columns)
    by = ATTACKS_AND_AUDIT if counted.audit else ATTACKS
    scores = _scores(complete, outcomes, counted)
    scored = sorted(zip(scores, complete, strict=True), key=lambda pair: (pair[0], _name(pair[1])))
    scores = sorted(scores)
    unranked = sorted((row for row in group if not any(row is c for c in complete)), key=_name)
    ranked_rows = (Place(scores.index(score) + 1, by, row) for score, row in scored)
    return [*ranked_rows, *(Place(None, None, row) for row in unranked)]


def _reference_attack(group: Sequence[BoardRow], column: str) -> str:
    """Return the hash of the attack that a column of ranked rows must have; "" if no row has an accuracy.

    Precedence: newest version, newest sampling and attack in full precision, as in :func:`evidence`. Then the attack
    with most cells, then the latest cell.
    """
    cells_by_attack: dict[str, list[EvalRecord]] = defaultdict(list)
    for row in group:
        for sha, cells in _by_attack(row, column).items():
            cells_by_attack[sha] += cells if row.accuracies(column) else ()

    def strength(sha: str) -> tuple[int, int, bool, int, str]:
        version, sampling, _, exact, _ = evidence(cells_by_attack[sha][0])[1:]
        return version, sampling, exact, len(cells_by_attack[sha]), max(cell.created for cell in cells_by_attack[sha])

    return max((sha for sha in cells_by_attack if cells_by_attack[sha]), key=strength, default="")


def _by_attack(row: BoardRow, column: str) -> dict[str, list[EvalRecord]]:
    """Group the cells of a column by the hash of attack and sampling. The seeds may be in different groups."""
    cells_by_attack: dict[str, list[EvalRecord]] = defaultdict(list)
    for cell in row.cells.get(column, {}).values():
        cells_by_attack[fingerprint([fingerprint(cell.spec.attack), drawn(cell)])].append(cell)
    return cells_by_attack


def _scores(rows: Sequence[BoardRow], outcomes: Outcomes, counted: Counted) -> list[tuple[Fraction, Fraction]]:
    """Return the sort key of each row, (−robust accuracy, −clean accuracy), as exact fractions.

    The robust accuracy is the mean over budgets, on the same images for all rows. Without an attack, it is the clean
    accuracy.
    """
    accuracies: dict[int, list[Fraction]] = defaultdict(list)
    for budget in budgets_of(rows):
        ids = common_ids(suite_images(row, budget, outcomes) for row in rows)
        for i, row in enumerate(rows):
            lowest = lowest_known(row, budget, outcomes, ids, counted)
            accuracies[i] += [] if lowest is None else [lowest.accuracy]
    scores = []
    for i, row in enumerate(rows):
        clean = _exact(row, CLEAN) or Fraction(0)
        robust = sum(accuracies[i], Fraction(0)) / len(accuracies[i]) if accuracies[i] else clean
        scores.append((-robust, -clean))
    return scores


def _exact(row: BoardRow, column: str) -> Fraction | None:
    """Return the mean of a column as an exact fraction, which does not depend on the order of the seeds."""
    if row.mean(column) is None:
        return None
    cells = row.cells[column].values()
    return Fraction(sum(cell.n_correct or 0 for cell in cells), sum(cell.n for cell in cells))


def _name(row: BoardRow) -> tuple[str, ...]:
    return row.run.model, row.run.variant, row.run.config_sha
