"""The one data set that is always there: its facts are pinned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.data import DataRequest, digits, load_dataset
from bench.data.split import measure_moments

DATA = load_dataset("digits", DataRequest())


def whole() -> Any:
    ids = [*DATA.train.ids, *DATA.test.ids]
    labels = np.concatenate([DATA.train.labels, DATA.test.labels])
    pixels = np.concatenate([s.read(np.arange(len(s))) for s in (DATA.train, DATA.test)])
    order = np.argsort(ids)
    return [ids[i] for i in order], labels[order], pixels[order]


def test_shapes_types_and_range() -> None:
    pixels = DATA.test.read(np.arange(500))
    assert (len(DATA.train), len(DATA.test)) == (1297, 500)
    assert pixels.shape == (500, 1, 8, 8)
    assert pixels.dtype == np.float32
    assert (pixels.min(), pixels.max()) == (0, 1)
    assert (DATA.num_classes, DATA.image_size, DATA.official, DATA.name) == (10, 8, True, "digits")


def test_they_are_the_digits_that_scikit_learn_returns() -> None:
    from sklearn.datasets import load_digits

    published = load_digits()
    ids, labels, pixels = whole()
    assert ids == [f"digits/{i:05d}" for i in range(1797)]
    assert np.array_equal(labels, published.target)
    assert np.array_equal(pixels[:, 0] * 16, published.images)


def test_each_digit_is_tested_fifty_times() -> None:
    assert np.bincount(DATA.test.labels).tolist() == [50] * 10


def test_the_split_is_the_same_for_ever() -> None:
    assert DATA.test.ids[:4] == ["digits/00001", "digits/00003", "digits/00005", "digits/00010"]
    assert (DATA.train.sha, DATA.test.sha) == ("fbc9aa57d2256dfc", "c490950e46a397c2")


def test_declared_moments_are_those_of_the_training_images() -> None:
    assert DATA.moments == measure_moments(DATA.train)


def test_read_keeps_the_order_asked_for() -> None:
    backwards = DATA.test.read(np.array([7, 3]))
    assert np.array_equal(backwards, DATA.test.read(np.arange(8))[[7, 3]])


def test_without_the_bundled_file_scikit_learn_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "bundled_file", lambda: Path("nowhere.csv.gz"))
    assert load_dataset("digits", DataRequest()).test.sha == DATA.test.sha


def test_changed_digits_are_not_official(monkeypatch: pytest.MonkeyPatch) -> None:
    table = digits.read_table()
    table[0, 0] = 16 - table[0, 0]
    monkeypatch.setattr(digits, "read_table", lambda: table)
    assert not load_dataset("digits", DataRequest()).official


def test_another_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "read_csv", lambda path: np.zeros((3, 65)))
    with pytest.raises(BenchError, match="not the known 1797×65 table"):
        load_dataset("digits", DataRequest())
