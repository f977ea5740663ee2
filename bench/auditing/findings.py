"""What a check has found: a flag that stands beside a number, the sentence that explains it, and what it is worth."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    flag: str  # its name, short enough to stand behind an accuracy
    note: str  # "<flag>: what was seen, with its figures"
    points: float | None = None  # percentage points of accuracy that the finding puts in doubt; None: not measured

    @property
    def text(self) -> str:
        """The flag with its figure.

        >>> Finding("randomised", "").text, Finding("scale_masking", "", 7.52).text
        ('randomised', 'scale_masking=7.5pt')
        """
        return self.flag if self.points is None else f"{self.flag}={self.points:.1f}pt"
