"""Draws are functions of key and counters, uniform, and not related to one another."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.attacks.engine.counter_rng import bulk_normal, bulk_uniform, derive, integers, signs, uniform

KEYS = torch.arange(20_000)


def test_the_hash_is_splitmix64() -> None:
    """The first outputs of the published generator from the seed 0 are those of the counters 0, 1 and 2."""
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    found = derive(torch.zeros(3, dtype=torch.int64), torch.arange(3))
    assert [number % 2**64 for number in found.tolist()] == published


def test_uniform_draws_are_uniform() -> None:
    draws = uniform(KEYS, "stage", 3)
    assert draws.dtype == torch.float64
    counts = torch.histc(draws, bins=20, min=0, max=1)
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 43.8  # chi-square, 19 degrees of freedom, p = 0.001


@pytest.mark.parametrize("other", [("stage", 4), ("other", 3), (3, "stage"), ("stage",), ("stage", 3, 0)])
def test_draws_under_other_counters_are_unrelated(other: tuple[str | int, ...]) -> None:
    pair = torch.stack([uniform(KEYS, "stage", 3), uniform(KEYS, *other)])
    assert abs(float(torch.corrcoef(pair)[0, 1])) < 4 / len(KEYS) ** 0.5


def test_neighbouring_keys_are_unrelated() -> None:
    draws = uniform(KEYS, 0)
    assert abs(float(torch.corrcoef(torch.stack([draws[1:], draws[:-1]]))[0, 1])) < 4 / len(KEYS) ** 0.5


def test_integers_and_signs_cover_their_values_evenly() -> None:
    assert torch.bincount(integers(KEYS, 7, 1)).double() == pytest.approx(len(KEYS) / 7, rel=0.1)
    bounds = torch.tensor([1, 2, 3]).repeat(10)
    assert bool((integers(KEYS[:30], bounds, 1) < bounds).all())
    assert abs(float(signs(KEYS, 1).double().mean())) < 4 / len(KEYS) ** 0.5
    assert set(signs(KEYS, 1).tolist()) == {-1, 1}


@pytest.mark.parametrize("draw", [bulk_uniform, bulk_normal])
def test_bulk_noise_belongs_to_the_key(draw: Any) -> None:  # type: ignore[no-untyped-def]
    together = draw(KEYS[:5], (3, 2))
    assert torch.equal(draw(KEYS[2:3], (3, 2))[0], together[2])
    assert not torch.equal(together[0], together[1])
    assert draw(KEYS[:0], (3, 2)).shape == (0, 3, 2)
