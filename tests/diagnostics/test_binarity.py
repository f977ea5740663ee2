"""Binarity against distributions whose best split is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from bench.diagnostics.binarity import best_split, binarity, binarity_mean, binarity_min, vertex_cosine
from bench.diagnostics.latents import Latents

SHARE = 2 / math.pi


def one_class(z: np.ndarray) -> Latents:
    return Latents(z, np.zeros(len(z), dtype=int), 1)


def hypercube(d: int, half_edge: float) -> Latents:
    z = half_edge * np.array(list(itertools.product([-1.0, 1.0], repeat=d)))
    return Latents(np.concatenate([z, z]), np.tile(np.arange(2**d), 2), 2**d)


@pytest.mark.parametrize("half_edge", [1e-6, 0.1, 1e4])
def test_a_hypercube_is_binary_and_its_own_corner(half_edge: float) -> None:
    latents = hypercube(4, half_edge)
    assert binarity_mean(latents).value == pytest.approx(1, abs=1e-12)
    assert binarity_min(latents).value == pytest.approx(1, abs=1e-12)
    assert vertex_cosine(latents).value == pytest.approx(1, abs=1e-12)


def test_the_best_split_is_the_best_of_all_splits() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 7, 12):
        values = rng.standard_cauchy(n)
        best = 0.0
        for members in itertools.product([False, True], repeat=n):
            first = np.array(members)
            if first.any() and not first.all():
                within = first.mean() * values[first].var() + (~first).mean() * values[~first].var()
                best = max(best, 1 - within / values.var())
        assert best_split(values) == pytest.approx(best, rel=1e-12)


def test_a_gaussian_is_at_zero_on_both_sides() -> None:
    z = np.random.default_rng(0).standard_normal((4_000, 50))
    scores = binarity(z).scores
    assert abs(scores.mean()) < 0.006  # one dimension varies by 0.017, so the mean of fifty by 0.0025
    assert scores.min() < 0 < scores.max()
    latents = one_class(z)
    assert binarity_mean(latents).value == pytest.approx(scores.mean())
    assert binarity_min(latents).value == pytest.approx(scores.min())


def test_known_densities() -> None:
    n = 20_000
    grid = (np.arange(n) + 0.5) / n
    laplace = np.sign(grid - 0.5) * -np.log(1 - np.abs(2 * grid - 1))
    uniform, heavy = binarity(np.stack([grid, laplace], axis=1)).scores
    assert uniform == pytest.approx((3 / 4 - SHARE) / (1 - SHARE), abs=1e-3)
    assert heavy == pytest.approx((1 / 2 - SHARE) / (1 - SHARE), abs=1e-2)  # (E abs x)² / E x² = 1/2: not clipped


@pytest.mark.parametrize("width", [1e-1, 1e-4, 1e-6])
def test_no_width_is_floored(width: float) -> None:
    rng = np.random.default_rng(0)
    side = np.repeat([-1.0, 1.0, 1.0], 4_000)
    z = (side + width * rng.standard_normal(len(side)))[:, None]
    variance = 4 * (1 / 3) * (2 / 3)
    expected = width**2 / (variance + width**2) / (1 - SHARE)
    assert 1 - binarity_mean(one_class(z)).value == pytest.approx(expected, rel=0.05)


def test_constant_dimensions_are_left_out_and_counted() -> None:
    z = np.stack([np.full(300, 0.1), np.tile([-1.0, 1.0], 150), np.linspace(0, 1, 300)], axis=1)
    z[:, 0] += 1e-17 * np.arange(300)  # rounding
    scores, constant = binarity(z)
    assert constant == 1
    assert scores == pytest.approx([1, 0.312], abs=1e-3)
    assert binarity_mean(one_class(z)).value == pytest.approx(0.656, abs=1e-3)
    assert binarity_min(one_class(z)).value == pytest.approx(0.312, abs=1e-3)
    assert binarity_min(one_class(z[:, :1])).reason == "every dimension is constant"
    assert binarity_mean(one_class(z[:2])).reason == "fewer than three images"


def test_the_level_of_means_without_alignment_is_the_documented_one() -> None:
    means = np.random.default_rng(0).standard_normal((400, 256))
    latents = Latents(means, np.arange(400), 400)
    assert vertex_cosine(latents).value == pytest.approx(math.sqrt(2 / math.pi), abs=0.003)


def test_the_corner_is_about_the_origin_and_each_class_weighs_the_same() -> None:
    z = np.array([[3.0, 4.0], [3.0, 4.0], [3.0, 4.0], [0.0, 2.0]])
    expected = (7 / 5 + 1) / 2 / math.sqrt(2)
    assert vertex_cosine(Latents(z, np.array([0, 0, 0, 1]), 2)).value == pytest.approx(expected)
    opposite = np.array([[1.0, 2.0], [-1.0, -2.0]])
    assert vertex_cosine(one_class(opposite)).reason == "a class mean is zero"
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50, 3))
    balanced = one_class(np.concatenate([points, rng.permutation(-points)]))
    assert balanced.classes.means.any()  # by rounding
    assert vertex_cosine(balanced).reason == "a class mean is zero"
