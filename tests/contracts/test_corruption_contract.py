"""Every built-in corruption meets the contract of corruptions; wrong ones do not."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.attacks.corruptions import colour
from bench.attacks.corruptions.apply import CORRUPTIONS
from bench.attacks.corruptions.draws import Draws
from bench.contracts.check import Check
from bench.contracts.corruption_contract import check_corruption

Bytes = NDArray[np.uint8]

NAMES = [name for name in CORRUPTIONS if CORRUPTIONS.origin(name) == "bench.attacks.corruptions.builtin"]


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    assert [str(check) for check in check_corruption(name, sizes=(32, 64)) if check.problem] == []


def noisy(images: Bytes, draws: Draws) -> Any:
    return images + 20 * draws.normal(*images.shape[1:])


def changes_images(images: Bytes, draws: Draws) -> Any:
    images[:] = 0
    return images


def unseeded(images: Bytes, draws: Draws) -> Any:
    return np.random.default_rng().integers(0, 256, images.shape, dtype=np.uint8)


def averages(images: Bytes, draws: Draws) -> Any:
    return np.broadcast_to(images.mean(0), images.shape)


SHAPE, SAME = "returns images of the same shape", "depends on the image and its id alone"
WRONG: dict[Callable[[Bytes, Draws], Any], tuple[str, str]] = {
    lambda images, draws: images[..., :1]: (SHAPE, r"returned shape \(4, 32, 32, 1\) for images \(4, 32, 32, 3\)"),
    lambda images, draws: images.astype(int): (SHAPE, "at severity 1 it returned int64; return uint8"),
    lambda images, draws: images + np.inf: (SHAPE, "NaN or infinite pixels"),
    changes_images: ("leaves its images unchanged", "it changed its images in place"),
    unseeded: (SAME, "at severity 1 two calls give different images"),
    averages: (SAME, "an image depends on other images of its batch"),
}


@pytest.mark.parametrize("function", WRONG)
def test_a_wrong_corruption_fails_its_rule(
    function: Callable[[Bytes, Draws], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rule, problem = WRONG[function]
    found = checked(function, monkeypatch)
    assert [check.rule for check in found if check.problem] == [rule]
    assert [re.search(problem, check.problem) for check in found if check.problem] != [None]


def test_distances_are_reported_and_need_not_rise(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = dataclasses.replace(CORRUPTIONS.get("contrast"), random=True)
    monkeypatch.setitem(CORRUPTIONS._entries, "contrast", entry)
    found = checked(noisy, monkeypatch)
    assert [str(check) for check in found if check.problem] == []
    assert found[-1].note.startswith(("19.", "20."))
    (rising,) = [check for check in check_corruption("gaussian_noise", sizes=[32]) if "distance" in check.rule]
    assert rising.note.endswith(" of 255")


def checked(function: Callable[[Bytes, Draws], Any], monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    """Return the checks of ``contrast`` with ``function`` in place of its own."""
    monkeypatch.setattr(colour, "contrast", lambda images, constants, draws: function(images, draws))
    return list(check_corruption("contrast", sizes=[32]))
