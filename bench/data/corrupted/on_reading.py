"""Corrupt images when they are read, instead of reading a stored set. The pixels are the same."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from bench.attacks.corruptions import builtin as builtin  # fills the registry
from bench.attacks.corruptions.registry import BUILTIN, CORRUPTIONS
from bench.attacks.corruptions.severities import Profile
from bench.core.errors import BenchError, CellFailure, first_line


class Corruption(NamedTuple):
    """Arguments of :func:`bench.attacks.corruptions.apply.corrupt_bytes`."""

    kind: str
    severity: int
    seed: int
    profile: str
    files_sha: str

    @property
    def is_builtin(self) -> bool:
        """True if the function is part of this package. Processes that decode images have no plug-ins."""
        return CORRUPTIONS.origin(self.kind) == BUILTIN

    def apply(self, pixels: NDArray[np.uint8], ids: list[str]) -> NDArray[np.uint8]:
        """Corrupt images, (M, 3, S, S) uint8. Return the same shape.

        Raises CellFailure("corruption_error") if the function of the corruption raises an error.
        """
        from bench.attacks.corruptions.apply import corrupt_bytes  # imports OpenCV and SciPy

        images = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        try:
            changed = corrupt_bytes(
                images,
                ids,
                self.kind,
                self.severity,
                seed=self.seed,
                profile=cast(Profile, self.profile),
                files_sha=self.files_sha,
            )
        except (BenchError, CellFailure):
            raise
        except Exception as error:
            raise CellFailure("corruption_error", f"{type(error).__name__}: {first_line(error)}") from error
        return np.ascontiguousarray(changed.transpose(0, 3, 1, 2))
