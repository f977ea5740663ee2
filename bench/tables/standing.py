"""Which of several cells counts: on the board, for the audit of its number, and for what is said of a run. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.chance import is_at_chance
from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import SAMPLING_VERSION

FEWEST = 50  # images of a cell that limits the images that all cells hold


def evidence(cell: EvalRecord) -> tuple[bool, int, int, int, bool, str]:
    """What makes one cell count before another in the same place.

    Being ok, the version of the attack or corruption, how the images were drawn, their number, a search in full
    precision, being newer.
    """
    attack = cell.spec.attack
    exact = attack is None or attack.precision == "fp32"
    return cell.status == "ok", *strength(cell), exact, cell.created


def strength(cell: EvalRecord) -> tuple[int, int, int]:
    """What a cell has whether or not it is ok: see :func:`evidence`. A whole split is no worse than any sample."""
    made = cell.spec.attack or cell.spec.corruption
    return made.version if made else 0, drawn(cell), cell.n


def drawn(cell: EvalRecord) -> int:
    """The version of the sampling; for a whole split, the newest."""
    return SAMPLING_VERSION if cell.spec.limit is None else cell.spec.sampling


def common_size(cells: Sequence[EvalRecord], most: int) -> int:
    """The number of images that all cells have, at most ``most``; cells of fewer than ``FEWEST`` do not hold it down.

    They say too little to be compared with, and are left out where others say more.
    """
    sizes = [cell.n for cell in cells]
    return min([most, *([n for n in sizes if n >= FEWEST] or sizes)])


def runs_at_chance(cells: Iterable[tuple[RunRecord, EvalRecord]]) -> set[tuple[str, str]]:
    """The run ids and test splits whose clean accuracy is no better than chance, by the clean cell that counts."""
    clean: dict[tuple[str, str], tuple[RunRecord, EvalRecord]] = {}
    for run, cell in cells:
        place = run.run_id, cell.spec.data_sha
        if cell.spec.is_clean and (place not in clean or evidence(cell) > evidence(clean[place][1])):
            clean[place] = run, cell
    return {place for place, (run, cell) in clean.items() if is_at_chance(run, cell)}
