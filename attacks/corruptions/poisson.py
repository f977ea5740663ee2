"""Poisson counts of 256 brightnesses, by looking them up."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.attacks.corruptions.units import WHITE, Bytes

GUIDE_BITS = 10
CHANCES = 31  # bits that are looked up: one less than are drawn, so that 2³¹ is more than all of them


class Table(NamedTuple):
    """The distribution functions of all brightnesses, in units of 2⁻³¹."""

    thresholds: NDArray[np.uint32]  # (256, counts), 2³¹·P(count ≤ k): chances that are not below it mean more than k
    guide: NDArray[np.int32]  # (256, 2¹⁰), the least count that chances that begin so can mean


def poisson(images: Bytes, photons: float, bits: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Counts of mean images/255·photons, of the shape of ``images``: the inverse distribution function at ``bits``.

    Counts above ``photons`` are whiter than white; they come out as the first of them. A table of the 256 means and a
    guide into it (Chen and Asau 1974, doi 10.1080/05695557408974949) make it a few lookups a value.
    """
    thresholds, guide = table(photons)
    levels, chances = images.astype(np.int32), bits >> np.uint32(32 - CHANCES)
    counts = guide.take(levels << GUIDE_BITS | (chances >> np.uint32(CHANCES - GUIDE_BITS)).astype(np.int32))
    flat, rows, chances = counts.reshape(-1), levels.reshape(-1) * thresholds.shape[1], chances.reshape(-1)
    low = np.flatnonzero(chances >= thresholds.take(rows + flat))
    while len(low):
        flat[low] += 1
        low = low[chances[low] >= thresholds.take(rows[low] + flat[low])]
    return counts


@lru_cache(maxsize=16)
def table(photons: float) -> Table:
    counts = np.arange(int(np.ceil(photons)) + 1)
    means = np.arange(WHITE + 1)[:, None] * (photons / WHITE)
    thresholds = np.rint(stats.poisson.cdf(counts, means) * 2.0**CHANCES).astype(np.uint32)
    thresholds[:, -1] = 2**CHANCES
    starts = np.arange(2**GUIDE_BITS, dtype=np.uint32) << np.uint32(CHANCES - GUIDE_BITS)
    guide = np.stack([np.searchsorted(row, starts, side="right") for row in thresholds])
    return Table(thresholds, guide.astype(np.int32))
