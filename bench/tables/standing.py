"""Of several cells in one place the one that counts: on the board, and for the audit of its number. No torch."""

from __future__ import annotations

from bench.core.specs import SAMPLING_VERSION, EvalRecord


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
