"""A line of a table: one model under one protocol, ours or published."""

from __future__ import annotations

from dataclasses import dataclass

from bench.compare.protocol import CORRUPTIONS, Protocol
from bench.core.words import counted


def leaked_text(leaked: int | None) -> str:
    """Describe test images that the network may have been trained on; empty without any.

    >>> leaked_text(1), leaked_text(0)
    ('1 test image is also in the training split', '')
    """
    verb = "is" if leaked == 1 else "are"
    return f"{counted(leaked, 'test image')} {verb} also in the training split" if leaked else ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Accuracies are percent; the robust one of DeepFool is its ratio ‖r‖/‖x‖.

    ``robust`` is the lowest known, as on RobustBench's boards: an image that any other attack within the same budget
    has broken counts, the audit's included, and ``autoattack`` keeps the accuracy under AutoAttack alone. Lines of ours
    that went through other attacks than each other are ranked by ``alone``.
    """

    published: bool
    model: str
    architecture: str
    source: str  # who measured it, where it stands
    clean: float | None
    robust: float | None
    protocol: Protocol
    autoattack: float | None = None
    alone: float | None = None  # accuracy under the protocol's attack alone, if ``robust`` counts more attacks
    tried: str = ""  # hash of all attacks that ``robust`` counts
    flags: tuple[str, ...] = ()  # what speaks against the robust accuracy
    acquitted: bool = False  # by an audit that would have flagged it
    at_chance: bool = False  # the clean accuracy of a seed, so that the robust one is worth nothing
    collapse: str = ""  # collapse status of a variant that is meant to collapse
    leaked: int | None = None  # test images that are also in the training split; None: not known
    notes: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes on the network and the test images that apply to any number of this line."""
        return tuple(filter(None, (self.collapse, leaked_text(self.leaked))))

    @property
    def bound(self) -> str:
        """Prefix "≤" of a flagged accuracy under attack, which is only an upper bound; otherwise empty."""
        return "≤" if self.flags and self.robust is not None and self.protocol.measure != CORRUPTIONS else ""
