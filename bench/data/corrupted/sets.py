"""Common interface of generated and official sets of corrupted images."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.attacks.corruptions.severities import SEVERITY_LEVELS
from bench.core.errors import BenchError
from bench.data.image_files import FileReader


class CorruptedSet(Protocol):
    """The evaluated images with every kind and severity of corruption, in the order of the evaluation."""

    @property
    def source(self) -> str:
        """Origin of the images: ``generated`` or ``official``."""

    @property
    def official(self) -> bool:
        """True if every file that is read has its published checksum."""

    def images(self, kind: str, severity: int) -> NDArray[np.uint8]:
        """Return images, (N, H, W, C) uint8, read-only. Raises BenchError if they cannot be read or generated."""

    def reader(self, kind: str, severity: int) -> FileReader | None:
        """Return the reader of the image files, which gives the images as (N, 3, S, S); None if they are in arrays.

        Raises BenchError for a missing file.
        """


def rows_of(severity: int, count: int) -> slice:
    """Return the rows of the ``count`` images of ``severity`` in a file that stacks all five severities.

    Raises BenchError for an unknown severity.
    """
    if severity not in SEVERITY_LEVELS:
        raise BenchError(f"severity {severity} is unknown; use 1, 2, 3, 4 or 5.")
    return slice((severity - 1) * count, severity * count)
