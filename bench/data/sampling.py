"""Which images stand for a split when not all of them are used: a sample proportional to class.

Every prefix of the order holds n·n_c/N images of class c, rounded up or down (n images of N, n_c in the class), so that
an accuracy on n images estimates the accuracy on the split. Which classes are rounded up is random, but a function of
the ids: of many rare classes, not only the largest are drawn.
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
    """A uniform integer in [0, 2^63) for every id."""
    return np.array([derive_seed("stratified", sample_id) for sample_id in ids], dtype=np.int64)


def ranks(hashes: Ints, labels: Ints) -> Ints:
    """The place of every image among those of its class, from 0, by hash."""
    by_hash = np.argsort(hashes, kind="stable")
    found = np.empty(len(hashes), dtype=np.int64)
    for label in np.unique(labels):
        members = by_hash[labels[by_hash] == label]
        found[members] = np.arange(len(members))
    return found


def is_balanced(labels: Ints) -> bool:
    """Whether all classes that occur have equally many images."""
    counts = np.unique(labels, return_counts=True)[1]
    return bool((counts == counts[:1]).all())


def sampling_version(labels: Ints) -> int:
    """Version of the sampling that chooses among images with these labels; part of what makes a number.

    Version 1 drew equally many images of every class. Where classes are equally large, both draw the same images.
    """
    return 1 if is_balanced(labels) else SAMPLING_VERSION


def drawn_notes(n: int, n_test: int) -> tuple[str, ...]:
    """What a row says of its images where they are not the whole test split.

    >>> drawn_notes(1000, 10000), drawn_notes(500, 500)
    (('1000 of 10000 test images, proportional to class',), ())
    """
    return (f"{n} of {n_test} test images, proportional to class",) if n < n_test else ()


def proportional_order(ids: Sequence[str], labels: Ints, count: int | None = None) -> Ints:
    """The first ``count`` indices (all when None) of an order whose every prefix is proportional to class.

    The count of every class in a prefix differs from its exact share by less than 1. Each image has a window of places
    in which this holds and a random place within it. Places are filled by the image whose random place comes first,
    except where every place up to some ``tight`` one is needed for images whose windows end there. The order inside a
    class comes from a hash of the id: it does not move when other images come or go.
    """
    from scipy.special import betainc  # slow to import, and only needed where there is a limit

    total = len(ids)
    count = total if count is None else min(count, total)
    hashes = id_hashes(ids)
    _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rank, size = ranks(hashes, labels), sizes[inverse]
    opens = rank * total // size + 1  # the first place at which the class's share is more than ``rank`` images
    closes = -(-(rank + 1) * total // size)  # the place at which its share reaches ``rank + 1`` images
    # The rank-th smallest of ``size`` uniform numbers is Beta distributed, and its distribution function uniform.
    wish = (rank + betainc(rank + 1, size - rank, hashes / 2**63)) / size
    spare = np.arange(total + 1) - np.cumsum(np.bincount(closes, minlength=total + 1))  # free places up to each place
    arrivals = np.argsort(opens, kind="stable")
    order, waiting, later = np.empty(count, dtype=np.int64), list[tuple[float, int, int]](), list[int]()
    arrived, tight, furthest = 0, total, 0
    for place in range(1, count + 1):
        if place > tight:
            tight = _first_full(spare, place, furthest, default=total)
            for i in later:
                heapq.heappush(waiting, (wish[i], hashes[i], i))
            later.clear()
        while arrived < total and opens[arrivals[arrived]] <= place:
            i = int(arrivals[arrived])
            heapq.heappush(waiting, (wish[i], hashes[i], i))
            arrived += 1
        chosen = heapq.heappop(waiting)[2]
        while closes[chosen] > tight:
            later.append(chosen)
            chosen = heapq.heappop(waiting)[2]
        order[place - 1] = chosen
        end = int(closes[chosen])
        spare[place:end] -= 1
        furthest = max(furthest, end)
        tight = _first_full(spare, place + 1, min(end, tight), default=tight)
    return order


def _first_full(spare: Ints, start: int, end: int, *, default: int) -> int:
    """The first place in [start, end) up to which no place is to spare."""
    full = np.flatnonzero(spare[start:end] == 0)
    return start + int(full[0]) if len(full) else default
