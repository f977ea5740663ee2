"""The entropy estimate against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.diagnostics.entropy import entropy, kozachenko_leonenko
from bench.diagnostics.latents import Latents

GAUSSIAN = 0.5 * math.log(2 * math.pi * math.e)


def latents_of(z: np.ndarray) -> Latents:
    return Latents(z, np.zeros(len(z), dtype=int), 1)


@pytest.mark.parametrize("d", [1, 2, 4, 8])
def test_a_gaussian_has_the_entropy_of_its_closed_form(d: int) -> None:
    points = np.random.default_rng(d).standard_normal((10_000, d))
    assert kozachenko_leonenko(points).value == pytest.approx(GAUSSIAN, abs=0.03)
    assert kozachenko_leonenko(0.01 * points).value == pytest.approx(GAUSSIAN + math.log(0.01), abs=0.03)
    assert entropy(latents_of(0.01 * points + 5)).value == pytest.approx(GAUSSIAN, abs=0.03)


@pytest.mark.parametrize("k", [1, 5, 50])
def test_the_number_of_neighbours_is_in_the_formula(k: int) -> None:
    points = np.random.default_rng(0).random((20_000, 1))  # entropy 0
    assert kozachenko_leonenko(points, k=k).value == pytest.approx(0, abs=0.04)


def test_one_common_scale_keeps_a_direction_that_was_given_up() -> None:
    widths = np.array([1.0, 0.3])
    z = widths * np.random.default_rng(0).standard_normal((10_000, 2))
    expected = GAUSSIAN + np.log(widths).mean() - 0.5 * math.log(np.square(widths).mean())
    assert entropy(latents_of(z)).value == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("width", [1e-2, 1e-9])
def test_classes_tighter_than_the_root_of_the_precision_are_still_clouds(width: float) -> None:
    rng = np.random.default_rng(0)
    centres = 1.0 + np.repeat(np.arange(4.0), 500)[:, None]
    points = centres * np.ones(20) + width * rng.standard_normal((2_000, 20))
    single = kozachenko_leonenko(rng.standard_normal((500, 20))).value  # with the bias of 500 points in 20 dimensions
    expected = single + math.log(4) / 20 + math.log(width)
    assert kozachenko_leonenko(points).value == pytest.approx(expected, abs=0.03)


def test_few_points_have_fewer_neighbours() -> None:
    points = np.random.default_rng(0).standard_normal((5, 2))
    assert kozachenko_leonenko(points, k=20) == kozachenko_leonenko(points, k=4)
    two = kozachenko_leonenko(np.array([[0.0], [3.0]]))
    assert two.value == pytest.approx(1 + math.log(2) + math.log(3))  # ψ(2) - ψ(1) = 1, a ball of length 2


def test_what_has_no_entropy_says_why() -> None:
    assert kozachenko_leonenko(np.zeros((1, 3))).reason == "fewer than two images"
    assert entropy(latents_of(np.ones((1, 3)))).reason == "fewer than two images"
    assert entropy(latents_of(np.full((30, 3), 0.1))).reason == "all latents coincide"
    rng = np.random.default_rng(0)
    points = rng.standard_normal((100, 2))
    points[:21] = 0.3  # each has 20 neighbours at distance zero
    assert kozachenko_leonenko(points).reason == "some k-th neighbours coincide"
    points[20] = 1.0
    assert math.isfinite(kozachenko_leonenko(points).value)
    with pytest.raises(ValueError, match="at least 1"):
        kozachenko_leonenko(points, k=0)
