"""``bench run`` from end to end on a tiny model: caching, determinism, limits, protocols."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import FINISHED, LEARNED, rows

from bench.config import RunConfig
from bench.core.columns import AUDIT_COLUMNS, DIAGNOSTIC_COLUMNS, LEADERBOARD_COLUMNS, RESULT_COLUMNS, TIME_COLUMNS
from bench.planning.plan import make_plan
from bench.planning.request import make_request
from bench.runtime.plugin import load_plugins

Bench = Callable[..., Any]


@pytest.mark.parametrize(
    ("limit", "attack_limit", "fgsm", "autoattack"),
    [
        (20, (), 20, 20),  # the smaller of --limit and the 64 images that digits declares for costly attacks
        (100, (), 100, 64),
        ("all", (), None, 64),
        (20, ("autoattack=30",), 20, 30),
        ("all", ("fgsm=9999",), None, 64),  # more than there are
    ],
)
def test_the_number_of_images_of_each_attack(
    limit: Any, attack_limit: tuple[str, ...], fgsm: int | None, autoattack: int | None
) -> None:
    options = RunConfig(
        models=["resnet10t"],
        variants=["baseline"],
        attacks=["fgsm", "autoattack"],
        eps=["0.1"],
        corruptions=["none"],
        limit=limit,
        attack_limit=attack_limit,
    )
    (plan,) = make_plan(make_request(options)[0])
    limits = {cell.attack.name: cell.limit for cell in plan.cells if cell.attack is not None}
    assert limits == {"fgsm": fgsm, "autoattack": autoattack}


def test_the_tables_have_their_columns(finished: Path) -> None:
    table = rows(finished)
    assert list(table[0]) == [*RESULT_COLUMNS, *DIAGNOSTIC_COLUMNS, *AUDIT_COLUMNS]
    assert len(table) == 2 * (1 + 2 * 2)
    board = (finished / "leaderboard.csv").read_text().splitlines()
    head = board[0].split(",")
    assert head[: len(LEADERBOARD_COLUMNS)] == list(LEADERBOARD_COLUMNS)
    assert {"clean", "clean_diff", "fgsm@linf-0.05", "pgd-5@linf-0.1_diff"} <= set(head)
    assert len(board) == 3


def test_counts_and_rates_agree_with_the_images(finished: Path) -> None:
    for row in rows(finished):
        path = finished / "runs" / row["run_id"] / "cells" / f"{row['cell_id']}.samples.csv"
        with path.open() as file:
            samples = list(csv.DictReader(file))
        correct = sum(s["adv_pred"] == s["label"] for s in samples)
        assert len(samples) == int(row["n"]) == 60
        assert correct == int(row["n_correct"])
        assert float(row["acc"]) == correct / 60
        assert float(row["acc_lo"]) < float(row["acc"]) + 1e-12
        assert float(row["acc_hi"]) > float(row["acc"]) - 1e-12
        wrong_from_the_start = sum(s["clean_pred"] != s["label"] for s in samples)
        if row["attack"] == "pgd-5":
            assert int(row["n_attacked"]) == 60 - wrong_from_the_start
            # A survivor costs all of its five steps, a broken image between none and five.
            assert 5 * correct <= int(row["n_backwards"]) <= int(row["n_forwards"]) <= 6 * int(row["n_attacked"])
            assert int(row["n_backwards"]) <= 5 * int(row["n_attacked"]) or row["eps"] == "0.05"
            broken = [float(s["distance"]) for s in samples if s["distance"] not in ("", "0.0")]
            assert float(row["max_distance"]) == max(broken) <= float(row["eps"])
        survived = [s for s in samples if s["adv_pred"] == s["label"]]
        assert all(s["distance"] == "" for s in survived)


def test_a_second_run_does_nothing_says_so_and_needs_no_right_to_write(
    run: Bench, bench: Bench, finished: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    outcome = run(*FINISHED, results=finished)
    assert outcome.code == 0
    assert "nothing to do: all 10 cells are already stored" in outcome.err
    assert "| tiny" in outcome.out
    assert bench("leaderboard", "--results", finished).out in outcome.out
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*")}


def test_one_deleted_cell_is_the_only_one_computed_again(run: Bench, copied: Path) -> None:
    cells = sorted((copied / "runs").glob("*/cells/*.json"))
    before = {path: path.stat().st_mtime_ns for path in (copied / "runs").rglob("*") if path.is_file()}
    victim = next(p for p in cells if json.loads(p.read_text())["spec"]["attack"] is not None)
    victim.unlink()
    outcome = run(*FINISHED)
    assert "0 trained, 1 of 10 cells computed, 9 already stored" in outcome.err
    changed = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {victim}  # the images came out the same, so their file was left alone


def test_lost_weights_are_trained_again_and_their_cells_with_them(run: Bench, copied: Path) -> None:
    next((copied / "runs").glob("*/weights.safetensors")).write_bytes(b"damaged")
    outcome = run("--attacks", "none")
    assert "1 trained, 1 of 2 cells computed, 1 already stored" in outcome.err


def test_one_seed_gives_one_result(run: Bench, tmp_path: Path) -> None:
    """Byte for byte, apart from the columns that say how long and when."""
    arguments = ("--attacks", "fgsm,pgd-5-r2,autoattack", "--attack-limit", "autoattack=4", "--seeds", "3")
    for name in ("a", "b"):
        assert run(*arguments, results=tmp_path / name).code == 0
    first, second = rows(tmp_path / "a"), rows(tmp_path / "b")
    for row in (*first, *second):
        for column in TIME_COLUMNS:
            row.pop(column)
    assert first == second
    assert (tmp_path / "a" / "leaderboard.csv").read_bytes() == (tmp_path / "b" / "leaderboard.csv").read_bytes()


def test_another_seed_gives_other_weights(run: Bench, tmp_path: Path) -> None:
    run("--attacks", "none", "--variants", "baseline", "--seeds", "0,1", "--no-diagnose")
    first, second = rows(tmp_path / "out")
    assert first["weights_sha"] != second["weights_sha"]
    assert first["config_sha"] == second["config_sha"]


def test_batch_size_does_not_change_pgd(run: Bench, tmp_path: Path) -> None:
    for size in ("7", "60"):
        run(
            "--attacks",
            "pgd-5",
            "--variants",
            "baseline",
            "--no-diagnose",
            "--batch-size",
            size,
            results=tmp_path / size,
        )
    counts = [[row["n_correct"] for row in rows(tmp_path / size)] for size in ("7", "60")]
    assert counts[0] == counts[1]


def test_the_smaller_set_is_part_of_the_larger(run: Bench, tmp_path: Path) -> None:
    run("--attacks", "fgsm,pgd-5", "--attack-limit", "pgd-5=20", "--variants", "baseline", "--no-diagnose")
    ids = {}
    for row in rows(tmp_path / "out"):
        path = tmp_path / "out" / "runs" / row["run_id"] / "cells" / f"{row['cell_id']}.samples.csv"
        with path.open() as file:
            ids[row["attack"]] = [(s["sample_id"], s["label"]) for s in csv.DictReader(file)]
    assert len(ids["pgd-5"]) == 20
    assert set(ids["pgd-5"]) < set(ids["fgsm"])
    labels = [label for _, label in ids["pgd-5"]]
    assert {labels.count(label) for label in labels} == {2}


def test_prefiltered_attacks_only_what_is_standing(run: Bench, tmp_path: Path) -> None:
    arguments = [*LEARNED, "--attacks", "pgd-5,autoattack", "--attack-limit", "autoattack=20"]
    arguments += ["--variants", "baseline", "--no-diagnose"]
    run(*arguments, results=tmp_path / "standard")
    run(*arguments, "--protocol", "prefiltered", results=tmp_path / "prefiltered")
    standard = next(r for r in rows(tmp_path / "standard") if r["attack"] == "autoattack")
    prefiltered = next(r for r in rows(tmp_path / "prefiltered") if r["attack"] == "autoattack")
    assert (standard["protocol"], prefiltered["protocol"]) == ("standard", "prefiltered")
    assert int(prefiltered["n_attacked"]) < int(standard["n_attacked"])
    assert int(prefiltered["n_correct"]) <= int(standard["n_correct"])
    assert prefiltered["n"] == standard["n"] == "20"


def test_a_dry_run_writes_no_result_and_tells_what_is_cached(run: Bench, finished: Path, tmp_path: Path) -> None:
    assert "4 of 4 cells and 2 diagnoses to do" in run("--attacks", "fgsm", "--dry-run").out
    least, most = run("--attacks", "pgd-50-r5", "--dry-run", "--json").json["estimate_s"]
    assert 0 < least < most
    assert not (tmp_path / "out" / "runs").exists()
    outcome = run("--attacks", "fgsm,pgd-6", "--dry-run", "--json", results=finished)
    states = [cell["state"] for cell in outcome.json["cells"]]
    assert (states.count("cached"), states.count("to do")) == (4, 2)


def test_rows_give_the_budget_of_the_training(run: Bench, tmp_path: Path) -> None:
    arguments = ("--variants", "baseline,pgd_at", "--attacks", "none", "--no-diagnose")
    assert run(*arguments).code == run(*arguments, "--train-eps", "8/255").code == 0
    found = {(r["variant"], r["train_eps"]) for r in rows(tmp_path / "out")}
    assert found == {("baseline", ""), ("pgd_at", "0.15"), ("pgd_at", str(8 / 255))}


def test_json_is_all_there_is_on_stdout(run: Bench) -> None:
    outcome = run("--attacks", "none", "--no-diagnose", "--json")
    assert outcome.json["evaluated"] == 2
    assert [row["variant"] for row in outcome.json["leaderboard"]] != []
    assert "trained" in outcome.err


def test_a_network_at_chance_is_told(run: Bench, bench: Bench, tmp_path: Path) -> None:
    """Untrained, the network is at chance on 10 classes; after two epochs it is not."""
    arguments = ("--attacks", "fgsm", "--variants", "baseline", "--no-diagnose")
    remark = "no better than chance ("
    assert remark not in run(*arguments, *LEARNED).err
    assert {row["notes"] for row in rows(tmp_path / "out")} == {"60 of 500 test images, proportional to class"}
    told = run(*arguments, "--epochs", "0").err.splitlines()
    assert [remark in line for line in told if line.startswith("tiny:baseline:0 ")] == [True, False]
    noted = {row["attack"]: remark in row["notes"] for row in rows(tmp_path / "out") if row["epochs"] == "0"}
    assert noted == {"clean": True, "fgsm": False}


def test_the_columns_of_a_dry_run_are_as_wide_as_their_entries(run: Bench) -> None:
    kinds = ("--corruptions", "elastic_transform,fog", "--attacks", "none")
    *lines, last = run("--dry-run", *kinds).out.splitlines()
    assert {line.index("  n=") for line in lines if "elastic_transform@severity-1,2,3,4,5" in line} == {
        max(line.index("  n=") for line in lines)
    }
    assert len({line.index("n=") for line in lines}) == 1
    assert last.startswith("22 of 22 cells and 2 diagnoses to do")


def test_one_is_singular(run: Bench) -> None:
    one = ("--attacks", "none", "--variants", "baseline")
    assert run("--dry-run", *one).out.splitlines()[-1].startswith("1 of 1 cell and 1 diagnosis to do")
    assert "1 trained, 1 of 1 cell computed, 0 already stored" in run(*one, "--no-diagnose").err
    assert "1 run diagnosed, 0 audited; the only cell was already stored" in run(*one).err
    assert "nothing to do: the only cell is already stored (--force computes it again)" in run(*one).err


def test_show_finds_a_run_by_prefix_and_by_name(run: Bench, bench: Bench, tmp_path: Path) -> None:
    run("--attacks", "none", "--no-diagnose", "--seeds", "0,1")
    out = tmp_path / "out"
    run_id = next(row["run_id"] for row in rows(out) if (row["variant"], row["seed"]) == ("lpc", "1"))
    by_name = bench("show", "tiny:lpc:1", "--results", out)
    assert by_name.code == 0
    assert by_name.out == bench("show", run_id[:5], "--results", out).out
    assert bench("show", "tiny:lpc:1", "--results", out, "--json").json["run"]["run_id"] == run_id
    several = bench("show", "tiny:lpc", "--results", out)
    assert (several.code, "matches 2 runs" in several.err) == (2, True)
    assert "no run 'zzz'" in bench("show", "zzz", "--results", out).err
    assert "; did you mean 'tiny:baseline'" in bench("show", "tiny:baselin", "--results", out).err


def test_the_board_is_rebuilt_from_the_cells_alone(bench: Bench, copied: Path) -> None:
    out = copied
    before = {name: (out / name).read_bytes() for name in ("results.csv", "leaderboard.csv")}
    for name in before:
        (out / name).unlink()
    assert bench("leaderboard", "--results", out).code == 0
    assert before == {name: (out / name).read_bytes() for name in before}
    bench("leaderboard", "--results", out, "--intervals")
    assert "clean_lo" in (out / "leaderboard.csv").read_text().splitlines()[0]


def test_differences_are_to_the_baseline_of_the_same_recipe(run: Bench, tmp_path: Path) -> None:
    """After epochs enough to be better than chance, without which there are none."""
    run("--attacks", "none", "--no-diagnose", "--seeds", "0,1", "--epochs", "30")
    run("--attacks", "none", "--no-diagnose", "--epochs", "1", "--variants", "lpc")
    with (tmp_path / "out" / "leaderboard.csv").open() as file:
        board = {(row["variant"], row["epochs"]): row for row in csv.DictReader(file)}
    ours, baseline = board["lpc", "30"], board["baseline", "30"]
    assert float(ours["clean_diff"]) == pytest.approx(float(ours["clean"]) - float(baseline["clean"]), abs=0.011)
    assert board["lpc", "1"]["clean_diff"] == ""
    assert ours["seeds"] == "2"


def test_an_edited_plugin_is_another_model(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/external/test_identity.py shows that its hash changes with the code of the plug-in."""
    load_plugins([plugin])
    options = RunConfig(models=["tiny", "resnet10t"], variants=["baseline"], attacks=["none"])
    ids = []
    for code in ("before", "after", "after"):
        monkeypatch.setattr("bench.planning.request.plugin_sha", lambda code=code: code)
        ids.append({plan.train.model.name: plan.train.run_id for plan in make_plan(make_request(options)[0])})
    assert ids[0]["tiny"] != ids[1]["tiny"]
    assert ids[0]["resnet10t"] == ids[1]["resnet10t"], "a built-in model does not depend on plug-ins"
    assert ids[1] == ids[2]


def test_the_recipe_and_the_width_reach_the_row(run: Bench, tmp_path: Path) -> None:
    arguments = ("--variants", "baseline,lpc,feature_norm", "--attacks", "none", "--no-diagnose")
    assert run(*arguments, "--recipe", "short", "--latent-dim", "8", "--train-precision", "bf16").code == 0
    found = {row["variant"]: row for row in rows(tmp_path / "out")}
    assert {v: row["schedule"] for v, row in found.items()} == {
        "baseline": "", "lpc": "short", "feature_norm": "constant",
    }  # fmt: skip
    assert (found["lpc"]["latent_dim"], found["baseline"]["latent_dim"]) == ("8", "16")
    assert {row["train_precision"] for row in found.values()} == {"bf16"}
    assert float(found["lpc"]["gamma_per_sample"]) == pytest.approx(float(found["lpc"]["gamma"]) / 8)
    assert float(found["feature_norm"]["gamma_per_sample"]) == pytest.approx(1 / 16)
