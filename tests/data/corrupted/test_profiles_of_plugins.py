"""A plug-in's corruption that lacks the constants of a profile is refused before any work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.attacks.corruptions.registry import CORRUPTIONS, CorruptionEntry
from bench.core.errors import BenchError
from bench.data.corrupted.choose import choose_corruptions


@pytest.fixture
def partial() -> Iterator[None]:
    """Register a corruption for two of the three profiles."""
    constants = {"cifar": (1, 2, 3, 4, 5), "imagenet": (1, 2, 3, 4, 5)}
    entry = CorruptionEntry(
        summary="s", source="s", family="weather", function=lambda images, level, draws: images, constants=constants
    )
    CORRUPTIONS.register("partial", entry, origin="a plug-in")
    yield
    CORRUPTIONS.remove("partial")


@pytest.mark.usefixtures("partial")
def test_a_missing_profile_is_refused() -> None:
    assert choose_corruptions(["partial"], side=32)
    with pytest.raises(BenchError, match="'partial' has no constants of profile 'tiny_imagenet'"):
        choose_corruptions(["partial"], side=64)
