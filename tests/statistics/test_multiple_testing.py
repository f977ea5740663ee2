"""Holm's correction, by hand and against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from bench.statistics.multiple_testing import holm


def test_holm_by_hand() -> None:
    """0.01·4; then 0.02·3 = 0.06; then 0.03·2 = 0.06; then 0.5·1. In the order they came in."""
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])


def test_a_larger_p_is_never_corrected_to_less() -> None:
    """0.02·3 = 0.06 goes before 0.025·2 = 0.05, and nothing exceeds 1."""
    assert holm([0.02, 0.025, 0.9]) == pytest.approx([0.06, 0.06, 0.9])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_a_test_that_was_not_made_does_not_count() -> None:
    assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]
    assert holm([None]) == [None]
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(8))
def test_holm_against_its_definition(seed: int) -> None:
    p_values = [float(p) for p in np.random.default_rng(seed).uniform(0, 0.3, size=seed + 1)]
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    expected, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        expected[i] = highest
    assert holm(p_values) == pytest.approx(expected)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="must be in"):
        holm([0.5, p])
