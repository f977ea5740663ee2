"""What a comparison comes to, in words: higher, lower, or how large a difference would have been found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.statistics.several import ALPHA

UNTESTED = "untested: too few seeds"


def finding(record: Mapping[str, Any], smallest: float | None, seeds: Sequence[int]) -> str:
    """By the sign flips over seeds where they can find anything, else by McNemar's test of the lowest seed's weights.

    ``smallest`` is the least p that the sign flips could have come to, with Holm's correction, had every comparison
    come out as clearly as its seeds allow; with 5 seeds it is 0.0625 for a single comparison.
    """
    if smallest is not None and smallest <= ALPHA:
        return _words(record["p_variant_holm"], record["diff"], record["detectable_seeds"])
    if record["p_checkpoint_holm"] is None:
        return UNTESTED
    direction = record["gained"] - record["lost"]
    weights = "these weights" if len(seeds) == 1 else f"these weights (seed {min(seeds)})"
    return f"{_words(record['p_checkpoint_holm'], direction, record['detectable'])}, {weights}"


def _words(p: float, direction: float, detectable: float | None) -> str:
    if p <= ALPHA:
        return "higher" if direction > 0 else "lower"
    if detectable is None:
        return "no difference found; none would have been"
    return f"no difference found; {detectable:.1f} points would have been"
