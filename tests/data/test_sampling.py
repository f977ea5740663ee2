"""A limited number of images: proportional to class, nested, by id alone, and what it says of the whole split."""

from __future__ import annotations

import functools
import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.sampling import (
    drawn_notes,
    id_hashes,
    is_balanced,
    proportional_order,
    ranks,
    sampling_version,
)
from bench.data.split import Split, array_split, take
from bench.statistics.intervals import wilson_interval

proportional_order(["one"], np.zeros(1, np.int64))  # imports SciPy, for which no example should be blamed
labels_of_a_split = st.lists(st.integers(0, 4), min_size=1, max_size=60)


def split_of(labels: list[int], ids: list[str] | None = None) -> Split:
    ids = [f"test/{i:05d}" for i in range(len(labels))] if ids is None else ids
    pixels = np.zeros((len(labels), 1, 2, 2), np.uint8)
    return Split("test", ids, np.array(labels, dtype=np.int64), "", lambda indices: pixels[indices])


def order_of(split: Split) -> list[int]:
    return proportional_order(split.ids, split.labels).tolist()


@given(labels=labels_of_a_split)
def test_the_order_is_a_permutation(labels: list[int]) -> None:
    assert sorted(order_of(split_of(labels))) == list(range(len(labels)))


@given(labels=labels_of_a_split)
def test_more_images_are_never_other_images(labels: list[int]) -> None:
    split = split_of(labels)
    chosen = [set(take(split, n).tolist()) for n in range(len(labels) + 2)]
    assert [len(c) for c in chosen] == [*range(len(labels) + 1), len(labels)]
    assert all(fewer <= more for fewer, more in itertools.pairwise(chosen))


@given(labels=labels_of_a_split, n=st.integers(0, 60))
def test_a_part_of_the_order_is_its_beginning(labels: list[int], n: int) -> None:
    split = split_of(labels)
    assert proportional_order(split.ids, split.labels, n).tolist() == order_of(split)[:n]


def deviations(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(N, K): in every prefix of the order, images of each class beyond its exact share."""
    classes, counts = np.unique(labels, return_counts=True)
    taken = np.cumsum(labels[order][:, None] == classes, axis=0)
    return taken - np.arange(1, len(labels) + 1)[:, None] * counts / len(labels)


@given(labels=labels_of_a_split)
def test_every_prefix_is_proportional_to_class(labels: list[int]) -> None:
    assert (np.abs(deviations(np.array(labels), np.array(order_of(split_of(labels))))) < 1).all()


@pytest.mark.parametrize(
    "counts", [[380, 20], [500, *[1] * 100], [5000, 997, 313, 100, 31, 10, 3, 1], [250, 249, 1], [7] * 13, [1] * 40]
)
def test_whatever_the_classes_are(counts: list[int]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    order = proportional_order([f"t/{i}" for i in range(len(labels))], labels)
    assert sorted(order.tolist()) == list(range(len(labels)))
    assert np.abs(deviations(labels, order)).max() < 1


@pytest.mark.parametrize(("classes", "of_each"), [(10, 100), (100, 10), (3, 7), (2, 400)])
def test_equal_classes_are_drawn_as_they_were_before(classes: int, of_each: int) -> None:
    """In rounds of one image per class, by hash: data sets with equal classes keep their cells and numbers."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(classes), of_each))
    ids = [f"test/{i:05d}" for i in range(len(labels))]
    hashes = id_hashes(ids)
    assert (proportional_order(ids, labels) == np.lexsort((hashes, ranks(hashes, labels)))).all()
    assert is_balanced(labels)
    assert (sampling_version(labels), sampling_version(labels[1:])) == (1, 2)


@given(labels=labels_of_a_split, data=st.data())
def test_a_removed_image_moves_no_other_in_its_class(labels: list[int], data: st.DataObject) -> None:
    split = split_of(labels)
    gone = data.draw(st.integers(0, len(labels) - 1))
    kept = [i for i in range(len(labels)) if i != gone]
    fewer = split_of([labels[i] for i in kept], [split.ids[i] for i in kept])
    for label in set(labels):
        before = [split.ids[i] for i in order_of(split) if split.labels[i] == label and i != gone]
        after = [fewer.ids[i] for i in order_of(fewer) if fewer.labels[i] == label]
        assert before == after


@given(labels=labels_of_a_split, data=st.data())
def test_the_chosen_images_depend_on_neither_order_nor_names_of_classes(labels: list[int], data: st.DataObject) -> None:
    split = split_of(labels)
    shuffled = data.draw(st.permutations(range(len(labels))))
    renamed = data.draw(st.permutations(range(5)))
    other = split_of([renamed[labels[i]] for i in shuffled], [split.ids[i] for i in shuffled])
    n = data.draw(st.integers(0, len(labels)))
    assert {split.ids[i] for i in take(split, n)} == {other.ids[i] for i in take(other, n)}


@given(images=st.lists(st.tuples(st.integers(-2, 4), st.integers(0, 9)), max_size=60))
def test_ranks_count_the_smaller_hashes_of_the_class(images: list[tuple[int, int]]) -> None:
    """Equal hashes, which SHA-256 never gives, keep the given order."""
    labels, hashes = np.array(images, dtype=np.int64).reshape(-1, 2).T
    expected = [
        sum(other == label and (h, j) < (value, i) for j, (other, h) in enumerate(images))
        for i, (label, value) in enumerate(images)
    ]
    assert ranks(hashes, labels).tolist() == expected


def test_the_time_does_not_grow_with_the_number_of_classes() -> None:
    """A pass over all images per class would take thousands of times as long for 50,000 classes as for two."""
    hashes = np.arange(100_000)[::-1].copy()

    def seconds(classes: int) -> float:
        labels = np.repeat(np.arange(classes), 100_000 // classes)
        start = time.process_time()
        assert ranks(hashes, labels)[0] == 100_000 // classes - 1
        return time.process_time() - start

    assert min(seconds(50_000) for _ in range(3)) < 30 * max(min(seconds(2) for _ in range(3)), 0.005)


def test_the_order_is_the_same_for_ever() -> None:
    assert order_of(split_of([0, 1, 2] * 3)) == [6, 7, 2, 0, 5, 1, 8, 3, 4]
    assert order_of(split_of([0, 0, 1, 0, 0, 0, 1, 0, 2])) == [6, 0, 7, 5, 8, 1, 2, 3, 4]


def test_indices_come_ascending() -> None:
    assert take(split_of([0, 1] * 20), 7).tolist() == sorted(take(split_of([0, 1] * 20), 7))


def test_a_row_says_how_many_images_and_how_they_were_drawn() -> None:
    assert drawn_notes(40, 400) == ("40 of 400 test images, proportional to class",)
    assert drawn_notes(400, 400) == ()


# What an accuracy on n images says of the accuracy on the split: over many sets of ids, which are as many draws.

SPLITS = {
    "two classes": ([380, 20], [0.98, 0.3], 40),
    "ten classes": ([900, 450, 300, 150, 75, 60, 30, 20, 10, 5], np.linspace(0.95, 0.2, 10), 100),
    "few images": ([500, 300, 100, 50, 30, 20], [0.9, 0.8, 0.6, 0.3, 0.2, 0.1], 13),
    "more classes than images": ([200, *[40] * 10, *[3] * 150], [0.9] * 11 + [0.3] * 150, 50),
}
DRAWS = 300


@functools.cache
def estimates(name: str) -> tuple[float, int, list[int]]:
    """The split's accuracy, the number of images, and how many of them were right in every draw."""
    counts, shares, n = SPLITS[name]
    labels = np.repeat(np.arange(len(counts)), counts)
    rights = []
    rng = np.random.default_rng(0)
    right = np.concatenate([np.arange(c) < round(c * share) for c, share in zip(counts, shares, strict=True)])
    for draw in range(DRAWS):
        split = array_split(f"draw-{draw}", np.zeros((len(labels), 1, 1, 1), np.uint8), labels)
        shuffled = rng.permutation(len(labels))  # which of a class are right has nothing to do with the ids
        shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
        rights.append(int(right[shuffled][take(split, n)].sum()))
    return float(right.mean()), n, rights


@pytest.mark.parametrize("name", SPLITS)
def test_intervals_cover_the_accuracy_of_the_split(name: str) -> None:
    truth, n, rights = estimates(name)
    intervals = [wilson_interval(right, n) for right in rights]
    assert np.mean([low <= truth <= high for low, high in intervals]) >= 0.93


@pytest.mark.parametrize("name", SPLITS)
def test_the_estimate_is_unbiased(name: str) -> None:
    truth, n, rights = estimates(name)
    accuracies = np.array(rights) / n
    error = accuracies.std(ddof=1) / np.sqrt(DRAWS)
    assert abs(accuracies.mean() - truth) < 3.5 * error
