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
    """Row with its rank and the attacks that determine it; both are None for an unranked row."""

    rank: int | None
    by: str | None  # ATTACKS or ATTACKS_AND_AUDIT
    row: BoardRow


def ranked(group: Sequence[BoardRow], outcomes: Outcomes, *, rank_flagged: bool = False) -> list[Place]:
    """Return the rows of one test split with their ranks, the unranked ones last.

    Rows are ranked by the share of images that are correctly classified under all attacks: the attacks on the board,
    which all ranked rows have, and those of the audits if all rows were audited in the same way, see
    :func:`bench.leaderboard.lowest_known.common`.

    A row is ranked if it has an ok cell in every attack column of the group, with the same attack and on as many images
    as the other rows (one column name may stand for several attacks). Corruptions do not affect the order, but a row
    with a failed corruption cell is not ranked. Unless ``rank_flagged``, rows with flags, with a failed or incomplete
    audit, or with a clean accuracy no better than chance are not ranked.
    """
    corrupted = {column for row in group for column in row.corrupted()}
    columns = {column for row in group for column in row.cells} - corrupted | {CLEAN}
    counts = {column: _reference_attack(group, column) for column in columns}
    held = {column: [row for row in group if set(_by_attack(row, column)) == {counts[column]}] for column in columns}
    most = {column: max((row.images(column) or 0 for row in rows), default=0) for column, rows in held.items()}
    complete = [
        row
        for row in group
        if all((row.images(c) or -1) == most[c] and any(row is r for r in held[c]) for c in columns)
        and not any(row.failed(c) for c in corrupted)
        and (rank_flagged or not row.doubtful())
    ]
    counted = common(complete, columns)
    by = ATTACKS_AND_AUDIT if counted.audit else ATTACKS
    scores = _scores(complete, outcomes, counted)
    scored = sorted(zip(scores, complete, strict=True), key=lambda pair: (pair[0], _name(pair[1])))
    scores = sorted(scores)
    rest = sorted((row for row in group if not any(row is c for c in complete)), key=_name)
    places = (Place(scores.index(score) + 1, by, row) for score, row in scored)
    return [*places, *(Place(None, None, row) for row in rest)]


def _reference_attack(group: Sequence[BoardRow], column: str) -> str:
    """Return the hash of the attack that ranked rows must have in a column; "" if no row has an accuracy.

    Precedence: newest version, newest sampling and search in full precision, as in :func:`evidence`; then the attack
    with most cells, then the latest.
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
    """Group the cells of a column by the hash of attack and sampling. There are several groups if seeds differ."""
    found: dict[str, list[EvalRecord]] = defaultdict(list)
    for cell in row.cells.get(column, {}).values():
        found[fingerprint([fingerprint(cell.spec.attack), drawn(cell)])].append(cell)
    return found


def _scores(rows: Sequence[BoardRow], outcomes: Outcomes, counted: Counted) -> list[tuple[Fraction, Fraction]]:
    """Return the sort key of each row: (−robust accuracy, −clean accuracy), exact fractions.

    The robust accuracy is the mean over budgets, on the same images for all rows; without an attack, the clean one.
    """
    known: dict[int, list[Fraction]] = defaultdict(list)
    for budget in budgets_of(rows):
        ids = common_ids(suite_images(row, budget, outcomes) for row in rows)
        for i, row in enumerate(rows):
            lowest = lowest_known(row, budget, outcomes, ids, counted)
            known[i] += [] if lowest is None else [lowest.accuracy]
    scores = []
    for i, row in enumerate(rows):
        clean = _exact(row, CLEAN) or Fraction(0)
        robust = sum(known[i], Fraction(0)) / len(known[i]) if known[i] else clean
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
