"""Measurements of a running cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.core.records import Finding, StageCount


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
    stages: tuple[StageCount, ...] = ()

    def add_stages(self, counts: Iterable[StageCount]) -> None:
        """Add the counts of the stages of one batch of an ensemble to those of the same names."""
        total = {stage.name: stage for stage in self.stages}
        for stage in counts:
            total[stage.name] = total[stage.name].plus(stage) if stage.name in total else stage
        self.stages = tuple(total.values())
