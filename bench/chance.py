"""Whether a network has learnt anything: its clean accuracy beside that of guessing."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.specs import EvalRecord, RunRecord
from bench.statistics.intervals import wilson_interval

CHANCE = "no better than chance"


def chance_notes(correct: int, n: int, num_classes: int) -> tuple[str, ...]:
    """A remark if the 95 % interval of ``correct``/``n`` reaches down to 1/``num_classes``."""
    low, _ = wilson_interval(correct, n)
    return (f"{CHANCE} (1 of {num_classes} classes), by the 95 % interval",) if low <= 1 / num_classes else ()


def of_chance(notes: Sequence[str]) -> list[str]:
    """Those of a cell's notes that say so."""
    return [note for note in notes if note.startswith(CHANCE)]


def is_at_chance(run: RunRecord, clean: EvalRecord) -> bool:
    """Whether the remark belongs to a stored clean cell, be it older than the remark.

    How many classes there are is known of what was trained here; of any other model only the notes of the cell say so.
    """
    if clean.status != "ok" or clean.n_correct is None:
        return False
    if run.spec is None:
        return bool(of_chance(clean.notes))
    return bool(chance_notes(clean.n_correct, clean.n, run.spec.data.num_classes))
