"""Whether a network has learnt anything: its clean accuracy beside that of guessing."""

from __future__ import annotations

from collections.abc import Sequence

from bench.statistics.intervals import wilson_interval

CHANCE = "no better than chance"


def chance_notes(correct: int, n: int, num_classes: int) -> tuple[str, ...]:
    """A remark if the 95 % interval of ``correct``/``n`` reaches down to 1/``num_classes``."""
    low, _ = wilson_interval(correct, n)
    return (f"{CHANCE} (1 of {num_classes} classes), by the 95 % interval",) if low <= 1 / num_classes else ()


def of_chance(notes: Sequence[str]) -> list[str]:
    """Those of a cell's notes that say so."""
    return [note for note in notes if note.startswith(CHANCE)]
