"""A line of a table: one model under one protocol, ours or published."""

from __future__ import annotations

from dataclasses import dataclass

from bench.published.protocol import CORRUPTIONS, Protocol


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
    notes: tuple[str, ...] = ()

    @property
    def bound(self) -> str:
        """What stands before a flagged accuracy under attack: the doubt speaks in one direction."""
        return "≤" if self.flags and self.robust is not None and self.protocol.measure != CORRUPTIONS else ""
