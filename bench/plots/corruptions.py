"""Draw one image with all corruptions at all severities."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.attacks.corruptions.registry import FAMILIES
from bench.runtime.output_files import write_output

DPI = 100
SMALLEST = 110  # minimum side of an image on the sheet, in pixels of the sheet


def contact_sheet(sheet: Mapping[str, Sequence[NDArray[np.uint8]]], families: Mapping[str, str], title: str) -> Figure:
    """Draw one row per corruption, sorted by family: the clean image, (H, W, C) uint8, and its severities."""
    kinds = sorted(sheet, key=lambda kind: (FAMILIES.index(families[kind]), kind))
    columns = max(map(len, sheet.values()))
    side = max(max(picture.shape[:2]) for pictures in sheet.values() for picture in pictures)
    inches = 1.05 * side * math.ceil(SMALLEST / side) / DPI  # at least one pixel of the sheet per image pixel
    figure = Figure(figsize=(inches * columns + 1.4, inches * len(kinds) + 0.6), layout="compressed")
    figure.suptitle(title, fontsize=9, parse_math=False)
    axes = figure.subplots(len(kinds), columns, squeeze=False)
    for row, kind in zip(axes, kinds, strict=True):
        row[0].set_ylabel(f"{kind}\n{families[kind]}", rotation=0, ha="right", va="center", fontsize=7)
        for column, (axis, picture) in enumerate(zip(row, sheet[kind], strict=True)):
            axis.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if kind == kinds[0]:
                axis.set_title("clean" if column == 0 else f"severity {column}", fontsize=7)
    return figure


def save_sheet(path: Path, figure: Figure) -> None:
    """Save the figure as PNG. Raise BenchError if the file cannot be written."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    write_output(path, content.getvalue(), "--out")
