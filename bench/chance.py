"""Whether a network has learnt anything: its clean accuracy beside that of one constant answer.

Who always names the most frequent class is right on that class's share of the images. A network is at chance where the
95 % interval of its accuracy reaches down to that share; one that gives the same class to every image always is.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.specs import EvalRecord, RunRecord
from bench.statistics.intervals import wilson_interval

CHANCE = "no better than chance"


def at_chance(correct: int, n: int, largest_share: float) -> bool:
    """Whether the 95 % interval of ``correct``/``n``, Wilson's as in every row, reaches down to ``largest_share``."""
    low, _ = wilson_interval(correct, n)
    return low <= largest_share


def chance_notes(correct: int, n: int, n_majority: int, *, constant: bool = False) -> tuple[str, ...]:
    """A note if ``correct`` of ``n`` images is no better than the ``n_majority`` images of the most frequent class.

    ``constant`` says that the network gives one class to all of them.
    """
    if not constant and not at_chance(correct, n, n_majority / n):
        return ()
    answers = "; it gives all images the same class" if constant else ""
    return (f"{CHANCE} ({correct} of {n} right, the most frequent class alone has {n_majority}{answers})",)


def of_chance(notes: Sequence[str]) -> list[str]:
    """The notes of a cell that :func:`chance_notes` made."""
    return [note for note in notes if note.startswith(CHANCE)]


def is_at_chance(run: RunRecord, clean: EvalRecord) -> bool:
    """Whether a stored clean cell is no better than chance.

    Older records do not say how many images the most frequent class has. For them its share is taken to be 1/K, or,
    where K is unknown because the model was not trained here, the notes of the cell decide.
    """
    if clean.status != "ok" or clean.n_correct is None:
        return False
    if of_chance(clean.notes):
        return True
    if clean.n_majority is not None:
        return at_chance(clean.n_correct, clean.n, clean.n_majority / clean.n)
    return run.spec is not None and at_chance(clean.n_correct, clean.n, 1 / run.spec.data.num_classes)
