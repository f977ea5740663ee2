"""Checkpoints that were trained elsewhere, from their files to the board."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
from image_folders import image_folder
from plain_training import ARCHITECTURE, Plain

from bench.api import evaluate
from bench.core.errors import BenchError
from bench.results.store import Store

MODEL = ("--model", ARCHITECTURE)
Call = Callable[..., Any]


def clean(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["attack"] == "clean"].set_index(["variant", "seed"])


def test_the_accuracy_is_the_one_that_the_script_found(shared_board: Any, plain: Plain) -> None:
    """In a wrapper, with the normalisation of timm's configuration, on all test images."""
    rows = clean(pd.read_csv(shared_board.folder / "results.csv"))
    assert rows["n_correct"].to_dict() == {
        (variant, 3 + seed): plain.right[kind, seed]
        for variant, kind in (("baseline", "plain"), ("noise", "noise"))
        for seed in (0, 1)
    }
    assert set(rows["n"]) == {plain.n}
    assert rows["normalization"].str.startswith("from-config: mean (0.485").all()
    assert rows["notes"].str.contains("images in [0, 1] are normalised with mean 0.485", regex=False).all()
    for messages in shared_board.messages.values():
        assert messages.count("clean accuracy on 256 probe images by preprocessing:") == 2
        assert messages.count("from-config with the small stem ") == 2


def test_the_stored_run_says_where_it_comes_from(shared_board: Any) -> None:
    records = [json.loads(path.read_text(encoding="utf-8")) for path in shared_board.folder.glob("runs/*/run.json")]
    assert {record["source"]["kind"] for record in records} == {"checkpoint"}
    assert {record["source"]["origin"] for record in records} == {ARCHITECTURE}
    names = {(record["variant"], record["seed"]): record["source"]["file"] for record in records}
    assert names["baseline", 4] == "plain1.pth"
    assert names["noise", 3] == "noise0.pth"


@pytest.mark.usefixtures("few_probe_images")
def test_a_wrong_normalisation_stops_the_run(evaluate_cli: Call, plain: Plain, tmp_path: Path) -> None:
    arguments = (plain.files["plain", 0], *MODEL, "--normalize", "none", "--results", tmp_path)
    outcome = evaluate_cli(*arguments)
    assert outcome.code == 2
    assert "under imagenet; give --normalize imagenet, or --trust-normalization" in outcome.err
    assert not list(tmp_path.glob("runs/*"))
    assert evaluate_cli(*arguments, "--trust-normalization", "--attacks", "none").code == 0
    assert evaluate_cli(*arguments).code == 2, "a stored problem is not trusted later"


@pytest.mark.usefixtures("few_probe_images")
def test_a_permuted_class_order_stops_the_run_and_names_mend_it(
    evaluate_cli: Call, plain: Plain, tmp_path: Path
) -> None:
    """The classes 0…9 in the order of their English names."""
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    order = sorted(range(10), key=lambda k: names[k])
    content = torch.load(plain.files["plain", 0], weights_only=True)
    for key in list(content["model_state_dict"]):
        if content["model_state_dict"][key].shape[:1] == (10,):
            content["model_state_dict"][key] = content["model_state_dict"][key][order]
    torch.save(content, tmp_path / "permuted.pth")
    outcome = evaluate_cli(tmp_path / "permuted.pth", *MODEL, "--results", tmp_path / "out")
    assert outcome.code == 2
    assert "in the declared class order and" in outcome.err
    assert "--class-names FILE" in outcome.err
    (tmp_path / "names.txt").write_text("\n".join(str(k) for k in order), encoding="utf-8")
    options = ("--class-names", tmp_path / "names.txt", "--limit", "all", "--attacks", "none")
    mended = evaluate_cli(tmp_path / "permuted.pth", *MODEL, *options, "--results", tmp_path / "out")
    assert mended.code == 0, mended.err
    row = clean(pd.read_csv(tmp_path / "out" / "results.csv")).loc["external", 0]
    assert (row["model"], row["n_correct"]) == ("permuted", plain.right["plain", 0])


def test_seeds_of_two_variants_are_compared_gated_and_exported(bench: Call, board: Any, tmp_path: Path) -> None:
    table = pd.read_csv(board.folder / "leaderboard.csv")
    assert sorted(zip(table["model"], table["variant"], table["seeds"], strict=True)) == [
        (ARCHITECTURE, "baseline", 2), (ARCHITECTURE, "noise", 2),
    ]  # fmt: skip
    compared = pd.read_csv(board.folder / "comparison.csv").set_index("metric")
    assert {"clean", "fgsm@linf-0.1"} <= set(compared.index)
    name, results = f"{ARCHITECTURE}:noise:3", ("--results", board.folder)
    assert bench("verify", name, *results).code == 0
    shown = bench("show", name, *results)
    assert shown.code == 0
    assert "noise0.pth" in shown.out
    assert shown.out.count("images in [0, 1] are normalised") == 1, "a note on the network is not repeated per cell"
    assert bench("export", name, "--format", "huggingface", *results).code == 0
    assert bench("export", name, "--format", "timm", "--allow-protocol-mismatch", *results).code == 0
    held = ("--baseline", tmp_path / "base.json", *results)
    assert bench("baseline", "write", *held).code == 0
    checked = bench("check", *held, "--scope", "weights", "--allow-inconclusive")
    assert checked.code == 0, checked.out + checked.err


def test_a_network_is_audited_beside_the_baseline_of_its_seed(bench: Call, plain: Plain, board: Any) -> None:
    name, results = f"{ARCHITECTURE}:noise:4", ("--results", board.folder)
    arguments = [text for text in board.arguments["noise"] if text != str(plain.files["noise", 0])]
    arguments[arguments.index("3")] = "4"
    outcome = bench(*arguments, "--audit", "default", *results)
    assert outcome.code == 0, outcome.err
    assert "0 of 2 cells computed" in outcome.err
    store = Store(board.folder)
    (audit,) = store.audits(store.find_run(name).run_id)
    baseline = store.find_run(f"{ARCHITECTURE}:baseline:4")
    assert [budget.baseline_run for budget in audit.budgets] == [baseline.run_id]
    assert not audit.findings  # of the model itself
    audited = bench("audit", name, *results)
    assert audited.code in (0, 1)  # 1: FGSM alone is flagged
    assert f"{name} on digits" in audited.out


def test_the_same_networks_again_compute_nothing(bench: Call, board: Any, plain: Plain) -> None:
    """Named by the same command, by the configuration that was recorded, or in a list in TOML."""
    results = ("--audit", "none", "--results", board.folder)
    recorded = bench("evaluate", "--config", board.folder / "evaluate.toml", *results)
    again = bench(*board.arguments["baseline"], *results)
    for outcome in (recorded, again):
        assert "0 of 4 cells computed, 4 already stored" in outcome.err
        assert "probe images by preprocessing" not in outcome.err
    assert f"{ARCHITECTURE}:noise:4: preprocessing already probed in run " in recorded.err
    assert f"{ARCHITECTURE}:baseline:3: preprocessing already probed in run " in again.err
    tables = [
        f'[[networks]]\ncheckpoint = "{plain.files[kind, 1]}"\nas-variant = "{variant}"\nseed = 4\n'
        f'name = "{ARCHITECTURE}"\n'
        for kind, variant in (("plain", "baseline"), ("noise", "noise"))
    ]
    head = f'model = "{ARCHITECTURE}"\nattacks = "fgsm"\neps = "0.1"\ncorruptions = "none"\nlimit = "all"\n'
    head += 'attack-limit = ["fgsm=60"]\n'
    config = board.folder.parent / "networks.toml"
    config.write_text(head + "\n".join(tables), encoding="utf-8")
    outcome = bench("evaluate", "--config", config, *results, "--save-adversarials", "float32", "--json")
    assert outcome.code == 0, outcome.err
    assert "0 of 4 cells computed, 4 already stored" in outcome.err
    assert {row["variant"] for row in outcome.json["leaderboard"]} == {"baseline", "noise"}
    config.write_text(head + tables[0] + "modell = 1\n", encoding="utf-8")
    assert "unknown key 'modell'; did you mean 'model'" in bench("evaluate", "--config", config).err


@pytest.mark.usefixtures("few_probe_images")
def test_another_network_of_the_same_name_is_refused_and_force_computes_again(
    evaluate_cli: Call, plain: Plain, board: Any
) -> None:
    first = (plain.files["noise", 0], *MODEL, "--as-variant", "noise", "--seed", "3", "--attacks", "none")
    forced = evaluate_cli(*first, "--limit", "all", "--force", "--results", board.folder)
    assert "1 of 1 cell computed" in forced.err, forced.err
    assert "probe images by preprocessing" in forced.err
    outcome = evaluate_cli(plain.files["noise", 1], *first[1:], "--results", board.folder)
    assert outcome.code == 2
    assert f"{ARCHITECTURE}:noise:3 is already another network" in outcome.err


@pytest.mark.usefixtures("few_probe_images")
def test_the_api_takes_a_checkpoint(plain: Plain, tmp_path: Path) -> None:
    options = {"attacks": "none", "corruptions": "none", "results": tmp_path, "model": ARCHITECTURE}
    rows = evaluate(plain.files["noise", 1], variant="noise", seed=1, **options)
    (row,) = rows.to_dict("records")
    assert (row["model"], row["variant"], row["seed"]) == (ARCHITECTURE, "noise", 1)
    assert row["n_correct"] == plain.right["noise", 1]
    with pytest.raises(BenchError, match="under imagenet"):
        evaluate(plain.files["noise", 1], normalize="none", name="other", **options)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "no network given; name a checkpoint, or a factory"),
        (("missing.pth", *MODEL), "there is no checkpoint missing.pth"),
        (("FILE",), "has weights without a network; name its architecture by --model"),
        (("FILE", "--model", "test_resnet"), "do not fit model 'test_resnet'"),
        (("FILE", "FILE", *MODEL), "two networks are called plain0:external:0"),
        (("FILE", *MODEL, "--name", "a,b"), "it contains ',', which separates names"),
        (("FILE", *MODEL, "--input-size", "big"), "--input-size 'big' is neither"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, evaluate_cli: Call, plain: Plain, tmp_path: Path
) -> None:
    texts = [str(plain.files["plain", 0]) if text == "FILE" else text for text in arguments]
    outcome = evaluate_cli(*texts, "--results", tmp_path / "out")
    assert outcome.code == 2, outcome.err
    assert sentence in outcome.err
    assert outcome.err.count("\nerror: ") + outcome.err.startswith("error: ") == 1
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.usefixtures("few_probe_images")
def test_another_architecture_is_no_seed_of_the_same_recipe(plain: Plain, board: Any) -> None:
    """Two architectures under one name are two rows of the board."""
    other = timm.create_model("test_efficientnet", num_classes=10)
    torch.save(other.state_dict(), board.folder / "other.pth")
    evaluate(
        board.folder / "other.pth", model="test_efficientnet", name=ARCHITECTURE, variant="noise", seed=5,
        normalize="none", attacks="none", corruptions="none", results=board.folder,
    )  # fmt: skip
    table = pd.read_csv(board.folder / "leaderboard.csv")
    assert sorted(zip(table["variant"], table["seeds"], strict=True)) == [("baseline", 2), ("noise", 1), ("noise", 2)]


@pytest.mark.usefixtures("few_probe_images")
def test_one_file_on_two_data_sets_is_two_runs(
    evaluate_cli: Call, plain: Plain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder holds images of the same shape and number of classes. The file is called nan."""
    shutil.copy(plain.files["plain", 0], tmp_path / "nan.pth")
    folder = image_folder(tmp_path / "halves", [(8, 8)])
    for options in ((), ("--dataset", "imagefolder", "--data-dir", folder, "--trust-normalization")):
        arguments = (tmp_path / "nan.pth", *MODEL, "--attacks", "none", "--results", tmp_path / "out")
        outcome = evaluate_cli(*arguments, *options)
        assert outcome.code == 0, outcome.err
    rows = pd.read_csv(tmp_path / "out" / "results.csv")
    assert sorted(zip(rows["dataset"], rows["n"], strict=True)) == [("digits", 60), ("halves", 20)]
    assert rows["run_id"].nunique() == 2
    assert set(rows["model"]) == {"model-nan"}
    warning = f"{tmp_path / 'nan.pth'}: called model-nan in the tables, because 'nan' is not an allowed name"
    assert warning in caplog.text
