from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.attacks.corruptions.apply import CORRUPTIONS
from bench.attacks.corruptions.registry import parameters
from bench.attacks.corruptions.severities import (
    PROFILE_SIZES,
    PROFILES,
    Elastic,
    Frost,
    Glass,
    Motion,
    Noise,
    Profile,
    nearest_profile,
)

PUBLISHED = Path(__file__).parents[4] / "shared" / "reference" / "corruption_severities.json"


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published table is not at hand")
@pytest.mark.parametrize("profile", PROFILES)
def test_the_tables_are_the_published_ones(profile: Profile) -> None:
    table = json.loads(PUBLISHED.read_text())
    published = table["profiles"][profile]
    assert published["image_size_px"] == PROFILE_SIZES[profile]
    widths = {kind: len(fields) for kind, fields in table["parameters"].items()}
    ours = {kind: [list(level)[: widths[kind]] for level in levels] for kind, levels in PROFILES[profile].items()}
    theirs = {
        kind: [pytest.approx(level if isinstance(level, list) else [level], rel=1e-12) for level in levels]
        for kind, levels in published["severities"].items()
    }
    assert ours == theirs


@pytest.mark.parametrize("profile", PROFILES)
def test_every_kind_has_constants(profile: Profile) -> None:
    assert set(PROFILES[profile]) == set(CORRUPTIONS)


@pytest.mark.parametrize(
    ("side", "profile"),
    [(8, "cifar"), (28, "cifar"), (45, "cifar"), (46, "tiny_imagenet"), (64, "tiny_imagenet"), (119, "tiny_imagenet"),
     (120, "imagenet"), (224, "imagenet"), (299, "imagenet")],
)  # fmt: skip
def test_the_nearest_profile_is_nearest_by_ratio(side: int, profile: Profile) -> None:
    assert nearest_profile(side) == profile


def test_lengths_grow_with_the_image_and_nothing_else_does() -> None:
    assert parameters("motion_blur", 1, "cifar", 32) == Motion(6, 1)
    assert parameters("motion_blur", 1, "cifar", 16) == Motion(3, 0.5)
    assert parameters("gaussian_noise", 5, "imagenet", 112) == Noise(0.38)
    assert parameters("elastic_transform", 2, "cifar", 64) == Elastic(3.2, 12.8, 4.48)


def test_the_photographs_of_frost_shrink_with_the_image() -> None:
    grains = [parameters("frost", 1, profile, side).photo_pixel_px for profile, side in PROFILE_SIZES.items()]
    assert grains == [0.2, 0.3, 1]
    assert parameters("frost", 5, "cifar", 16) == Frost(0.75, 0.45, 0.1)


def test_a_whole_number_of_pixels_stays_one() -> None:
    assert parameters("glass_blur", 5, "imagenet", 448) == Glass(3.0, 8, 2)
    assert parameters("glass_blur", 1, "cifar", 8) == Glass(0.0125, 1, 1)
