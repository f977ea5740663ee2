from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.attacks.corruptions.poisson import poisson

LAST = 2**32 - 1


@pytest.mark.parametrize("photons", [500, 60, 3, 87.5])
def test_counts_are_the_quantiles_of_the_distribution(photons: float) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4000,), dtype=np.uint8)
    bits = rng.integers(0, LAST, images.shape, dtype=np.uint32)
    bits[:4] = [0, 1, LAST - 1, LAST]
    expected = stats.poisson.ppf(((bits >> 1) + 0.5) / 2.0**31, images * (photons / 255))
    np.testing.assert_array_equal(poisson(images, photons, bits), np.minimum(expected, np.ceil(photons)))


def test_black_gets_no_photon() -> None:
    bits = np.array([0, 2**31, LAST], dtype=np.uint32)
    assert not poisson(np.zeros(3, dtype=np.uint8), 500, bits).any()
