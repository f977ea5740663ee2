"""The note on a network that guesses: by an exact binomial tail, against the most frequent class of the images."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from bench.chance import at_chance, chance_notes, of_chance


def tail(correct: int, n: int, share: Fraction) -> Fraction:
    """P(X ≥ correct) for X ~ Binomial(n, share), exactly."""
    return sum(
        (math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(correct, n + 1)), start=Fraction(0)
    )


@pytest.mark.parametrize(("n", "majority"), [(100, 10), (20, 2), (50, 25), (40, 38), (400, 4), (7, 7), (64, 7)])
def test_chance_ends_where_the_exact_tail_is_small(n: int, majority: int) -> None:
    told = [correct for correct in range(n + 1) if chance_notes(correct, n, majority)]
    assert told == [c for c in range(n + 1) if tail(c, n, Fraction(majority, n)) > Fraction(25, 1000)]
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
