"""The remark on a network that guesses: where Wilson's interval, by its formula, reaches down to one class of K."""

from __future__ import annotations

import math

import pytest

from bench.chance import chance_notes, of_chance


def lower_end(correct: int, n: int) -> float:
    z, share = 1.959963984540054, correct / n
    return (share + z**2 / (2 * n) - z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)


@pytest.mark.parametrize(("n", "classes"), [(1000, 10), (20, 10), (50, 2), (10000, 100)])
def test_where_the_interval_reaches_down_to_chance(n: int, classes: int) -> None:
    told = [correct for correct in range(n + 1) if chance_notes(correct, n, classes)]
    assert told == [correct for correct in range(n + 1) if lower_end(correct, n) <= 1 / classes]
    assert n / classes < len(told) < n


def test_the_remark_names_the_classes_and_is_found_among_others() -> None:
    (note,) = chance_notes(100, 1000, 10)
    assert note == "no better than chance (1 of 10 classes), by the 95 % interval"
    assert of_chance(["something else", note]) == [note]
