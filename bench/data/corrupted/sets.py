"""Interface of all sets of corrupted images, generated or official."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.attacks.corruptions.severities import SEVERITY_LEVELS
from bench.core.errors import BenchError


class CorruptedSet(Protocol):
    """The images that are evaluated, corrupted in every kind and severity, in the order of the evaluation."""

    @property
    def source(self) -> str:
        """``generated`` or ``official``: who made the images."""

    @property
    def official(self) -> bool:
        """Whether every file that is read has its published checksum."""

    def images(self, kind: str, severity: int) -> NDArray[np.uint8]:
        """Return images, (N, H, W, C) uint8, read-only. Raises BenchError if they do not exist and cannot be made."""


def rows_of(severity: int, count: int) -> slice:
    """Return the rows of the ``count`` images of ``severity`` in a file that stacks all five severities.

    Raises BenchError for any other severity.
    """
    if severity not in SEVERITY_LEVELS:
        raise BenchError(f"severity {severity} is none of 1, 2, 3, 4 and 5.")
    return slice((severity - 1) * count, severity * count)
