"""Open work of a plan: cells, diagnoses and audits that neither this command nor another process has computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import RunConfig
from bench.core.specs import EvalSpec
from bench.planning.plan import RunPlan
from bench.planning.resume import is_audited, is_diagnosed, pending_cells

if TYPE_CHECKING:
    from bench.context import RunContext


class PlanWork:
    """Open work of ``plan``. The state of all records is noted when the object is created.

    ``codes`` is the result of :func:`bench.diagnostics.registry.plugin_codes`.
    """

    def __init__(self, plan: Sequence[RunPlan], context: RunContext, codes: Mapping[str, str]) -> None:
        config, store = context.config, context.store
        self._plan, self._context = plan, context
        self._cells = {run.train.run_id: pending_cells(run, store, config) for run in plan}
        for run in plan:
            context.work.plan_cells(self._cells[run.train.run_id])
            context.work.plan(store.run_path(run.train.run_id))
        self._codes = codes
        self._diagnosed = isinstance(config, RunConfig) and config.diagnose

    @property
    def cells(self) -> list[EvalSpec]:
        """All cells that were open when the object was created."""
        return [cell for cells in self._cells.values() for cell in cells]

    def open_cells(self, run: RunPlan) -> list[EvalSpec]:
        """Return the open cells of a run."""
        return [cell for cell in self._cells[run.train.run_id] if self._context.work.is_open(cell)]

    def is_undiagnosed(self, run: RunPlan) -> bool:
        """Return whether the diagnosis of a run is open."""
        store, work, force = self._context.store, self._context.work, self._context.config.force
        if not self._diagnosed or work.is_mine(store.diagnosis_path(run.train.run_id)):
            return False
        return not is_diagnosed(run, store, self._codes, force=force)

    def finish(self, step: Callable[[RunPlan], None], records: Callable[[RunPlan], list[Path]]) -> None:
        """Call ``step`` for every run with open ``records`` until none is open.

        If a round changes nothing, other processes have claimed all open records: wait for them.
        """
        while before := {path for run in self._plan for path in records(run)}:
            for run in self._plan:
                if records(run):
                    step(run)
            after = {path for run in self._plan for path in records(run)}
            if after == before:
                self._context.work.wait(after, self._context.progress)

    def evaluations(self, run: RunPlan) -> list[Path]:
        """Return the records of the open cells and of the open diagnosis of a run."""
        store = self._context.store
        cells = [store.cell_path(cell.run_id, cell.cell_id) for cell in self.open_cells(run)]
        return cells + ([store.diagnosis_path(run.train.run_id)] if self.is_undiagnosed(run) else [])

    def audits(self, run: RunPlan) -> list[Path]:
        """Return the record of the audit of a run if the audit is open; empty otherwise."""
        path, context = self._audit_path(run), self._context
        level, split = context.config.audit, context.dataset.test.sha
        if level == "none" or context.work.is_mine(path) or context.store.finished_run(run.train.run_id) is None:
            return []
        return [] if is_audited(run.train.run_id, split, context.store, level, force=context.config.force) else [path]

    def _audit_path(self, run: RunPlan) -> Path:
        return self._context.store.audit_path(run.train.run_id, self._context.dataset.test.sha)
