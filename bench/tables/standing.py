"""Of several cells in one place the one that counts: on the board, and for the audit of its number. No torch."""

from __future__ import annotations

from bench.core.specs import EvalRecord


def evidence(cell: EvalRecord) -> tuple[bool, int, int, bool, str]:
    """What makes one cell count before another in the same place.

    Being ok, the version of the attack or corruption, the number of images, a search in full precision, being newer.
    """
    attack = cell.spec.attack
    exact = attack is None or attack.precision == "fp32"
    return cell.status == "ok", *strength(cell), exact, cell.created


def strength(cell: EvalRecord) -> tuple[int, int]:
    """The version of what was done to the images, and their number: what a cell has whether or not it is ok."""
    made = cell.spec.attack or cell.spec.corruption
    return made.version if made else 0, cell.n
