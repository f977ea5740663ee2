"""Precedence among cells that fill the same leaderboard entry. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import SAMPLING_VERSION
from bench.results.chance_level import is_at_chance

FEWEST = 50  # minimum number of images; smaller cells do not reduce the common set of images


def evidence(cell: EvalRecord) -> tuple[bool, int, int, int, bool, str]:
    """Return the sort key for cells that fill the same leaderboard entry. The cell with the largest key is used.

    The key consists of, in this order: status ok, version of the attack or corruption, version of the sampling, number
    of images, attack in float32, time of creation.
    """
    attack = cell.spec.attack
    in_float32 = attack is None or attack.precision == "fp32"
    return cell.status == "ok", *strength(cell), in_float32, cell.created


def strength(cell: EvalRecord) -> tuple[int, int, int]:
    """Return the part of :func:`evidence` that does not depend on the status.

    It consists of the version of the attack or corruption, the version of the sampling, and the number of images. A
    complete split has the newest version of the sampling.
    """
    definition = cell.spec.attack or cell.spec.corruption
    return definition.version if definition else 0, drawn(cell), cell.n


def drawn(cell: EvalRecord) -> int:
    """Return the version of the sampling of the images of a cell. A complete split has the newest version."""
    return SAMPLING_VERSION if cell.spec.limit is None else cell.spec.sampling


def common_size(cells: Sequence[EvalRecord], most: int) -> int:
    """Return the number of images that all cells have, at most ``most``.

    Cells with fewer than ``FEWEST`` images are too small for a comparison. They are ignored, unless all cells are too
    small.
    """
    sizes = [cell.n for cell in cells]
    return min([most, *([n for n in sizes if n >= FEWEST] or sizes)])


def runs_at_chance(cells: Iterable[tuple[RunRecord, EvalRecord]]) -> set[tuple[str, str]]:
    """Return the pairs (run id, hash of the test split) whose clean accuracy is no better than chance.

    If a run has several clean cells, the one with the highest :func:`evidence` is used.
    """
    clean: dict[tuple[str, str], tuple[RunRecord, EvalRecord]] = {}
    for run, cell in cells:
        key = run.run_id, cell.spec.data_sha
        if cell.spec.is_clean and (key not in clean or evidence(cell) > evidence(clean[key][1])):
            clean[key] = run, cell
    return {key for key, (run, cell) in clean.items() if is_at_chance(run, cell)}
