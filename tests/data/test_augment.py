"""Augmentation by brute force: every crop is a window, every flip a mirror, the fill is what normalising made of 0."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from bench.core.specs import Recipe
from bench.data.augment import augment
from bench.data.sample_random import SampleRandom
from bench.models.classifier import Normalize


def augmented(inputs: Tensor, mean: Tensor | None = None, **recipe: object) -> Tensor:
    random = SampleRandom(0, 1, torch.arange(len(inputs)))
    return augment(inputs, Recipe(epochs=1, **recipe), mean=mean, random=random)  # type: ignore[arg-type]


def test_every_crop_is_a_window_of_the_padded_image() -> None:
    inputs = torch.arange(1, 2 * 1 * 4 * 4 + 1).float().view(2, 1, 4, 4).repeat(40, 1, 1, 1)
    places = set()
    for before, after in zip(inputs, augmented(inputs, crop_padding=2), strict=True):
        padded = nn.functional.pad(before, [2] * 4)
        windows = {(i, j) for i in range(5) for j in range(5) if torch.equal(padded[:, i : i + 4, j : j + 4], after)}
        assert len(windows) == 1
        places |= windows
    assert len(places) > 15


def test_padding_by_the_mean_is_padding_by_zero_after_the_normalisation() -> None:
    normalize = Normalize((0.2, 0.5, 0.7), (0.1, 0.2, 0.3))
    inputs = torch.rand(60, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    cropped = normalize(augmented(inputs, normalize.mean, crop_padding=2, crop_fill="mean"))
    padded = nn.functional.pad(normalize(inputs), [2] * 4)
    for image, whole in zip(cropped, padded, strict=True):
        windows = [whole[:, i : i + 4, j : j + 4] for i in range(5) for j in range(5)]
        assert min(float((image - window).abs().max()) for window in windows) < 1e-5


def test_flips_mirror_about_half_of_the_images() -> None:
    inputs = torch.rand(400, 1, 3, 3)
    flipped = augmented(inputs, horizontal_flip=True)
    same = (flipped == inputs).flatten(1).all(1)
    mirrored = (flipped == inputs.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 150 < int(mirrored.sum()) < 250


def test_a_resized_crop_is_a_box_inside_the_image() -> None:
    """On an image whose pixels are their own coordinates: the box is inside, upright, and of the published sizes."""
    side = 64
    line = (torch.arange(side) + 0.5) / side
    inputs = torch.stack([line.expand(side, side), line[:, None].expand(side, side)]).expand(300, 2, side, side)
    out = augmented(inputs, resized_crop=True)
    width = (out[:, 0, :, -1] - out[:, 0, :, 0]).mean(1) * side / (side - 1)
    height = (out[:, 1, -1] - out[:, 1, 0]).mean(1) * side / (side - 1)
    area, ratio = width * height, width / height
    assert (out >= 0).all()
    assert (out <= 1).all()
    assert 0.06 < float(area.min()) < 0.15
    assert float(area.max()) > 0.8
    assert float(area.mean()) == pytest.approx(0.53, abs=0.05)
    assert float(ratio.min()) > 0.7
    assert float(ratio.max()) < 1.4


def test_noise_after_the_normalisation_has_its_standard_deviation_there() -> None:
    """As the authors compute it: normalise, then add noise of 0.01."""
    inputs, mean, std = torch.rand(64, 3, 16, 16), torch.full((1, 3, 1, 1), 0.4), torch.tensor([0.1, 0.3, 0.5])
    normalize = Normalize((0.4,) * 3, std.tolist())
    recipe = Recipe(epochs=1, noise=0.01, noise_space="normalized")
    random = SampleRandom(0, 1, torch.arange(len(inputs)))
    noisy = augment(inputs, recipe, mean=mean, std=normalize.std, random=random)
    noise = normalize(noisy) - normalize(inputs)
    expected = 0.01 * random.normal("noise", *inputs.shape[1:])
    assert torch.allclose(noise, expected, atol=1e-5)
    in_pixels = augment(
        inputs, dataclasses.replace(recipe, noise_space="pixels"), mean=mean, std=normalize.std, random=random
    )
    assert torch.allclose(in_pixels - inputs, expected, atol=1e-6)


def test_noise_has_its_standard_deviation() -> None:
    inputs = torch.full((50, 3, 8, 8), 0.5)
    noise = augmented(inputs, noise=0.01) - inputs
    assert abs(float(noise.std()) - 0.01) < 0.0005
    assert abs(float(noise.mean())) < 0.0005


def test_nothing_asked_for_is_nothing_done() -> None:
    inputs = torch.rand(4, 3, 8, 8)
    assert torch.equal(augmented(inputs), inputs)
