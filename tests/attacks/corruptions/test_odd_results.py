"""What a plug-in's corruption may return: images, or a failure that names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.attacks.corruptions.apply import corrupt_bytes
from bench.attacks.corruptions.registry import CORRUPTIONS, CorruptionEntry
from bench.core.errors import BenchError, CellFailure

IMAGES = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
FIVE = (1.0, 1.0, 1.0, 1.0, 1.0)


def register(function: Callable[[Any], Any]) -> None:
    entry = CorruptionEntry(
        summary="s",
        source="s",
        family="noise",
        function=lambda images, constant, draws: function(images),
        constants={"cifar": FIVE},
    )
    CORRUPTIONS.register("odd", entry, origin="tests")


def corrupted(function: Callable[[Any], Any]) -> Any:
    register(function)
    try:
        return corrupt_bytes(IMAGES, list("abcd"), "odd", 1)
    finally:
        CORRUPTIONS.remove("odd")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda images: images * np.float32("nan"), "odd returned NaN or infinite pixels"),
        (lambda images: images / np.float32(0) * np.float32("inf"), "NaN or infinite"),
        (lambda images: images[:1], r"odd returned \(1, 8, 8, 3\) for images \(4, 8, 8, 3\)"),
        (lambda images: images.astype(np.int64), "odd returned int64"),
        (lambda images: images > 3, "odd returned bool"),
        (lambda images: images + 0j, "odd returned complex128"),
        (lambda images: images.tolist(), "odd returned list"),
        (lambda images: (images,), "odd returned tuple"),
        (lambda images: None, "odd returned NoneType"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_odd_corruption_is_named(function: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(CellFailure, match=message) as caught:
        corrupted(function)
    assert caught.value.reason == "corruption_error"


def test_harmless_results_are_the_same_bytes() -> None:
    expected = corrupted(lambda images: 255 - images)
    before = IMAGES.copy()
    for function in (
        lambda images: np.subtract(255, images, out=images),
        lambda images: (255 - images)[:, ::-1][:, ::-1],
        lambda images: (255 - images).astype(np.float64),
        lambda images: (255 - images).astype(np.float16),
        lambda images: np.where(images < 128, 1e30, -1e30) if images is None else 255 - images,
    ):
        np.testing.assert_array_equal(corrupted(function), expected)
    np.testing.assert_array_equal(IMAGES, before)
    assert set(np.unique(corrupted(lambda images: np.where(images < 128, 1e30, -1e30)))) == {0, 255}


def test_bench_corrupt_says_so_in_one_sentence(bench: Callable[..., Any], tmp_path: Path) -> None:
    register(lambda images: None)
    try:
        shown = bench("corrupt", "--kinds", "odd", "--limit", "20", "--out", tmp_path)
    finally:
        CORRUPTIONS.remove("odd")
    assert (shown.code, shown.err.count("\n")) == (2, 1)
    assert "corruption 'odd' failed: odd returned NoneType" in shown.err


def test_two_forms_of_an_accent_are_the_same_name() -> None:
    """Such as those that macOS stores in the same file."""
    entry = replace(CORRUPTIONS.get("fog"), standard=False)
    CORRUPTIONS.register("fog\u00e9", entry, origin="plugin.py")
    try:
        with pytest.raises(BenchError, match="differs from it in case or in the form of its accents only"):
            CORRUPTIONS.register("foge\u0301", entry, origin="plugin.py")
    finally:
        CORRUPTIONS.remove("fog\u00e9")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../../evil", "contains '/'"),
        ("a\\b", "contains"),
        ("labels", "another file of this name"),
        ("Manifest", "another file of this name"),
        ("CON", "Windows reserves it"),
        ("nul.tar", "Windows reserves it"),
        ("fog.", "begins or ends with a dot"),
        (".hidden", "begins or ends with a dot"),
        ("Fog", "'fog' differs from it in case or in the form of its accents only"),
        ("COM¹", "Windows reserves it"),
        ("conin$", "Windows reserves it"),
        ("é" * 60, "has 120 bytes"),
    ],
)
def test_a_name_that_no_file_can_have_is_refused(name: str, why: str) -> None:
    """The images are stored in a file of this name: ../ would write elsewhere, and labels would replace the labels."""
    with pytest.raises(BenchError, match=rf"corruption .* cannot be the name of its file of images: .*{why}"):
        CORRUPTIONS.register(name, CORRUPTIONS.get("fog"), origin="plugin.py")
    assert name not in CORRUPTIONS
