from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import pictures
from PIL import Image

from bench.attacks.corruptions.apply import CORRUPTIONS, corrupt_bytes
from bench.plots.corruptions import contact_sheet


def test_every_picture_stands_in_its_place() -> None:
    images = pictures(1, 32)
    sheet = {
        kind: [images[0], *(corrupt_bytes(images, ["p"], kind, level)[0] for level in range(1, 6))]
        for kind in ("snow", "gaussian_noise")
    }
    figure = contact_sheet(sheet, {"snow": "weather", "gaussian_noise": "noise"}, "p")
    axes = np.array(figure.axes).reshape(2, 6)
    for row, kind in zip(axes, ("gaussian_noise", "snow"), strict=True):
        assert kind in row[0].get_ylabel()
        for axis, picture in zip(row, sheet[kind], strict=True):
            np.testing.assert_array_equal(axis.images[0].get_array(), picture)
    assert [axis.get_title() for axis in axes[0]] == ["clean", *(f"severity {level}" for level in range(1, 6))]


def test_the_command_draws_all_kinds_into_a_png(bench: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "sheet.PNG"
    done = bench("plot", "corruptions", "--dataset", "digits", "--json", "--out", path)
    assert done.code == 0, done.err
    assert done.json == {"path": str(path)}
    with Image.open(path) as image:
        width, height = image.size
    assert height / width > 0.8 * len(list(CORRUPTIONS)) / 7
    for name in ("sheet.jpg", "sheet", "sheet.png.pdf"):
        refused = bench("plot", "corruptions", "--dataset", "digits", "--out", tmp_path / name)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == f"error: --out {tmp_path / name} does not end in .png; name a PNG file.\n"
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.PNG"]


@pytest.mark.parametrize("size", [4000, 10**14])
def test_a_sheet_of_large_images_is_refused(bench: Callable[..., Any], tmp_path: Path, size: int) -> None:
    refused = bench("plot", "corruptions", "--image-size", size, "--out", tmp_path / "sheet.png")
    assert refused.code == 2
    assert refused.err == f"error: --image-size {size} is more than 1000 pixels; give a smaller size.\n"


def test_a_sheet_of_large_images_of_a_data_set_is_refused(bench: Callable[..., Any], tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        (tmp_path / split / "b").mkdir()
        Image.new("RGB", (1001, 1001)).save(tmp_path / split / "a" / f"{split}.png")
        Image.new("RGB", (1001, 1001), "red").save(tmp_path / split / "b" / f"{split}.png")
    folder = ("--dataset", "imagefolder", "--data-dir", tmp_path)
    refused = bench("plot", "corruptions", *folder, "--out", tmp_path / "sheet.png")
    assert refused.code == 2
    assert "have 1001 pixels, more than 1000; give --image-size" in refused.err
