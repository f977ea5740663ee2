"""Measurements of a running cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.core.records import Finding


@dataclass
class CellStats:
    """Counters and notes of a running cell."""

    n_attacked: int = 0
    forwards: int = 0
    backwards: int = 0
    batch_size: int = 0
    log: Callable[[str], None] = lambda line: None
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    n_truncated: int = 0
