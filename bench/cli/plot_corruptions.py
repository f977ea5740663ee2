"""``bench plot corruptions``: draw one image under all kinds and severities of corruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

from bench.attacks.corruptions.apply import corrupt_bytes
from bench.attacks.corruptions.registry import CORRUPTIONS
from bench.attacks.corruptions.severities import PROFILE_SIZES, SEVERITY_LEVELS, nearest_profile
from bench.core.errors import BenchError
from bench.core.vocabulary import Exit
from bench.data import load_dataset
from bench.data.corrupted.cache import as_bytes
from bench.data.registry import DataRequest
from bench.data.split import read_checked, take
from bench.plots.corruptions import contact_sheet, save_sheet
from bench.runtime.output_files import check_output

PHOTOGRAPH = "china.jpg"  # part of scikit-learn
MAX_SIDE = 1000  # pixels of an image; the sheet has about a hundred images


class Picture(NamedTuple):
    """One uncorrupted image."""

    name: str
    pixels: NDArray[np.uint8]  # (1, H, W, C)


def plot_corruptions(
    *, dataset: str | None, data_dir: Path | None, image_size: int | None, out: Path | None, as_json: bool
) -> int:
    """Corrupt the first test image of a data set, or a photograph of ``image_size`` pixels, and write the PNG.

    Raises BenchError for a file name that does not end in .png, and for images of more than MAX_SIDE pixels.
    """
    path = out or Path("corruptions.png")
    if path.suffix.lower() != ".png":
        raise BenchError(f"--out {path} does not end in .png; name a PNG file.")
    check_output(path, "--out")
    if image_size is not None and image_size > MAX_SIDE:
        raise BenchError(f"--image-size {image_size} is more than {MAX_SIDE} pixels; give a smaller size.")
    picture = _photograph(image_size or PROFILE_SIZES["imagenet"])
    if dataset is not None:
        picture = _test_image(dataset, DataRequest(data_dir, image_size))
    side = min(picture.pixels.shape[1:3])
    if side > MAX_SIDE:
        raise BenchError(
            f"images of {dataset} have {side} pixels, more than {MAX_SIDE}; give --image-size to have them resized."
        )
    sheet = {
        kind: [picture.pixels[0], *(corrupt_bytes(picture.pixels, [picture.name], kind, s)[0] for s in SEVERITY_LEVELS)]
        for kind in CORRUPTIONS
    }
    families = {kind: CORRUPTIONS.get(kind).family for kind in CORRUPTIONS}
    save_sheet(path, contact_sheet(sheet, families, f"{picture.name}, {side} px, constants of {nearest_profile(side)}"))
    print(json.dumps({"path": str(path)}, indent=2) if as_json else path)
    return Exit.OK


def _photograph(side: int) -> Picture:
    """Return the central square of the photograph, resized to ``side`` pixels."""
    photograph = load_sample_image(PHOTOGRAPH)
    height, width = photograph.shape[:2]
    middle = photograph[:, (width - height) // 2 :][:, :height]
    return Picture(PHOTOGRAPH, cv2.resize(middle, (side, side), interpolation=cv2.INTER_AREA)[None].astype(np.uint8))


def _test_image(dataset: str, request: DataRequest) -> Picture:
    data = load_dataset(dataset, request)
    index = take(data.test, 1)
    return Picture(data.test.ids[index[0]], as_bytes(read_checked(data.test, index, dataset=data.name)))
