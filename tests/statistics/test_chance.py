"""The note on a network that guesses: where Wilson's interval, by its formula, reaches down to the largest class."""

from __future__ import annotations

import math

import pytest

from bench.chance import at_chance, chance_notes, of_chance


def lower_end(correct: int, n: int) -> float:
    z, share = 1.959963984540054, correct / n
    return (share + z**2 / (2 * n) - z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)


@pytest.mark.parametrize(("n", "majority"), [(1000, 100), (20, 2), (50, 25), (40, 38), (10000, 100), (64, 7)])
def test_where_the_interval_reaches_down_to_the_most_frequent_class(n: int, majority: int) -> None:
    told = [correct for correct in range(n + 1) if chance_notes(correct, n, majority)]
    assert told == [correct for correct in range(n + 1) if lower_end(correct, n) <= majority / n]
    assert set(range(majority + 1)) <= set(told), "a constant answer has at most so many right"


def test_of_images_of_one_class_no_accuracy_is_evidence() -> None:
    assert at_chance(30, 30, 1.0)


def test_a_network_that_always_says_one_class_is_told_so_whatever_it_gets_right() -> None:
    (majority,) = chance_notes(380, 400, 380, constant=True)
    (minority,) = chance_notes(20, 400, 380, constant=True)
    assert majority.endswith("it gives all images the same class)")
    assert minority.endswith("it gives all images the same class)")


def test_the_note_names_the_counts_and_is_found_among_others() -> None:
    (note,) = chance_notes(100, 1000, 113)
    assert note == "no better than chance (100 of 1000 right, the most frequent class alone has 113)"
    assert of_chance(["something else", note]) == [note]
