"""Cells that depend on other cells, and models that come back from the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from records import cell_record, run_record, samples_of
from torch import nn

from bench.config import RunConfig
from bench.context import RunContext
from bench.evaluation.run_cells import EvaluatedModel, _journal, run_cells
from bench.models.classifier import freeze
from bench.planning.plan import make_plan
from bench.planning.request import make_request
from bench.planning.resume import RunSummary
from bench.results.store import Store
from bench.runtime.progress import Progress
from bench.training.checkpoints import load_run


def test_a_filter_without_a_result_leaves_its_cell_without_one(
    bench: Callable[..., Any], plugin: Path, tmp_path: Path
) -> None:
    options = RunConfig(models=["tiny"], variants=["baseline"], epochs=0, limit=20, attacks=["fgsm"], eps=["0.1"])
    arguments = ["--models", "tiny", "--variants", "baseline", "--epochs", 0, "--limit", 20, "--attacks", "none"]
    assert bench("run", *arguments, "--plugin", plugin, "--no-diagnose", "--results", tmp_path).code == 0
    request, dataset = make_request(options)
    plan = make_plan(request)[0]
    shop = RunContext(dataset=dataset, store=Store(tmp_path), device=torch.device("cpu"), progress=Progress())
    built = load_run(plan.train, shop)
    assert built.classifier.normalize.mean.flatten().tolist() == torch.tensor(dataset.mean).tolist()
    assert built.classifier.normalize.std.flatten().tolist() == torch.tensor(dataset.std).tolist()
    record = shop.store.finished_run(plan.train.run_id)
    assert record is not None
    filtered = dataclasses.replace(plan.cells[1], protocol="prefiltered", filters=("no-such-cell",))
    summary = RunSummary()
    run_cells([filtered], EvaluatedModel("x", freeze(built.classifier), record.weights_sha, 10), shop, summary)
    found = shop.store.read_cell(plan.train.run_id, filtered.cell_id)
    assert found is not None
    assert (found.status, found.reason, found.n_correct) == ("skipped", "prerequisite_failed", None)
    assert len(summary.bad) == 1


def test_a_journal_of_other_filter_outcomes_is_not_used(tmp_path: Path) -> None:
    """The filters select the images: results of other images would be taken for those of these."""
    store, run = Store(tmp_path), run_record()
    store.write_run(run, None)
    first = cell_record(run, "fgsm", [True, False])
    spec = dataclasses.replace(cell_record(run, "pgd", [True, False]).spec, filters=(first.cell_id,))
    subject = EvaluatedModel("x", nn.Identity(), run.weights_sha, 10)
    config = RunConfig(models=["tiny"], variants=["baseline"])
    context: Any = SimpleNamespace(store=store, device=torch.device("cpu"), config=config, progress=Progress())
    keys = []
    for outcomes in ([True, False], [False, True], [True, False]):
        store.write_cell(cell_record(run, "fgsm", outcomes), samples_of(outcomes))
        keys.append(_journal(spec, subject, context).key)
    assert keys[0] == keys[2] != keys[1]
