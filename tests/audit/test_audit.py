"""Flags go where the number goes: a model that was found out does not pass for robust."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from oddities import Noisy, Stepped, linear
from records import cell_record, run_record, samples_of

from bench import api
from bench.audit.audit import Audited, audit
from bench.audit.levels import LevelName
from bench.context import RunContext
from bench.core.records import AuditRecord
from bench.data import DataRequest, load_dataset
from bench.leaderboard.write_tables import rebuild
from bench.results.audit_verdict import verdict_of
from bench.results.store import Store
from bench.runtime.progress import Progress

Bench = Callable[..., Any]
evaluate = partial(api.evaluate, corruptions="none", audit="none")


def test_the_flag_goes_where_the_number_goes(tmp_path: Path, bench: Callable[..., Any]) -> None:
    evaluate(Noisy(0.5), name="noisy", attacks=["fgsm"], eps=["0.1"], limit=40, results=tmp_path, device="cpu")
    rows = evaluate(Stepped(), name="steps", attacks=["fgsm", "square"], eps=["0.1"], limit=40, results=tmp_path)
    flags = rows.set_index("attack")["flags"].to_dict()
    assert flags == {"clean": "", "fgsm": "zero_gradient", "square": ""}
    notes = rows.set_index("attack")["notes"]
    assert "zero_gradient: the gradient of the margin is zero at " in notes["fgsm"]
    assert "gradient" not in notes["square"]
    written = pd.read_csv(tmp_path / "results.csv").set_index(["model", "attack"])["flags"]
    assert written["noisy", "clean"] == written["noisy", "fgsm"] == "randomised"
    board = pd.read_csv(tmp_path / "leaderboard.csv").set_index("model")
    assert board.loc["noisy", "clean_flags"] == "randomised"
    assert pd.isna(board.loc["steps", "clean_flags"])
    assert board.loc["steps", "fgsm@linf-0.1_flags"] == "zero_gradient"
    shown = bench("leaderboard", "--results", tmp_path).out
    assert shown.count("⚑randomised") == 2
    assert "⚑randomised" in bench("show", "noisy:external", "--results", tmp_path).out
    assert rows.set_index("attack").loc["fgsm", "n_forwards"] == rows.set_index("attack").loc["fgsm", "n_attacked"]


def test_an_ordinary_model_has_no_flag() -> None:
    rows = evaluate(linear(), name="plain", attacks=["fgsm", "pgd-2"], eps=["0.1"], limit=40)
    assert set(rows["flags"]) == {""}


def test_one_flagged_seed_marks_the_mean(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed, flags in ((0, ()), (1, ("black_box_stronger", "randomised"))):
        run = run_record(seed=seed)
        store.write_run(run, None)
        record = cell_record(run, "clean", [True] * 4)
        store.write_cell(dataclasses.replace(record, flags=flags), samples_of([True] * 4))
    assert rebuild(store).iloc[0]["clean_flags"] == "black_box_stronger;randomised"


def run(bench: Bench, plugin: Path, folder: Path, *arguments: object, attacks: str = "fgsm,pgd-5") -> Any:
    fixed = ("--plugin", plugin, "--models", "tiny", "--results", folder, "--limit", "60", "--no-diagnose")
    return bench("run", *fixed, "--attacks", attacks, "--eps", "0.1,0.2", "--epochs", "20", *arguments)


def test_every_run_is_audited_after_its_attacks(bench: Bench, plugin: Path, tmp_path: Path) -> None:
    """The variant before its baseline: its audit shows it the baseline's images all the same."""
    outcome = run(bench, plugin, tmp_path, "--variants", "lpc,baseline", "--audit", "default")
    assert outcome.code == 0, outcome.err
    table = pd.read_csv(tmp_path / "results.csv")
    attacked = table[table.attack != "clean"]
    assert set(attacked.audit) <= {"passed", "flagged"}
    assert (attacked.audit_n == 60).all()
    ids = table.groupby("variant").run_id.first()
    assert set(attacked[attacked.variant == "lpc"].audit_baseline_run) == {ids["baseline"]}
    assert attacked[attacked.variant == "baseline"].audit_baseline_run.isna().all()
    assert attacked[attacked.variant == "lpc"].audit_drop_transfer.notna().all()
    assert outcome.err.count("audit: tiny:") == 2
    assert outcome.err.index("audit: tiny:lpc") > outcome.err.index("tiny:baseline:0 pgd-5@linf-0.2")
    board = pd.read_csv(tmp_path / "leaderboard.csv").set_index("variant")
    store = Store(tmp_path)
    for found in store.runs():
        (record,) = store.audits(found.run_id)
        assert board.audit[found.variant] == verdict_of({0: record}, {0: store.cells(found.run_id)})
    compared = pd.read_csv(tmp_path / "comparison.csv")
    assert set(compared.audit) == {board.audit["lpc"]}
    again = run(bench, plugin, tmp_path, "--variants", "lpc,baseline", "--audit", "default")
    assert "nothing to do" in again.err
    more = run(bench, plugin, tmp_path, "--variants", "lpc,baseline", "--audit", "default", attacks="square")
    assert more.err.count("audit: tiny:") == 2, "another attack is another suite"


def test_an_audit_can_come_later(bench: Bench, plugin: Path, tmp_path: Path) -> None:
    few = ("--variants", "baseline", "--limit", "30")
    run(bench, plugin, tmp_path, *few)
    assert pd.read_csv(tmp_path / "results.csv").audit.isna().all()
    asked = ("--plugin", plugin, "--results", tmp_path)
    outcome = bench("audit", "tiny:baseline", *asked)
    (record,) = Store(tmp_path).audits(Store(tmp_path).runs()[0].run_id)
    flagged = bool(record.findings or record.budgets[0].findings)
    assert outcome.code == int(flagged)
    assert "tiny:baseline:0 on digits: " in outcome.out.splitlines()[-1]
    assert "acc_suite @ linf 0.1" in outcome.out
    assert bench("audit", "tiny:baseline", *asked, "--json").json["level"] == "default"
    assert pd.read_csv(tmp_path / "results.csv").audit.notna().all(), "the tables are written again"
    assert "audit: tiny:baseline" in bench("show", "tiny:baseline", "--results", tmp_path).out
    assert bench("audit", "tiny:baseline", *asked, "--full").code in (0, 1)
    (whole,) = Store(tmp_path).audits(record.run_id)
    assert (whole.level, [budget.eps for budget in whole.budgets]) == ("full", [0.1, 0.2])
    assert "nothing to do" in run(bench, plugin, tmp_path, *few, "--audit", "default").err


def test_without_attacks_there_is_no_audit(bench: Bench, plugin: Path, tmp_path: Path) -> None:
    outcome = run(bench, plugin, tmp_path, "--variants", "baseline", "--audit", "default", attacks="none")
    assert outcome.code == 0
    assert "audit" not in outcome.err
    refused = bench("audit", "tiny:baseline", "--results", tmp_path)
    assert refused.code == 2
    assert "has no attack to audit" in refused.err


def test_what_goes_wrong_in_an_audit_is_a_failed_audit(
    bench: Bench, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ValueError("no figures today")

    monkeypatch.setattr("bench.audit.audit.gradient_figures", broken)
    outcome = run(bench, plugin, tmp_path, "--variants", "baseline", "--audit", "default")
    assert outcome.code == 3
    assert "could not be audited: audit_error: ValueError: no figures today" in outcome.err
    assert set(pd.read_csv(tmp_path / "leaderboard.csv").audit) == {"failed"}
    monkeypatch.undo()
    assert run(bench, plugin, tmp_path, "--variants", "baseline", "--audit", "default").code == 0
    monkeypatch.setattr("bench.audit.audit.gradient_figures", broken)
    whole = bench("audit", "tiny:baseline", "--plugin", plugin, "--results", tmp_path, "--full")
    assert (whole.code, "no figures today" in whole.out) == (3, True), "what was asked for failed, and is said to have"
    assert "failed" not in set(pd.read_csv(tmp_path / "leaderboard.csv").audit), "what there was has stayed"


def audited(
    store: Store, level: LevelName = "default", *, attacks: tuple[str, ...] = ("fgsm",), split: str = ""
) -> AuditRecord:
    """A model without gradients, attacked and then audited, which finds it out; on other images with ``split``."""
    evaluate(Stepped(), name="steps", attacks=attacks, eps=["0.1"], limit=100, results=store.root)
    data = load_dataset("digits", DataRequest())
    if split:
        data = dataclasses.replace(data, test=dataclasses.replace(data.test, sha=split))
    (run,) = store.runs()
    context = RunContext(dataset=data, store=store, device=torch.device("cpu"), progress=Progress())
    return audit(Audited(run=run, model=Stepped(), num_classes=10, batch_size=64, level=level), context)


def test_an_audit_that_fails_takes_no_flag_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ValueError("no figures today")

    store = Store(tmp_path)
    good = audited(store)
    assert {"black_box_stronger", "large_eps_survivors"} <= {
        finding.flag for budget in good.budgets for finding in budget.findings
    }
    monkeypatch.setattr("bench.audit.audit.gradient_figures", broken)
    assert audited(store, "full").status == "failed", "whoever asked for it hears of it"
    assert store.audits(good.run_id) == [good], "of the same attacks"
    missed = audited(store, attacks=("fgsm", "pgd-2"))
    (stored,) = store.audits(good.run_id)
    assert (stored.status, stored.budgets, len(stored.cells)) == ("failed", good.budgets, 2)
    assert missed.budgets == ()
    rows = rebuild(store)
    assert rows.iloc[0]["audit"].startswith("failed;black_box_stronger=")
    monkeypatch.undo()
    audited(store)
    assert [record.status for record in store.audits(good.run_id)] == ["ok"]


def test_outcomes_of_other_images_are_not_audited(tmp_path: Path) -> None:
    """A test split of the same names and other content: nothing was attacked there."""
    store = Store(tmp_path)
    record = audited(store, split="other")
    assert (record.data_sha, record.cells, record.budgets) == ("other", (), ())


def test_a_model_of_ones_own_is_audited(tmp_path: Path) -> None:
    rows = api.evaluate(
        Stepped(), name="steps", attacks=["fgsm"], eps=["0.1"], limit=100, corruptions="none", results=tmp_path
    )
    (row,) = rows[rows.attack == "fgsm"].to_dict("records")
    assert row["audit"] == "flagged"
    assert "large_eps_survivors=" in row["audit_flags"]
    assert row["audit_zero_gradient_margin"] == 1.0
