"""Sample a limited number of images from a split, proportional to class.

All samples are prefixes of one fixed order of the N images. The first n images contain n·n_c/N images of a class with
n_c images, rounded up or down. The accuracy on n images therefore estimates the accuracy on the split. The classes that
are rounded up are chosen pseudo-randomly, depending only on the ids. Rare classes are therefore drawn as well.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.core.seeds import derive_seed
from bench.core.specs import SAMPLING_VERSION

Ints = NDArray[np.int64]


def id_hashes(ids: Sequence[str]) -> Ints:
    """Return a uniform integer in [0, 2^63) per id."""
    return np.array([derive_seed("stratified", sample_id) for sample_id in ids], dtype=np.int64)


def ranks(hashes: Ints, labels: Ints) -> Ints:
    """Return the rank of each image within its class, by hash, from 0."""
    by_class = np.lexsort((hashes, labels))
    _, starts, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    result = np.empty(len(hashes), dtype=np.int64)
    result[by_class] = np.arange(len(hashes)) - np.repeat(starts, sizes)
    return result


def is_balanced(labels: Ints) -> bool:
    """Return whether all classes that occur have the same number of images."""
    counts = np.unique(labels, return_counts=True)[1]
    return bool((counts == counts[:1]).all())


def sampling_version(labels: Ints) -> int:
    """Return the version of the sampling for these labels. The version is part of the identity of a cell.

    Version 1 drew the same number of images per class. Both versions draw the same images if the classes are balanced.
    """
    return 1 if is_balanced(labels) else SAMPLING_VERSION


def drawn_notes(n: int, n_test: int) -> tuple[str, ...]:
    """Return the note for a row that was evaluated on ``n`` of ``n_test`` test images; empty if n = n_test.

    >>> drawn_notes(1000, 10000), drawn_notes(500, 500)
    (('1000 of 10000 test images, proportional to class',), ())
    """
    return (f"{n} of {n_test} test images, proportional to class",) if n < n_test else ()


def proportional_order(ids: Sequence[str], labels: Ints, count: int | None = None) -> Ints:
    """Return the first ``count`` indices (all if None) of an order whose prefixes are all proportional to class.

    In every prefix, the count of each class differs from its exact share by less than 1. This restricts each image to a
    window of positions. Within its window, each image has a random preferred position. Each position is filled by the
    image with the earliest preferred position. Exception: if all positions up to ``tight`` are needed for images whose
    windows end there or earlier, only these images are chosen. Images of a class are ordered by a hash of the id. This
    order does not change if other images are added or removed.
    """
    from scipy.special import betainc  # slow to import, and only needed with a limit

    total = len(ids)
    count = total if count is None else min(count, total)
    hashes = id_hashes(ids)
    _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rank, size = ranks(hashes, labels), sizes[inverse]
    opens = rank * total // size + 1  # first position at which the class's share exceeds ``rank`` images
    closes = -(-(rank + 1) * total // size)  # position at which its share reaches ``rank + 1`` images
    # The rank-th smallest of ``size`` uniform numbers is Beta distributed. The CDF maps this value to a uniform number.
    preferred = (rank + betainc(rank + 1, size - rank, hashes / 2**63)) / size
    # Number of free positions up to each position.
    spare = np.arange(total + 1) - np.cumsum(np.bincount(closes, minlength=total + 1))
    arrivals = np.argsort(opens, kind="stable")
    order, waiting, later = np.empty(count, dtype=np.int64), list[tuple[float, int, int]](), list[int]()
    arrived, tight, furthest = 0, total, 0
    for position in range(1, count + 1):
        if position > tight:
            tight = _first_full(spare, position, furthest, default=total)
            for i in later:
                heapq.heappush(waiting, (preferred[i], hashes[i], i))
            later.clear()
        while arrived < total and opens[arrivals[arrived]] <= position:
            i = int(arrivals[arrived])
            heapq.heappush(waiting, (preferred[i], hashes[i], i))
            arrived += 1
        chosen = heapq.heappop(waiting)[2]
        while closes[chosen] > tight:
            later.append(chosen)
            chosen = heapq.heappop(waiting)[2]
        order[position - 1] = chosen
        end = int(closes[chosen])
        spare[position:end] -= 1
        furthest = max(furthest, end)
        tight = _first_full(spare, position + 1, min(end, tight), default=tight)
    return order


def _first_full(spare: Ints, start: int, end: int, *, default: int) -> int:
    """Return the first position in [start, end) without a free position before or at it; ``default`` without one."""
    full = np.flatnonzero(spare[start:end] == 0)
    return start + int(full[0]) if len(full) else default
