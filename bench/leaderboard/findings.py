"""Finding of a comparison in words: higher, lower, or the size of a difference that would have been found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.leaderboard.report import bound
from bench.results.chance_level import CHANCE
from bench.results.collapse_status import NOT_COLLAPSED, NOT_MEASURED
from bench.statistics.multiple_testing import ALPHA

UNTESTED = "untested: too few trainings"
NOT_COMPARED = "not compared: measured otherwise"
AT_CHANCE = f"not compared: {CHANCE}"
NO_COLLAPSE = f"no conclusion: {NOT_COLLAPSED}"
UNKNOWN_COLLAPSE = f"no conclusion: {NOT_MEASURED}"


def deciding(record: Mapping[str, Any], level: float) -> str | None:
    """The p that the finding goes by: the sign flips' where so few seeds can come to ``level``, else McNemar's.

    The number of seeds alone decides, never what was measured: every row has one test, and those of the table are one
    family. None where neither was made, and where a network that should have collapsed did not; where that was not
    measured nothing is asked about the recipe.
    """
    collapse = collapse_word(record)
    if collapse == NOT_COLLAPSED:
        return None
    if record["p_variant"] is not None and record["p_variant_smallest"] <= level and collapse != NOT_MEASURED:
        return "p_variant"
    return None if record["p_checkpoint"] is None else "p_checkpoint"


def collapse_word(record: Mapping[str, Any]) -> str:
    """The worse of the two statuses of collapse: ``not collapsed``, ``collapse not measured``, or empty."""
    statuses = [record.get(column) or "" for column in ("collapse", "collapse_reference")]
    return next((word for word in (NOT_COLLAPSED, NOT_MEASURED) if any(s.startswith(word) for s in statuses)), "")


def finding(record: Mapping[str, Any], test: str | None, seeds: Sequence[int]) -> str:
    """By the corrected p of ``test``; McNemar's is of the weights of the lowest seed alone, and says so."""
    collapse = collapse_word(record)
    if collapse == NOT_COLLAPSED:
        return NO_COLLAPSE
    if test is None:
        return UNKNOWN_COLLAPSE if collapse else UNTESTED
    if test == "p_variant":
        return _words(record, record["p_variant_holm"], record["diff"], record["detectable_seeds"])
    direction = record["gained"] - record["lost"]
    weights = "these weights" if len(seeds) == 1 else f"these weights (seed {min(seeds)})"
    words = _words(record, record["p_checkpoint_holm"], direction, record["detectable"])
    return f"{words}, {weights}" + (f"; {collapse}" if collapse else "")


def _words(record: Mapping[str, Any], p: float, direction: float, detectable: float | None) -> str:
    if p <= ALPHA:
        return f"higher{_doubt(record, 'flags')}" if direction > 0 else f"lower{_doubt(record, 'flags_reference')}"
    if detectable is None:
        return "no difference found; none would have been"
    return f"no difference found; {detectable:.1f} points would have been"


def _doubt(record: Mapping[str, Any], flags: str) -> str:
    """Return a note if the higher of the two accuracies is only an upper bound; ``flags`` is its column of flags."""
    names = record[flags].split(";") if record[flags] else []
    whose = "" if flags == "flags" else f"{record['reference']}: "
    return f" ({whose}upper bound)" if bound(record["metric"], names) else ""
