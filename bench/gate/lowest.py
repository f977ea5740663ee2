"""Find cells whose robust accuracy is too high because other attacks broke more of the same images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.leaderboard.lowest_known import AUDIT, lowest_known
from bench.leaderboard.rows import BoardRow
from bench.results.outcomes import Outcomes
from bench.results.results_csv import Budget


@dataclass(frozen=True)
class Lower:
    """The lowest known robust accuracy (a fraction), and the attack that broke most of the cell's unbroken images."""

    accuracy: float
    attack: str

    @property
    def text(self) -> str:
        return f"lowest known {100 * self.accuracy:.1f} % ({self.attack})"


def lower_than_measured(row: BoardRow, outcomes: Outcomes) -> Iterator[tuple[str, Lower]]:
    """Yield each attack column with a lower known accuracy from other attacks or the audit; ``row`` has one seed."""
    for column, cells in row.cells.items():
        (cell,) = cells.values()
        attack = cell.spec.attack
        if attack is None or cell.status != "ok":
            continue
        own = outcomes.of(cell)
        lowest = lowest_known(row, Budget(attack.norm, attack.eps), outcomes, own.ids)
        if lowest is None or lowest.right.sum() >= own.correct.sum():
            continue
        more = {name: int((mask[0] & own.correct).sum()) for name, mask in lowest.broken.items()}
        strongest = max(more, key=lambda name: more[name])
        source = f"{strongest.removeprefix(AUDIT)}, audit" if strongest.startswith(AUDIT) else strongest
        yield column, Lower(float(lowest.accuracy), source)
