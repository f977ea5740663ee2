"""A run that was trained to collapse and did not says so, and nothing is concluded about the method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from records import ENVIRONMENT, cell_record, run_record, samples_of

from bench.config import TableConfig
from bench.core.records import DIAGNOSIS_VERSION, DiagnosisRecord, EpochRecord, RunRecord
from bench.core.specs import VariantSpec
from bench.leaderboard.comparison_report import comparison_markdown
from bench.leaderboard.report import board_markdown
from bench.leaderboard.write_tables import write_tables
from bench.models.variants import VARIANTS, VariantEntry, has_collapse_penalty
from bench.results.collapse_status import Reference, collapse_of, is_trained_to_collapse
from bench.results.store import Store

PENALTY = VariantSpec(head="linear", latent_dim=4, penalty="mean_square", schedule="auto")
HALF = [True] * 20 + [False] * 20
MORE = [True] * 35 + [False] * 5
Figures = tuple[float | None, float | None]  # training NC1 and accuracy


def trained(variant: str, seed: int = 0, *, gamma: float = 0.5) -> RunRecord:
    """A run with a penalty, if its variant has one here."""
    run = run_record(variant, seed)
    if variant in ("baseline", "lin_pen"):
        return run
    assert run.spec is not None
    penalty = dataclasses.replace(VARIANTS.get(variant).spec if variant in VARIANTS else PENALTY, schedule="auto")
    spec = dataclasses.replace(run.spec, variant_spec=penalty)
    return dataclasses.replace(run, spec=spec, run_id=spec.run_id, config_sha=spec.config_sha, gamma=gamma)


def diagnosis(run: RunRecord, nc1: float | None, accuracy: float | None) -> DiagnosisRecord:
    values = {"collapse_nc1_train": nc1} | ({} if accuracy is None else {"train_acc": accuracy})
    return DiagnosisRecord(
        run_id=run.run_id, weights_sha=run.weights_sha, version=DIAGNOSIS_VERSION, status="ok", reason="", message="",
        images={}, values=values, undefined={}, time_s=1.0, created="", environment=ENVIRONMENT,
    )  # fmt: skip


def store_of(folder: Path, figures: Mapping[tuple[str, int], Figures | None], correct: list[bool] = MORE) -> Store:
    """Clean cells; everything but ``baseline`` has ``correct``."""
    store = Store(folder)
    for (variant, seed), found in figures.items():
        run, right = trained(variant, seed), HALF if variant == "baseline" else correct
        store.write_run(run, None)
        store.write_cell(cell_record(run, "clean", right), samples_of(right))
        if found is not None:
            store.write_diagnosis(diagnosis(run, *found))
    return store


def row_of(store: Store, variant: str = "lpc") -> pd.Series[Any]:
    return write_tables(store).board.set_index("variant").loc[variant]


@pytest.mark.parametrize(("figures", "said"), [
    ((0.1, 0.99), "collapsed"),
    ((0.1001, 0.99), "not collapsed: NC1 0.1 is 0.10× of lin_pen's 1 (at most 0.1×)"),
    ((1.38, 0.995), "not collapsed: NC1 1.38 is 1.38× of lin_pen's 1 (at most 0.1×)"),
    ((0.05, 0.9899), "not collapsed: training accuracy 98.99 % is below 99 %"),
    ((1.5, 0.5), "not collapsed: NC1 1.5 is 1.50× of lin_pen's 1 (at most 0.1×), "
     "training accuracy 50 % is below 99 %"),
    ((None, 0.5), "not collapsed: training accuracy 50 % is below 99 %"),
    ((None, 1.0), "collapse not measured: no training NC1"),
    ((0.05, None), "collapse not measured: no diagnosed training accuracy"),
])  # fmt: skip
def test_the_rule(figures: Figures, said: str) -> None:
    run = trained("lpc")
    assert collapse_of(diagnosis(run, *figures), Reference("lin_pen", 1.0)).text == said


def test_without_a_reference_it_is_not_measured() -> None:
    run = trained("lpc")
    said = collapse_of(diagnosis(run, 0.01, 1.0), None).text
    assert said == "collapse not measured: no training NC1 of lin_pen or baseline to compare its NC1 0.01 with"
    assert collapse_of(None, None).word == "collapse not measured"


@pytest.mark.parametrize("version", [DIAGNOSIS_VERSION - 1, None])
def test_the_running_accuracy_is_neither_shown_nor_decides(tmp_path: Path, version: int | None) -> None:
    """98 % on augmented images says nothing about the final weights; nor does a diagnosis of an older version."""
    store = store_of(tmp_path, {("baseline", 0): (1.0, 1.0)})
    epoch = EpochRecord(loss=1.0, accuracy=0.98, gamma=1.0, margin=1.0)
    run = dataclasses.replace(trained("lpc"), history=(epoch,))
    store.write_run(run, None)
    store.write_cell(cell_record(run, "clean", MORE), samples_of(MORE))
    if version is not None:
        store.write_diagnosis(dataclasses.replace(diagnosis(run, 0.01, 1.0), version=version))
    row = row_of(store)
    assert pd.isna(row["train_acc"])
    assert row["collapse"] == ("collapse not measured: no training NC1, no diagnosed training accuracy")
    assert list(write_tables(store).comparison["finding"]) == ["higher, these weights; collapse not measured"]
    store.write_diagnosis(diagnosis(run, 0.01, None))
    assert row_of(store)["collapse"] == "collapse not measured: no diagnosed training accuracy"


@pytest.mark.parametrize(("variant", "expected"), [
    ("lpc", True), ("lpc_wide", True), ("lpc_exp", True), ("lpc_no_pen", True), ("mine", True), ("l1_pen", False),
    ("lin_pen", False), ("baseline", False),
])  # fmt: skip
def test_which_variants_are_trained_to_collapse(variant: str, expected: bool) -> None:
    assert is_trained_to_collapse(trained(variant)) is expected


@pytest.mark.parametrize(("spec", "declared", "expected"), [
    (VariantSpec(term="center_loss"), None, False),
    (VariantSpec(term="center_loss"), True, True),
    (VariantSpec(criterion="arcface"), True, True),
    (VariantSpec(), True, True),
    (VariantSpec(penalty="mean_square", schedule="recipe"), None, True),
    (VariantSpec(penalty="mean_square", schedule="recipe"), False, False),
])  # fmt: skip
def test_the_declared_trait_decides_whatever_the_loss(
    spec: VariantSpec, declared: bool | None, expected: bool, request: pytest.FixtureRequest
) -> None:
    entry = VariantEntry(summary="s", source="s", spec=spec, collapses=declared)
    VARIANTS.register("own", entry, origin="test")
    request.addfinalizer(lambda: VARIANTS.remove("own"))
    assert entry.has_collapse_penalty is has_collapse_penalty("own", spec) is expected
    run = trained("lpc")
    assert run.spec is not None
    run = dataclasses.replace(run, variant="own", spec=dataclasses.replace(run.spec, variant="own", variant_spec=spec))
    assert is_trained_to_collapse(run) is expected
    assert is_trained_to_collapse(dataclasses.replace(run, collapse_penalty=True))


def test_what_was_recorded_in_training_counts() -> None:
    """A plug-in's variant, whose registry entry is not there when the tables are made."""
    assert not is_trained_to_collapse(dataclasses.replace(trained("mine"), collapse_penalty=False))
    assert not is_trained_to_collapse(dataclasses.replace(run_record("mine"), spec=None))


def test_lin_pen_is_the_measure_before_baseline(tmp_path: Path) -> None:
    """0.5 is a tenth of the baseline's 5, and half of lin_pen's 1."""
    figures: dict[tuple[str, int], Figures | None] = {("baseline", 0): (5.0, 1.0), ("lpc", 0): (0.5, 1.0)}
    assert row_of(store_of(tmp_path / "a", figures))["collapse"] == "collapsed"
    figures["lin_pen", 0] = (1.0, 1.0)
    store = store_of(tmp_path / "b", figures)
    assert row_of(store)["collapse"] == "not collapsed: NC1 0.5 is 0.50× of lin_pen's 1 (at most 0.1×)"
    assert row_of(store, "baseline")[["collapse", "gamma"]].isna().all()
    figures["lin_pen", 0] = None
    assert row_of(store_of(tmp_path / "c", figures))["collapse"] == "collapsed", "lin_pen was not diagnosed"


def test_the_figures_stand_on_the_board_and_in_the_comparison(tmp_path: Path) -> None:
    store = store_of(tmp_path, {("baseline", 0): (1.01234567, 0.75), ("lpc", 0): (0.000123456, 0.999)})
    row = row_of(store)
    assert (row["collapse"], row["collapse_nc1_train"], row["train_acc"], row["gamma"]) == (
        "collapsed", 0.000123456, 99.9, 0.5,
    )  # fmt: skip
    written = pd.read_csv(tmp_path / "leaderboard.csv").set_index("variant")
    assert written["collapse_nc1_train"].to_dict() == {"baseline": 1.012, "lpc": 0.0001235}
    (compared,) = pd.read_csv(tmp_path / "comparison.csv").to_dict("records")
    found = [compared[name] for name in ("collapse_nc1_train", "collapse_nc1_train_reference", "train_acc_reference")]
    assert found == [0.0001235, 1.012, 75]
    assert (compared["gamma"], compared["finding"]) == (0.5, "higher, these weights")


def test_of_what_did_not_collapse_nothing_is_concluded(tmp_path: Path) -> None:
    """The numbers are there; no p is corrected, and the other row is one of one."""
    figures = {("baseline", 0): (1.0, 1.0), ("lpc", 0): (1.38, 1.0), ("lin_pen", 0): (1.01, 1.0)}
    tables = write_tables(store_of(tmp_path, figures))
    found = tables.comparison.set_index("variant")
    row = found.loc["lpc"]
    assert row["finding"] == "no conclusion: not collapsed"
    assert (row["diff"], row["p_checkpoint"]) == (37.5, 2 / 2**15)
    assert row[["p_checkpoint_holm", "p_variant_holm"]].isna().all()
    assert found.loc["lin_pen", "p_checkpoint_holm"] == found.loc["lin_pen", "p_checkpoint"]
    why = "not collapsed: NC1 1.38 is 1.37× of lin_pen's 1.01 (at most 0.1×)"
    assert row["collapse"] == why
    assert f"no conclusion: {why}" in comparison_markdown(tables.comparison)
    assert why in board_markdown(tables.board)


def test_one_seed_that_did_not_collapse_is_named(tmp_path: Path) -> None:
    """Six seeds that would be a finding about the recipe."""
    figures: dict[tuple[str, int], Figures | None] = {("baseline", s): (1.0, 1.0) for s in range(6)}
    figures |= {("lpc", s): (0.9 if s == 4 else 0.01, 1.0) for s in range(6)}
    store = store_of(tmp_path, figures)
    assert row_of(store)["collapse"] == "not collapsed: seed 4: NC1 0.9 is 0.90× of baseline's 1 (at most 0.1×)"
    assert list(write_tables(store).comparison["finding"]) == ["no conclusion: not collapsed"]
    store.write_diagnosis(diagnosis(trained("lpc", 4), 0.01, 1.0))
    assert list(write_tables(store).comparison["finding"]) == ["higher"]


def test_where_it_was_not_measured_only_these_weights_are_spoken_of(tmp_path: Path) -> None:
    """Six seeds, of which one has no diagnosis."""
    figures: dict[tuple[str, int], Figures | None] = {("baseline", s): (1.0, 1.0) for s in range(6)}
    figures |= {("lpc", s): None if s == 2 else (0.01, 1.0) for s in range(6)}
    (row,) = write_tables(store_of(tmp_path, figures)).comparison.to_dict("records")
    assert row["collapse"] == ("collapse not measured: seed 2: no training NC1, no diagnosed training accuracy")
    assert row["p_variant"] == 2 / 2**6
    assert pd.isna(row["p_variant_holm"])
    assert row["finding"] == "higher, these weights (seed 0); collapse not measured"


def test_a_reference_that_did_not_collapse_counts_too(tmp_path: Path) -> None:
    figures = {("baseline", 0): (1.0, 1.0), ("lpc", 0): (1.0, 1.0), ("lpc_wide", 0): (0.01, 1.0)}
    found = write_tables(store_of(tmp_path, figures), TableConfig(against="lpc")).comparison.set_index("variant")
    assert (found.loc["lpc_wide", "finding"], found.loc["lpc_wide", "collapse"]) == (
        "no conclusion: not collapsed", "collapsed",
    )  # fmt: skip


def test_bench_show_says_it(tmp_path: Path, bench: Callable[..., Any]) -> None:
    store_of(tmp_path, {("baseline", 0): (1.0, 1.0), ("lpc", 0): (1.38, 1.0)})
    shown = bench("show", "tiny:lpc", "--results", tmp_path).out
    assert "not collapsed: NC1 1.38 is 1.38× of baseline's 1 (at most 0.1×)" in shown
    assert "collapse" not in bench("show", "tiny:baseline", "--results", tmp_path).out


def test_the_log_warns_of_a_training_that_does_not_collapse(
    bench: Callable[..., Any], plugin: Path, tmp_path: Path
) -> None:
    """In the run: late in the training, and once everything is diagnosed."""
    fixed = ("--plugin", plugin, "--models", "tiny", "--results", tmp_path, "--limit", "60", "--attacks", "none")
    outcome = bench("run", *fixed, "--variants", "lpc,baseline", "--epochs", "4", "--corruptions", "none")
    assert outcome.code == 0, outcome.err
    assert "tiny:lpc:0: training accuracy " in outcome.err
    assert " in epoch 3/4, γ " in outcome.err
    assert outcome.err.count("warning: tiny:lpc on digits: not collapsed: ") == 1
    assert "--epochs" in outcome.err.split("not collapsed: ")[1]
    (run,) = [found for found in Store(tmp_path).runs() if found.variant == "lpc"]
    assert run.collapse_penalty is True
    record = Store(tmp_path).read_diagnosis(run.run_id)
    assert record is not None
    assert 0 <= (record.values["train_acc"] or 0) < 0.99


PULL = """
from torch import nn
from bench.core.specs import VariantSpec
from bench.models.auxiliary_losses import TERMS, TermEntry
from bench.models.variants import VARIANTS, VariantEntry

class Pull(nn.Module):
    def forward(self, batch):
        return 0.01 * batch.latents.square().mean()

TERMS.register("pull", TermEntry(summary="s", source="s", build=lambda d, k: Pull()), origin=__file__)
spec = VariantSpec(head="linear", latent_dim=4, term="pull")
VARIANTS.register("pull", VariantEntry(summary="s", source="s", spec=spec, collapses=True), origin=__file__)
"""


def test_a_term_that_is_to_collapse_and_does_not_says_so(
    bench: Callable[..., Any], plugin: Path, tmp_path: Path
) -> None:
    own = tmp_path / "pull_plugin.py"
    own.write_text(PULL, encoding="utf-8")
    fixed = ("--plugin", plugin, "--plugin", own, "--models", "tiny", "--results", tmp_path, "--limit", "60")
    asked = ("--variants", "pull,baseline", "--epochs", "4", "--attacks", "none", "--corruptions", "none")
    outcome = bench("run", *fixed, *asked)
    assert outcome.code == 0, outcome.err
    assert " in epoch 3/4: collapse requires" in outcome.err
    assert outcome.err.count("warning: tiny:pull on digits: not collapsed: ") == 1
    board = pd.read_csv(tmp_path / "leaderboard.csv").set_index("variant")
    assert board["collapse"]["pull"].startswith("not collapsed: ")
    assert pd.isna(board["collapse"]["baseline"])
