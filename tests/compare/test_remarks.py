"""Leaked test images and the collapse status stand beside the numbers in every table and export."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results
from published_runs import attack, cell, run_on, stored

from bench.core.records import DIAGNOSIS_VERSION, DiagnosisRecord, RunRecord
from bench.core.specs import VariantSpec
from bench.leaderboard.report import board_markdown
from bench.leaderboard.write_tables import write_tables
from bench.results.store import Store

WHY = "not collapsed: NC1 0.5 is 0.50× of baseline's 1 (at most 0.1×)"
LEAKED = "12 test images are also in the training split"
EXPORT = ("export", "tiny:lpc", "--format")


def lpc_run() -> RunRecord:
    run = run_on(variant="lpc")
    assert run.spec is not None
    penalised = VariantSpec(head="linear", latent_dim=4, penalty="mean_square", schedule="auto")
    spec = dataclasses.replace(run.spec, variant_spec=penalised)
    return dataclasses.replace(run, spec=spec, run_id=spec.run_id, config_sha=spec.config_sha, collapse_penalty=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Baseline without and lpc, not collapsed, with leaked images: 5 in the clean cell and 12 in the attack's."""
    base, lpc = run_on(), lpc_run()
    cells = [cell(base, None, 9000, leaked=0), cell(base, attack(), 4000, leaked=0)]
    cells += [cell(lpc, None, 9100, leaked=5), cell(lpc, attack(), 5000, leaked=12)]
    made = stored(tmp_path, *cells, runs=(base, lpc))
    for run, nc1 in ((base, 1.0), (lpc, 0.5)):
        made.write_diagnosis(DiagnosisRecord(
            run_id=run.run_id, weights_sha=run.weights_sha, version=DIAGNOSIS_VERSION, status="ok", reason="",
            message="", images={}, values={"collapse_nc1_train": nc1, "train_acc": 1.0}, undefined={}, time_s=1.0,
            created="", environment=run.environment,
        ))  # fmt: skip
    return made


def test_the_board_has_the_largest_number_of_any_cell(tmp_path: Path) -> None:
    lpc = lpc_run()
    store = stored(tmp_path, *(cell(lpc, attack(name), 5000, leaked=n) for name, n in (("fgsm", 3), ("pgd", 12))),
                   cell(lpc, attack("mim"), 5000), runs=(lpc,))  # fmt: skip
    board = write_tables(store).board
    assert board["leaked"].tolist() == [12]
    assert "| leaked" in board_markdown(board).replace("|   leaked", "| leaked")


def test_the_comparison_has_the_larger_of_both(tmp_path: Path) -> None:
    cells = [cell(run, attack(), 5000, leaked=n) for run, n in ((run_on(), 0), (lpc_run(), 12))]
    store = stored(tmp_path, *cells, runs=(run_on(), lpc_run()))
    assert write_tables(store).comparison["leaked"].tolist() == [12]


def test_bench_compare_has_both(store: Store, bench: Callable[..., Any]) -> None:
    text = bench("compare", "--results", store.root, "--format", "csv").out
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(text)) if row["published"] == "False"}
    assert (rows["tiny:lpc"]["collapse"], rows["tiny:lpc"]["leaked"]) == (WHY, "12")
    assert (rows["tiny:baseline"]["collapse"], rows["tiny:baseline"]["leaked"]) == ("", "0")
    shown = bench("compare", "tiny:lpc", "--results", store.root).out
    assert f"{WHY}. {LEAKED}." in shown, "the reference is another run"


def test_robustbenchs_footnote_has_both(store: Store, bench: Callable[..., Any]) -> None:
    options = ("robustbench", "--no-additional-data", "--allow-protocol-mismatch", "--results", store.root)
    info = json.loads(bench(*EXPORT, *options).out)
    assert info["footnote"] == f"{WHY[0].upper()}{WHY[1:]}. {LEAKED}"


def test_a_model_card_has_both(store: Store, bench: Callable[..., Any]) -> None:
    text = bench(*EXPORT, "huggingface", "--results", store.root).out
    _, results = model_index_to_eval_results(yaml.safe_load(text)["model-index"])
    found = {result.metric_name: result.metric_args or {} for result in results}
    assert {name: args["leaked"] for name, args in found.items()} == {
        "clean": 5, "autoattack@linf-8/255": 12, "robust_acc_lowest@linf-8/255": 12,
    }  # fmt: skip
    assert {args["collapse"] for args in found.values()} == {WHY}


def test_timms_row_is_refused_or_has_both_in_its_name(store: Store, bench: Callable[..., Any]) -> None:
    refused = bench(*EXPORT, "timm", "--results", store.root)
    assert refused.code == 2
    assert f"{WHY}; {LEAKED}; the table of timm has no column" in refused.err
    named = bench(*EXPORT, "timm", "--results", store.root, "--allow-protocol-mismatch").out
    assert named.splitlines()[1].startswith("tiny.lpc_not-collapsed_leaked12,91.000,")
