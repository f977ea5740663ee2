"""Compute the collapse status of a leaderboard row and the corresponding table columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.leaderboard.references import reference_of
from bench.leaderboard.rows import BoardRow
from bench.results.collapse_status import (
    REFERENCES,
    Collapse,
    Reference,
    collapse_of,
    diagnosed_accuracy,
    is_trained_to_collapse,
    over_seeds,
    training_nc1,
)


def row_collapse(row: BoardRow, group: Sequence[BoardRow]) -> Collapse | None:
    """Return the collapse status over all seeds; None for a variant without a collapse penalty.

    ``group`` are all rows of the same test split.
    """
    if not is_trained_to_collapse(row.run):
        return None
    return over_seeds({seed: collapse_of(row.diagnoses.get(seed), _reference(row, group, seed)) for seed in row.runs})


def _reference(row: BoardRow, group: Sequence[BoardRow], seed: int) -> Reference | None:
    """Return the first reference in ``REFERENCES`` with a training NC1 for the same seed."""
    for variant in REFERENCES:
        candidate = reference_of(row, group, variant)
        nc1 = None if candidate is None else training_nc1(candidate.diagnoses.get(seed))
        if nc1 is not None:
            return Reference(variant, nc1)
    return None


def collapse_values(row: BoardRow, group: Sequence[BoardRow], suffix: str = "") -> dict[str, Any]:
    """Return the collapse columns: the status, and means over seeds of figures that are known for all seeds.

    The training accuracy is in percent. ``suffix`` is appended to the names of the columns.
    """
    status = row_collapse(row, group)
    accuracy = _mean([diagnosed_accuracy(row.diagnoses.get(seed)) for seed in row.runs])
    penalised = row.run.spec is not None and row.run.spec.variant_spec.penalty is not None
    return {
        f"collapse{suffix}": status.text if status else None,
        f"collapse_nc1_train{suffix}": _mean([training_nc1(row.diagnoses.get(seed)) for seed in row.runs]),
        f"train_acc{suffix}": None if accuracy is None else 100 * accuracy,
        f"gamma{suffix}": _mean([run.gamma for run in row.runs.values()]) if penalised else None,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
