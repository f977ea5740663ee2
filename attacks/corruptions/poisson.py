"""Poisson counts for 256 brightness levels, from lookup tables."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.attacks.corruptions.units import WHITE, Bytes

GUIDE_BITS = 10
LOOKUP_BITS = 31  # number of bits that are looked up: one less than the drawn bits, so that 2³¹ exceeds all values


class Table(NamedTuple):
    """Distribution functions of all brightness levels, in units of 2⁻³¹."""

    thresholds: NDArray[np.uint32]  # (256, counts), 2³¹·P(count ≤ k); counts above k have draws from this value on
    guide: NDArray[np.int32]  # (256, 2¹⁰), smallest count for the leading 10 bits of a draw


def poisson(images: Bytes, photons: float, bits: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Return Poisson counts with mean images/255·photons, in the shape of ``images``.

    A count is the inverse distribution function at the random ``bits``. Counts above ``photons`` exceed white and are
    returned as the smallest such count. The lookup uses a table for the 256 means and a guide into the table (Chen and
    Asau 1974, doi 10.1080/05695557408974949). It needs a few steps per value.
    """
    thresholds, guide = table(photons)
    levels, uniforms = images.astype(np.int32), bits >> np.uint32(32 - LOOKUP_BITS)
    counts = guide.take(levels << GUIDE_BITS | (uniforms >> np.uint32(LOOKUP_BITS - GUIDE_BITS)).astype(np.int32))
    flat, rows, uniforms = counts.reshape(-1), levels.reshape(-1) * thresholds.shape[1], uniforms.reshape(-1)
    low = np.flatnonzero(uniforms >= thresholds.take(rows + flat))
    while len(low):
        flat[low] += 1
        low = low[uniforms[low] >= thresholds.take(rows[low] + flat[low])]
    return counts


@lru_cache(maxsize=16)
def table(photons: float) -> Table:
    """Return the cached table of distribution functions for ``photons``."""
    counts = np.arange(int(np.ceil(photons)) + 1)
    means = np.arange(WHITE + 1)[:, None] * (photons / WHITE)
    thresholds = np.rint(stats.poisson.cdf(counts, means) * 2.0**LOOKUP_BITS).astype(np.uint32)
    thresholds[:, -1] = 2**LOOKUP_BITS
    starts = np.arange(2**GUIDE_BITS, dtype=np.uint32) << np.uint32(LOOKUP_BITS - GUIDE_BITS)
    guide = np.stack([np.searchsorted(row, starts, side="right") for row in thresholds])
    return Table(thresholds, guide.astype(np.int32))
