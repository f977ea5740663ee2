"""The places on the board."""

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
    """The place of a row and what it goes by; None for a row without a place."""

    rank: int | None
    by: str | None  # ATTACKS or ATTACKS_AND_AUDIT
    row: BoardRow


def ranked(group: Sequence[BoardRow], outcomes: Outcomes, *, rank_flagged: bool = False) -> list[Place]:
    """Rows of one test split with their places, the unranked ones last: those against whose numbers something speaks,
    whose audit failed or whose clean accuracy is no better than chance, among them unless ``rank_flagged``.

    The order goes by the images that no attack of the ranked rows broke: the attacks on the board, which all of them
    have, and the audit's where all were audited alike, see :func:`bench.leaderboard.lowest_known.common`.

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
    pluralize = common(complete, columns)
    by = ATTACKS_AND_AUDIT if pluralize.audit else ATTACKS
    scores = _scores(complete, outcomes, pluralize)
    scored = sorted(zip(scores, complete, strict=True), key=lambda pair: (pair[0], _name(pair[1])))
    scores = sorted(scores)
    rest = sorted((row for row in group if not any(row is c for c in complete)), key=_name)
    places = (Place(scores.index(score) + 1, by, row) for score, row in scored)
    return [*places, *(Place(None, None, row) for row in rest)]


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
    """The cells of a column by the hash of their attack and of how their images were drawn; several if seeds differ."""
    found: dict[str, list[EvalRecord]] = defaultdict(list)
    for cell in row.cells.get(column, {}).values():
        found[fingerprint([fingerprint(cell.spec.attack), drawn(cell)])].append(cell)
    return found


def _scores(rows: Sequence[BoardRow], outcomes: Outcomes, pluralize: Counted) -> list[tuple[Fraction, Fraction]]:
    """The robust accuracy of each row, on the same images; the clean one without an attack; then the clean one."""
    known: dict[int, list[Fraction]] = defaultdict(list)
    for budget in budgets_of(rows):
        ids = common_ids(suite_images(row, budget, outcomes) for row in rows)
        for i, row in enumerate(rows):
            lowest = lowest_known(row, budget, outcomes, ids, pluralize)
            known[i] += [] if lowest is None else [lowest.accuracy]
    scores = []
    for i, row in enumerate(rows):
        clean = _exact(row, CLEAN) or Fraction(0)
        robust = sum(known[i], Fraction(0)) / len(known[i]) if known[i] else clean
        scores.append((-robust, -clean))
    return scores


def _exact(row: BoardRow, column: str) -> Fraction | None:
    """The mean of a column by its counts: the same in any order of the seeds, which a sum of shares is not."""
    if row.mean(column) is None:
        return None
    cells = row.cells[column].values()
    return Fraction(sum(cell.n_correct or 0 for cell in cells), sum(cell.n for cell in cells))


def _name(row: BoardRow) -> tuple[str, ...]:
    return row.run.model, row.run.variant, row.run.config_sha
