"""Job of one ``bench run``: its plan, its settings and the part of the plan that is still to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.specs import Encoding, EvalSpec, Norm
from bench.data.split import Dataset
from bench.diagnostics.registry import plugin_columns
from bench.pending import is_audited, is_diagnosed, pending_cells
from bench.plan import RunPlan
from bench.store import Store

if TYPE_CHECKING:
    from bench.progress import Progress
    from bench.work.workshop import Workshop


@dataclass(frozen=True, kw_only=True)
class Job:
    plan: Sequence[RunPlan]
    dataset: Dataset
    store: Store
    device: str
    checkpoint_path: Path | None
    auto_batch: bool
    force: bool
    diagnose: bool
    audit: str = "default"
    save_adversarials: Encoding = "none"
    corruptions_dir: Path | None = None
    eps_texts: Mapping[tuple[Norm, float], str] = field(default_factory=dict)

    @cached_property
    def pending(self) -> Mapping[str, Sequence[EvalSpec]]:
        """The cells without an answer, by run id."""
        return {
            run.train.run_id: pending_cells(
                run, self.store, force=self.force, save_adversarials=self.save_adversarials
            )
            for run in self.plan
        }

    @cached_property
    def undiagnosed(self) -> frozenset[str]:
        """The runs whose diagnosis is wanted and not there, by id."""
        if not self.diagnose:
            return frozenset()
        columns = plugin_columns()
        return frozenset(
            r.train.run_id for r in self.plan if not is_diagnosed(r, self.store, columns, force=self.force)
        )

    @cached_property
    def unaudited(self) -> frozenset[str]:
        """The runs whose attacks were never audited as they are now, by id."""
        if self.audit == "none":
            return frozenset()
        ids, split = [run.train.run_id for run in self.plan], self.dataset.test.sha
        return frozenset(i for i in ids if not is_audited(i, split, self.store, self.audit, force=self.force))

    @property
    def done(self) -> bool:
        return not any(self.pending.values()) and not self.undiagnosed and not self.unaudited

    @property
    def cells(self) -> int:
        return sum(len(run.cells) for run in self.plan)

    def workshop(self, progress: Progress) -> Workshop:
        """Imports torch."""
        from bench.environment import choose_device
        from bench.work.workshop import Workshop

        return Workshop(
            dataset=self.dataset,
            store=self.store,
            device=choose_device(self.device),
            progress=progress,
            checkpoint_path=self.checkpoint_path,
            auto_batch=self.auto_batch,
            force=self.force,
            diagnose=self.diagnose,
            audit=self.audit,
            save_adversarials=self.save_adversarials,
            corruptions_dir=self.corruptions_dir,
            eps_texts=self.eps_texts,
        )
