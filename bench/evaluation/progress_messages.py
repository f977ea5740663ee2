"""Progress messages for finished cells: one line per cell, or one line for all severities of a corruption."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.records import EvalRecord
from bench.core.specs import EvalSpec
from bench.core.vocabulary import marks
from bench.results.chance_level import of_chance


def line_of(spec: EvalSpec) -> str:
    """Equal for cells that share a line."""
    return spec.corruption.kind if spec.corruption else spec.cell_id


def is_good(record: EvalRecord) -> bool:
    return record.status == "ok" and record.n_correct is not None


def good_line(records: Sequence[EvalRecord], subject: str) -> str:
    """Format ok cells that share a line: accuracies, images, flags, a note on chance level, and seconds."""
    last, seconds = records[-1], sum(record.time_s for record in records)
    shares = " ".join(f"{(record.n_correct or 0) / record.n:.1%}" for record in records)
    counts = f"({last.n_correct}/{last.n})" if len(records) == 1 else f"n={last.n}"
    flags = dict.fromkeys(flag for record in records for flag in record.flags)
    chance = "".join(f", {note}" for note in of_chance(last.notes))
    return f"{subject} {_title(records)}: {shares} {counts}{marks(flags)}{chance}, {seconds:.1f} s"


def _title(records: Sequence[EvalRecord]) -> str:
    """``fog@severity-1,2,3`` for several."""
    severities = [str(r.spec.corruption.severity) for r in records[1:] if r.spec.corruption]
    return ",".join([records[0].spec.name, *severities])


def bad_line(record: EvalRecord, subject: str) -> str:
    return f"{subject} {record.spec.name} {record.status}: {record.reason}: {record.message}"
