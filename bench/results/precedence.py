"""Precedence among cells that fill the same leaderboard entry. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import SAMPLING_VERSION
from bench.results.chance_level import is_at_chance

FEWEST = 50  # images; a cell with fewer does not reduce the common set of images


def evidence(cell: EvalRecord) -> tuple[bool, int, int, int, bool, str]:
    """Return the sort key of a cell among those that fill the same leaderboard entry.

    The cell with the largest key is used. In this order: status ok, version of the attack or corruption, version of the
    sampling, number of images, search in float32, time of creation.
    """
    attack = cell.spec.attack
    exact = attack is None or attack.precision == "fp32"
    return cell.status == "ok", *strength(cell), exact, cell.created


def strength(cell: EvalRecord) -> tuple[int, int, int]:
    """Return the part of :func:`evidence` that does not depend on the status.

    Version of the attack or corruption, version of the sampling, number of images. A whole split counts as drawn by
    the newest sampling.
    """
    made = cell.spec.attack or cell.spec.corruption
    return made.version if made else 0, drawn(cell), cell.n


def drawn(cell: EvalRecord) -> int:
    """Return the version of the sampling by which the images of a cell were drawn; for a whole split, the newest."""
    return SAMPLING_VERSION if cell.spec.limit is None else cell.spec.sampling


def common_size(cells: Sequence[EvalRecord], most: int) -> int:
    """Return the number of images that all cells have, at most ``most``.

    Cells with fewer than ``FEWEST`` images are too small for a comparison. They are ignored unless all cells are.
    """
    sizes = [cell.n for cell in cells]
    return min([most, *([n for n in sizes if n >= FEWEST] or sizes)])


def runs_at_chance(cells: Iterable[tuple[RunRecord, EvalRecord]]) -> set[tuple[str, str]]:
    """Return the pairs of run id and test split hash for which the clean accuracy is no better than chance.

    If a run has several clean cells, the one with the highest :func:`evidence` is used.
    """
    clean: dict[tuple[str, str], tuple[RunRecord, EvalRecord]] = {}
    for run, cell in cells:
        place = run.run_id, cell.spec.data_sha
        if cell.spec.is_clean and (place not in clean or evidence(cell) > evidence(clean[place][1])):
            clean[place] = run, cell
    return {place for place, (run, cell) in clean.items() if is_at_chance(run, cell)}
