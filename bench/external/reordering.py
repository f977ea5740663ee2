"""Find a better assignment of a network's outputs to classes than the declared one.

An assignment is fitted on one half of the images (Kuhn 1955) and tested on the other half, so that overfitting is not
reported as an improvement. The common sort orders of class folders need no fit and are tested on all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.class_order import NATURAL, STRING, natural_key

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Reordering(NamedTuple):
    """Another class order, with its outcomes on images that were not used to fit it."""

    order: tuple[int, ...]  # output k is class order[k]
    tested: Ints  # indices of the tested images
    after: Bools  # true for tested images that are correctly classified in this order
    sorting: str = ""  # "natural" or "string" for a sort order of the class names; empty if fitted


def fitted_order(outputs: Ints, labels: Ints, declared: Ints) -> Reordering | None:
    """Fit an order on every second image of each class and test it on the others.

    ``outputs`` (N,) are the indices of the largest logits, or −1; ``declared`` (K,) are the classes of the outputs.
    Return None if the fitted order is the declared one.
    """
    ranked = np.argsort(labels, kind="stable")
    fit_indices, test_indices = ranked[::2], ranked[1::2]
    order = _assign(_confusion(outputs[fit_indices], labels[fit_indices], len(declared)), declared)
    changed = len(test_indices) > 0 and not np.array_equal(order, declared)
    return _reordering(order, test_indices, outputs, labels) if changed else None


def sorted_orders(outputs: Ints, labels: Ints, names: Sequence[str]) -> list[Reordering]:
    """Return the natural and the string order of the class ``names``, tested on all images. Empty without names."""
    orders = {NATURAL: sorted(range(len(names)), key=lambda k: natural_key(names[k]))}
    orders[STRING] = sorted(range(len(names)), key=lambda k: names[k])
    all_indices = np.arange(len(labels))
    return [
        _reordering(np.array(order), all_indices, outputs, labels)._replace(sorting=sorting)
        for sorting, order in orders.items()
        if names
    ]


def classes_of(outputs: Ints, order: Ints) -> Ints:
    """Return the predicted classes; −1 where ``outputs`` is −1."""
    return np.where(outputs >= 0, order[outputs], -1)


def _confusion(outputs: Ints, labels: Ints, num_classes: int) -> Ints:
    """Count images by output and label, (K, K)."""
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    valid = outputs >= 0
    np.add.at(counts, (outputs[valid], labels[valid]), 1)
    return counts


def _assign(counts: Ints, declared: Ints) -> Ints:
    """Return the order with the most correct images. Every declared class adds half an image to the sum."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    _, order = linear_sum_assignment(counts + 0.5 * np.eye(len(counts))[declared], maximize=True)
    return np.asarray(order, dtype=np.int64)


def _reordering(order: Ints, tested: Ints, outputs: Ints, labels: Ints) -> Reordering:
    return Reordering(tuple(order.tolist()), tested, classes_of(outputs[tested], order) == labels[tested])
