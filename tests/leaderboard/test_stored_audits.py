"""Audits in a results folder: what they make of the board, when another is due, and which of them are read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from records import audit_record, cell_record, run_record, samples_of
from records import store_with as stored

from bench.config import TableConfig
from bench.core.errors import BenchError
from bench.core.records import AUDIT_VERSION
from bench.core.seals import sealed
from bench.leaderboard.report import board_markdown
from bench.leaderboard.write_tables import rebuild, write_tables
from bench.planning.resume import is_audited
from bench.results.store import Store

RUN = run_record()
FGSM = cell_record(RUN, "fgsm", [True] * 10)


def store_with(tmp_path: Path, *flagged: str) -> Store:
    """A baseline that keeps 60 %, and two variants that keep more; those ``flagged`` by what gradients do not see."""
    store = Store(tmp_path)
    for variant, right in (("baseline", 6), ("lpc", 9), ("lin_pen", 8)):
        run = run_record(variant)
        store.write_run(run, None)
        for attack, correct in (("clean", [True] * 10), ("fgsm", [True] * right + [False] * (10 - right))):
            store.write_cell(cell_record(run, attack, correct), samples_of(correct))
        store.write_audit(audit_record(run, **({"black_box_stronger": 30.0} if variant in flagged else {})))
    return store


def test_a_flagged_row_has_no_place_and_an_upper_bound(tmp_path: Path) -> None:
    store = store_with(tmp_path, "lpc")
    board = rebuild(store).set_index("variant")
    assert board["rank"].fillna(0).to_dict() == {"lin_pen": 1, "baseline": 2, "lpc": 0}
    assert board.loc["lpc", "fgsm@linf-0.1_flags"] == "black_box_stronger"
    assert pd.isna(board.loc["lpc", "clean_flags"])
    assert board["audit"].to_dict() == {"lin_pen": "passed", "baseline": "passed", "lpc": "black_box_stronger=30.0pt"}
    shown = board_markdown(rebuild(store))
    assert shown.count("≤ ") == 1
    assert "≤ 90.0 [59.6, 98.2] +30.0 ⚑black_box_stronger" in shown
    ranked = write_tables(store, TableConfig(rank_flagged=True)).board.set_index("variant")
    assert ranked["rank"].to_dict() == {"lpc": 1, "lin_pen": 2, "baseline": 3}


def test_where_the_audit_failed_there_is_no_place(tmp_path: Path) -> None:
    store = store_with(tmp_path)
    assert "audit" not in board_markdown(rebuild(store))
    store.write_audit(dataclasses.replace(audit_record(run_record("lpc")), status="failed", reason="out_of_memory"))
    board = rebuild(store)
    assert board.set_index("variant")["rank"].fillna(0).to_dict() == {"lin_pen": 1, "baseline": 2, "lpc": 0}
    (line,) = [line for line in board_markdown(board).splitlines() if "lpc" in line]
    assert "| failed " in line, "who reads the board sees why"
    ranked = write_tables(store, TableConfig(rank_flagged=True)).board.set_index("variant")
    assert ranked.loc["lpc", "rank"] == 1


def test_where_only_some_seeds_were_audited_there_is_no_place(tmp_path: Path) -> None:
    """The flag of the seed whose audit is gone would otherwise go with it, and give the row a place."""
    both = {("baseline", seed): {"clean": [True] * 10, "fgsm": [True] * 10} for seed in (0, 1)}
    store = stored(tmp_path, both)
    assert rebuild(store)["rank"].tolist() == [1], "none was asked for"
    store.write_audit(audit_record(run_record(seed=1)))
    assert rebuild(store)["rank"].isna().all()
    store.write_audit(audit_record(run_record(seed=0)))
    assert rebuild(store)["rank"].tolist() == [1]


def test_the_leaderboard_warns_of_audits_that_it_does_not_read(tmp_path: Path, bench: Callable[..., Any]) -> None:
    """Without the warning, a row that was flagged by an earlier version would be ranked, and nobody would know."""
    store = store_with(tmp_path, "lpc")
    assert "warning" not in bench("leaderboard", "--results", tmp_path).err
    (path,) = store.run_folder(run_record("lpc").run_id).glob("audits/*.json")
    path.write_text(json.dumps(sealed({**json.loads(path.read_text()), "version": AUDIT_VERSION - 1})))
    assert store.outdated() == [run_record("lpc").run_id]
    shown = bench("leaderboard", "--results", tmp_path)
    assert "warning: 1 run with a diagnosis or an audit by earlier definitions" in shown.err
    assert "warning" not in shown.out


def test_a_row_with_an_audit_of_an_earlier_version_is_not_ranked(tmp_path: Path) -> None:
    """The flags of that audit are unknown: the row must not be ranked as if it had none."""
    store = store_with(tmp_path, "lpc")
    run = run_record("lpc")
    store.write_audit(audit_record(run, black_box_stronger=9.0))
    (path,) = store.run_folder(run.run_id).glob("audits/*.json")
    path.write_text(json.dumps(sealed({**json.loads(path.read_text()), "version": AUDIT_VERSION - 1})))
    row = rebuild(store).set_index("variant").loc["lpc"]
    assert (row["audit"], bool(pd.isna(row["rank"]))) == ("failed", True)
    assert not is_audited(run.run_id, "d", store)
    (record,) = store.audits(run.run_id)
    assert record.reason == "audit_outdated"
    path.write_text(json.dumps(sealed({**json.loads(path.read_text()), "weights_sha": "others"})))
    assert store.audits(run.run_id) == [], "an audit of other weights is none"


def test_an_audit_is_of_one_test_split(tmp_path: Path, bench: Callable[..., Any]) -> None:
    """Images of the same names and other pixels: what was found on one split is not held against the other."""
    store = store_with(tmp_path)
    run = run_record("lpc")
    for attack in ("clean", "fgsm"):
        record = cell_record(run, attack, [True] * 10)
        spec = dataclasses.replace(record.spec, data_sha="other")
        store.write_cell(dataclasses.replace(record, spec=spec, cell_id=spec.cell_id), samples_of([True] * 10))
    board = rebuild(store).set_index(["variant", "data_sha"])["audit"]
    assert (board["lpc", "d"], bool(pd.isna(board["lpc", "other"]))) == ("passed", True)
    table = pd.read_csv(tmp_path / "results.csv").set_index(["variant", "attack", "data_sha"])["audit"]
    assert (table["lpc", "fgsm", "d"], bool(pd.isna(table["lpc", "fgsm", "other"]))) == ("passed", True)
    assert not is_audited(run.run_id, "other", store)
    store.write_audit(dataclasses.replace(audit_record(run, black_box_stronger=9.0), data_sha="other"))
    board = rebuild(store).set_index(["variant", "data_sha"])["audit"]
    assert (board["lpc", "d"], board["lpc", "other"]) == ("passed", "black_box_stronger=9.0pt"), "both are kept"
    assert bench("show", "tiny:lpc", "--results", tmp_path).out.count("audit: tiny:lpc:0") == 2
    refused = bench("audit", "tiny:lpc", "--results", tmp_path)
    assert (refused.code, "was attacked on 2 test splits" in refused.err) == (2, True)


def test_results_say_it_in_every_row_of_an_attack(tmp_path: Path) -> None:
    rebuild(store_with(tmp_path, "lpc"))
    table = pd.read_csv(tmp_path / "results.csv").set_index(["variant", "attack"])
    assert table.loc[("lpc", "fgsm"), "audit_flags"] == "black_box_stronger=30.0pt"
    assert table["audit"].to_dict() == {
        ("baseline", "clean"): "passed", ("baseline", "fgsm"): "passed", ("lin_pen", "clean"): "passed",
        ("lin_pen", "fgsm"): "passed", ("lpc", "clean"): "passed", ("lpc", "fgsm"): "flagged",
    }  # fmt: skip


@pytest.mark.parametrize("change", ["another cell", "other weights", "failed", "of old", "full wanted", "forced"])
def test_when_a_run_is_audited_again(change: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_run(RUN, None)
    assert is_audited(RUN.run_id, "d", store), "without an attack there is nothing to audit"
    store.write_cell(FGSM, samples_of([True] * 10))
    assert not is_audited(RUN.run_id, "d", store)
    assert is_audited(RUN.run_id, "other", store), "nothing was attacked there"
    record = audit_record(RUN)
    store.write_audit(record)
    assert is_audited(RUN.run_id, "d", store)
    if change == "another cell":
        store.write_cell(cell_record(RUN, "square", [True]), samples_of([True]))
    elif change in ("other weights", "failed", "of old"):
        fields = {"other weights": {"weights_sha": "x"}, "failed": {"status": "failed"}, "of old": {"version": 0}}
        store.write_audit(dataclasses.replace(record, **fields[change]))
    level = "full" if change == "full wanted" else "default"
    assert not is_audited(RUN.run_id, "d", store, level, force=change == "forced")


def test_a_full_audit_is_a_default_one_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_run(RUN, None)
    store.write_cell(FGSM, samples_of([True] * 10))
    store.write_audit(dataclasses.replace(audit_record(RUN), level="full"))
    assert is_audited(RUN.run_id, "d", store)
    assert is_audited(RUN.run_id, "d", store, "full")


def test_a_baseline_that_came_later_is_shown_to_the_model(tmp_path: Path) -> None:
    store, run, baseline = Store(tmp_path), run_record("lpc"), run_record()
    store.write_run(run, b"w")
    store.write_cell(cell_record(run, "fgsm", [True]), samples_of([True]))
    store.write_audit(audit_record(run))
    assert is_audited(run.run_id, "d", store)
    store.write_run(dataclasses.replace(baseline, weights_sha=hashlib.sha256(b"w").hexdigest()), b"w")
    assert not is_audited(run.run_id, "d", store)
    shown = dataclasses.replace(audit_record(run).budgets[0], baseline_run=baseline.run_id)
    store.write_audit(dataclasses.replace(audit_record(run), budgets=(shown,)))
    assert is_audited(run.run_id, "d", store)


def test_the_form_of_other_times_is_no_audit_and_no_damage(tmp_path: Path) -> None:
    """It is not parsed and counts as failed; only a file that claims the present version must be complete."""
    store = store_with(tmp_path)
    run_id = run_record("lpc").run_id
    (path,) = tmp_path.glob(f"runs/{run_id}/audits/*.json")
    written = json.loads(path.read_text())
    del written["cells"]
    path.write_text(json.dumps(sealed(written | {"version": AUDIT_VERSION - 1, "forgotten": 1})))
    assert store.read_audit(run_id, "d") is None
    assert rebuild(store).set_index("variant")["audit"].to_dict() == {
        "lin_pen": "passed", "baseline": "passed", "lpc": "failed",
    }  # fmt: skip
    for content in (json.dumps(sealed(written)), json.dumps(written), "{", "[]"):
        path.write_text(content)
        with pytest.raises(BenchError, match="is damaged or of another version"):
            store.read_audit(run_id, "d")


def test_an_audit_in_the_wrong_place_is_not_believed(tmp_path: Path) -> None:
    store = store_with(tmp_path)
    (path,) = tmp_path.glob(f"runs/{RUN.run_id}/audits/*.json")
    path.rename(path.with_name("e.json"))
    with pytest.raises(BenchError, match=r"its path \(.* on e\), its record \(.* on d\) and its content"):
        rebuild(store)
