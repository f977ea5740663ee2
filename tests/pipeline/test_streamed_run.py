"""A run on streamed image files has the tables of a run on the same files in memory, also after an interruption."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from equal_results import TABLES, differences, read_table
from PIL import Image

from bench.data import tensors
from bench.data.streaming import StreamedImages
from bench.evaluation import attack_runner

Bench = Callable[..., Any]
TRAIN, TEST, SIDE = 48, 24, 32
CELLS = (
    "--attacks",
    "fgsm,pgd-3",
    "--corruptions",
    "gaussian_noise",
    "--severities",
    "3",
    "--save-adversarials",
    "uint8",
)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """A folder of two classes, which differ by their mean; some files are larger than others."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("folder") / "pets"
    for split, count in (("train", TRAIN), ("test", TEST)):
        for i in range(count):
            (root / split / f"class{i % 2}").mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(60 * (i % 2), 190 + 60 * (i % 2), (SIDE + 2 + i % 3, SIDE + 4, 3), np.uint8)
            Image.fromarray(pixels).save(root / split / f"class{i % 2}" / f"{i:02d}.png")
    data = ("--dataset", "imagefolder", "--data-dir", root, "--image-size", SIDE, "--limit", "all")
    return (*data, "--workers", 2, "--batch-size", 10, "--train-batch-size", 8)


def assert_equal(before: Path, after: Path) -> None:
    for name in TABLES:
        if (before / name).exists():
            assert not differences(read_table(before / name), read_table(after / name))


def test_the_tables_are_equal(
    run: Bench, options: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*options, *CELLS, results=tmp_path / "resident").code == 0
    read: set[int] = set()
    batches = StreamedImages.batches

    def counted(images: StreamedImages, *given: Any) -> Iterator[Any]:
        read.add(len(images))
        return batches(images, *given)

    monkeypatch.setattr(tensors, "RESIDENT_BYTES", 0)
    monkeypatch.setattr(StreamedImages, "batches", counted)
    monkeypatch.setattr(attack_runner, "CALL_BYTES", 7 * 4 * 3 * SIDE**2)  # PGD is called four times
    streamed = run(*options, *CELLS, results=tmp_path / "streamed")
    assert streamed.code == 0
    assert f"decoding {TEST} test images once" in streamed.err
    assert read >= {TRAIN, TEST}
    assert_equal(tmp_path / "resident", tmp_path / "streamed")
    assert (tmp_path / "resident" / "corrupted").exists()
    assert not (tmp_path / "streamed" / "corrupted").exists()


def test_a_training_that_stops_inside_an_epoch_continues_with_the_remaining_batches(
    run: Bench, options: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "RESIDENT_BYTES", 0)
    training = ("--variants", "baseline", "--attacks", "none", "--no-diagnose", "--epochs", "2")
    assert run(*options, *training, results=tmp_path / "whole").code == 0
    batches, read = StreamedImages.batches, [0]

    def stopping(images: StreamedImages, *given: Any) -> Iterator[Any]:
        for batch in batches(images, *given):
            read[0] += len(images) == TRAIN
            if read[0] == 9 and len(images) == TRAIN:  # the third batch of the second epoch
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    monkeypatch.setattr(StreamedImages, "batches", stopping)
    stopped = run(*options, *training)
    assert stopped.code == 143
    assert read[0] == 9
    continued = run(*options, *training)
    assert continued.code == 0
    assert "resuming at epoch 2/2, batch 4" in continued.err
    assert read[0] == 12
    assert_equal(tmp_path / "whole", tmp_path / "out")
