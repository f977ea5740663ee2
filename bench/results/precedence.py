"""Precedence among cells that fill the same leaderboard entry, also for audits and for one run. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import SAMPLING_VERSION
from bench.results.chance_level import is_at_chance

FEWEST = 50  # images of a cell that limits the images that all cells hold


def evidence(cell: EvalRecord) -> tuple[bool, int, int, int, bool, str]:
    """Return the precedence of a cell among those that fill the same leaderboard entry: the largest counts.

    In this order: ok before not ok, version of the attack or corruption, version of the sampling, number of images,
    search in full precision before any other, time of creation.
    """
    attack = cell.spec.attack
    exact = attack is None or attack.precision == "fp32"
    return cell.status == "ok", *strength(cell), exact, cell.created


def strength(cell: EvalRecord) -> tuple[int, int, int]:
    """Return the precedence of a cell as if it were ok: a part of :func:`evidence`.

    Version of the attack or corruption, version of the sampling, number of images. A whole split counts as drawn by
    the newest sampling.
    """
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
