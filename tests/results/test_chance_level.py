"""Models no better than chance, against Wilson's formula and McNemar's exact test in whole numbers."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from records import cell_record, run_record

from bench.results.chance_level import (
    Majority,
    at_chance,
    beats_majority,
    chance_notes,
    is_at_chance,
    majority_of,
    of_chance,
)


def lower_end(correct: int, n: int) -> float:
    z, share = 1.959963984540054, correct / n
    return (share + z**2 / (2 * n) - z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)


@pytest.mark.parametrize(("n", "majority"), [(1000, 100), (20, 2), (50, 25), (40, 38), (10000, 100), (64, 7)])
def test_where_the_interval_reaches_down_to_the_most_frequent_class(n: int, majority: int) -> None:
    told = [correct for correct in range(n + 1) if chance_notes(correct, n, Majority(majority, None))]
    assert told == [correct for correct in range(n + 1) if lower_end(correct, n) <= majority / n]
    assert set(range(majority + 1)) <= set(told), "a constant answer has at most so many right"


def test_of_images_of_one_class_no_accuracy_is_evidence() -> None:
    assert at_chance(30, 30, 1.0)


def test_a_network_that_always_says_one_class_is_told_so_whatever_it_gets_right() -> None:
    (majority,) = chance_notes(380, 400, Majority(380, 380), constant=True)
    (minority,) = chance_notes(20, 400, Majority(380, 0), constant=True)
    assert majority.endswith("all predictions are the same class)")
    assert minority.endswith("all predictions are the same class)")


def test_the_note_names_the_counts_and_is_found_among_others() -> None:
    (note,) = chance_notes(100, 1000, Majority(113, 20))
    assert note == "no better than chance (100 of 1000 correct; the most frequent class has 113 of 1000 images)"
    assert of_chance(["something else", note]) == [note]


@pytest.mark.parametrize(
    ("n", "largest", "n_improved", "n_regressed", "guesses"),
    [
        (10000, 9500, 55, 15, False),  # 95.4 %: the interval reaches down to 95 %
        (1000, 900, 20, 5, False),
        (1000, 950, 12, 2, False),
        (100, 95, 5, 3, True),
        (100, 90, 5, 0, False),  # p = 1/32
        (100, 90, 4, 0, True),  # p = 1/16
        (100, 95, 0, 0, True),  # the constant answer itself
        (1000, 500, 15, 55, True),  # worse than the constant answer
    ],
)
def test_the_paired_test_decides_where_the_interval_reaches_down(
    n: int, largest: int, n_improved: int, n_regressed: int, guesses: bool
) -> None:
    correct = largest + n_improved - n_regressed
    assert at_chance(correct, n, largest / n), "the interval alone does not tell them apart"
    run, majority = run_record(), Majority(largest, largest - n_regressed)
    assert bool(chance_notes(correct, n, majority)) == guesses
    clean = dataclasses.replace(
        cell_record(run, "clean", [True]),
        n=n,
        n_correct=correct,
        n_majority=largest,
        n_correct_majority=largest - n_regressed,
    )
    assert is_at_chance(run, clean) == guesses
    assert is_at_chance(run, dataclasses.replace(clean, n_correct_majority=None)), "an older record, by the interval"


def test_the_paired_test_is_mcnemar_in_whole_numbers() -> None:
    for n_improved in range(30):
        for n_regressed in range(30):
            tail = sum(math.comb(n_improved + n_regressed, k) for k in range(n_improved, n_improved + n_regressed + 1))
            significant = Fraction(tail, 2 ** (n_improved + n_regressed)) < Fraction(1, 20)
            assert beats_majority(100 + n_improved - n_regressed, Majority(100, 100 - n_regressed)) == significant, (
                n_improved,
                n_regressed,
            )


def test_an_interval_above_the_largest_class_is_enough() -> None:
    """The paired test alone does not find it: 5,100 gained and 4,950 lost have p = 0.069."""
    majority = Majority(5000, 50)
    assert not beats_majority(5150, majority)
    assert not chance_notes(5150, 10000, majority)


def test_the_counts_are_those_of_the_most_frequent_class() -> None:
    labels = np.array([2, 2, 2, 0, 0, 1])
    assert majority_of(np.array([2, 2, 0, 0, 0, 1]), labels) == Majority(3, 2)
    assert majority_of(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])) == Majority(2, 2)
    assert majority_of(np.array([0, 0, 1, 0]), np.array([0, 0, 1, 1])) == Majority(2, 1), "of two classes, the worse"
    assert majority_of(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1])) == Majority(2, 1)
