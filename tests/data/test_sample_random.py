"""Random numbers per image: their distribution, and what they depend on."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from bench.data.sample_random import SampleRandom


def splitmix(value: int) -> int:
    """The finaliser of SplitMix64, in Python's integers."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def test_the_hash_is_that_of_splitmix64() -> None:
    """The published first output of the generator with seed 1234567 is 6457827717110365317."""
    golden = 0x9E3779B97F4A7C15
    assert splitmix((1234567 + golden) % 2**64) == 6457827717110365317
    random = SampleRandom(3, 5, torch.tensor([0, 7]))
    bits = random._bits("noise", 4)
    from bench.core.seeds import derive_seed

    key = derive_seed(3, "noise", 5)
    for row, index in enumerate((0, 7)):
        stream = splitmix((index * golden + key) % 2**64)
        expected = [splitmix((stream + position * golden) % 2**64) for position in range(4)]
        assert [int(value) % 2**64 for value in bits[row]] == expected


@pytest.mark.parametrize("seed", range(3))
def test_numbers_are_uniform_and_normal(seed: int) -> None:
    random = SampleRandom(seed, 1, torch.arange(200))
    uniform, normal = random.uniform("a", 5, 10), random.normal("b", 5, 10)
    assert uniform.shape == normal.shape == (200, 5, 10)
    assert uniform.dtype == normal.dtype == torch.float32
    assert 0 <= uniform.min() < 1e-3
    assert 1 - 1e-3 < uniform.max() < 1
    assert stats.kstest(uniform.flatten().numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(normal.flatten().numpy(), "norm").pvalue > 1e-3


def test_numbers_of_images_positions_epochs_seeds_and_purposes_are_uncorrelated() -> None:
    indices = torch.arange(4000)
    first = SampleRandom(0, 1, indices).uniform("a", 2)
    others = [
        first[:, 1],
        first[:, 0].roll(1),
        SampleRandom(1, 1, indices).uniform("a", 1)[:, 0],
        SampleRandom(0, 2, indices).uniform("a", 1)[:, 0],
        SampleRandom(0, 1, indices).uniform("b", 1)[:, 0],
    ]
    for other in others:
        assert abs(float(torch.corrcoef(torch.stack([first[:, 0], other]))[0, 1])) < 0.06


def test_numbers_of_an_image_do_not_depend_on_its_batch() -> None:
    whole = SampleRandom(0, 1, torch.arange(100)).normal("noise", 3, 4)
    part = SampleRandom(0, 1, torch.tensor([41, 3, 99])).normal("noise", 3, 4)
    assert torch.equal(part, whole[[41, 3, 99]])


def test_more_numbers_begin_with_the_same() -> None:
    random = SampleRandom(0, 1, torch.arange(9))
    assert torch.equal(random.uniform("a", 3), random.uniform("a", 8)[:, :3])
