"""Job of one ``bench run``: its plan and its pending work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bench.config import RunConfig
from bench.core.errors import BenchError
from bench.core.specs import EvalSpec
from bench.data.split import Dataset
from bench.diagnostics.registry import plugin_codes
from bench.leaderboard.write_tables import check_reference
from bench.planning.plan import Request, RunPlan, make_plan
from bench.planning.recipes import PAPER
from bench.planning.request import make_request
from bench.planning.resume import RunSummary, is_audited, is_diagnosed, pending_cells
from bench.results.store import Store
from bench.runtime.config_file import RUN_FILE, write_config
from bench.runtime.files import check_writable
from bench.runtime.interrupt import duration
from bench.runtime.plugin import load_plugins

FEWEST_STEPS = 400  # shorter trainings use float32 without a trial

if TYPE_CHECKING:
    from bench.context import RunContext
    from bench.runtime.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Job:
    """Request, plan, data set and store of one ``bench run``."""

    config: RunConfig
    request: Request
    plan: Sequence[RunPlan]
    dataset: Dataset
    store: Store

    @classmethod
    def of(cls, config: RunConfig, *, dry_run: bool = False) -> Job:
        """Load the plug-ins and make the plan of the run. Models of stored runs are not looked up in timm.

        A plan for a dry run writes no file. Raises BenchError for bad input.
        """
        if not config.models:
            raise BenchError("no model given; name at least one, for example --models resnet18.")
        load_plugins(config.plugin)
        store = Store(config.results)
        stored = store.runs()
        request, dataset = make_request(config, known_models={run.model for run in stored})
        check_reference(config.against, {*request.variants, *(run.variant for run in stored)})
        if config.train_precision == "auto" and not config.recipe.startswith(PAPER):  # published: float32
            request = _with_chosen_precisions(request, dataset, config, store=not dry_run)
        if config.train_budget is not None:
            request = _with_fitted_epochs(request, dataset, config, duration(config.train_budget), store=not dry_run)
        return cls(config=config, request=request, plan=make_plan(request), dataset=dataset, store=store)

    @cached_property
    def pending(self) -> Mapping[str, Sequence[EvalSpec]]:
        """Cells that remain to be evaluated, by run id."""
        return {run.train.run_id: pending_cells(run, self.store, self.config) for run in self.plan}

    @cached_property
    def undiagnosed(self) -> frozenset[str]:
        """Ids of the runs that remain to be diagnosed; empty unless diagnostics are requested."""
        if not self.config.diagnose:
            return frozenset()
        codes, force = plugin_codes(), self.config.force
        return frozenset(r.train.run_id for r in self.plan if not is_diagnosed(r, self.store, codes, force=force))

    @cached_property
    def unaudited(self) -> frozenset[str]:
        """Ids of the runs with stored attacks but no audit at the requested level; empty if no audit is requested."""
        level, force = self.config.audit, self.config.force
        if level == "none":
            return frozenset()
        ids, split = [run.train.run_id for run in self.plan], self.dataset.test.sha
        return frozenset(i for i in ids if not is_audited(i, split, self.store, level, force=force))

    @property
    def done(self) -> bool:
        """True if all cells, diagnoses and audits of the plan are finished."""
        return not any(self.pending.values()) and not self.undiagnosed and not self.unaudited

    @property
    def cells(self) -> int:
        """Number of cells in the plan."""
        return sum(len(run.cells) for run in self.plan)

    def execute(self, progress: Progress | None = None) -> RunSummary:
        """Execute the pending work and write the configuration to the results folder. Imports torch only if needed."""
        if self.done:
            return RunSummary(cached=self.cells)
        check_writable(self.config.results)
        write_config(self.config, self.config.results / RUN_FILE)
        from bench.pipeline import execute

        return execute(self.plan, self.context(progress))

    def context(self, progress: Progress | None = None) -> RunContext:
        """Return the run context. Imports torch."""
        from bench.context import RunContext

        return RunContext.of(self.config, self.dataset, eps_texts=self.request.eps_texts, progress=progress)


def _with_chosen_precisions(request: Request, dataset: Dataset, config: RunConfig, *, store: bool) -> Request:
    """Choose the floating-point type of the trainings of each model. Imports torch for long trainings."""
    n_train = request.data.train_limit or len(dataset.train)
    if request.recipe.epochs * n_train < FEWEST_STEPS * request.recipe.batch_size:
        return request
    from bench.runtime.progress import choose_progress
    from bench.training.precision_trial import choose_precisions

    chosen = choose_precisions(request, config.device, config.results, choose_progress(), store=store)
    return dataclasses.replace(request, precisions=chosen)


def _with_fitted_epochs(
    request: Request, dataset: Dataset, config: RunConfig, budget_s: float, *, store: bool
) -> Request:
    """Fit the number of epochs of each model to a time per training. Imports torch."""
    from bench.context import RunContext
    from bench.training.epoch_trial import fit_epochs

    context = RunContext.of(config, dataset, eps_texts=request.eps_texts)
    return dataclasses.replace(request, epochs=fit_epochs(request, budget_s, context, store=store))
