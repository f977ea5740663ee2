"""Networks that were trained elsewhere, from their files to the board."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from plain_training import ARCHITECTURE, MEAN, STD, Normalised, Plain, images_of, trained
from timm.data import create_transform, resolve_data_config
from torch import nn
from torchvision.datasets import ImageFolder

from bench.api import FailedCellsWarning, evaluate
from bench.core.errors import BenchError
from bench.models.architectures import build_network
from bench.results.store import Store

MODEL = ("--model", ARCHITECTURE)
Call = Callable[..., Any]


def clean(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["attack"] == "clean"].set_index("model")


def test_the_accuracy_is_the_one_that_the_script_found(evaluate_cli: Call, plain: Plain, tmp_path: Path) -> None:
    """In a wrapper, with the normalisation of timm's configuration, on all test images."""
    options = ("--limit", "all", "--attacks", "none", "--results", tmp_path)
    outcome = evaluate_cli(plain.files["plain", 0], *MODEL, *options)
    assert outcome.code == 0, outcome.err
    row = clean(pd.read_csv(tmp_path / "results.csv")).loc["plain0"]
    assert (row["n_correct"], row["n"]) == (plain.right["plain", 0], plain.n)
    assert row["normalization"].startswith("from-config: mean (0.485")
    assert "images in [0, 1] are normalised with mean 0.485" in row["notes"]
    assert "clean accuracy on 256 probe images by preprocessing:" in outcome.err
    assert "from-config with the small stem " in outcome.err


def test_a_wrong_normalisation_stops_the_run(evaluate_cli: Call, plain: Plain, tmp_path: Path) -> None:
    arguments = (plain.files["plain", 0], *MODEL, "--normalize", "none", "--results", tmp_path)
    outcome = evaluate_cli(*arguments)
    assert outcome.code == 2
    assert "under imagenet; give --normalize imagenet, or --trust-normalization" in outcome.err
    assert not list(tmp_path.glob("runs/*"))
    assert evaluate_cli(*arguments, "--trust-normalization", "--attacks", "none").code == 0
    assert evaluate_cli(*arguments).code == 2, "a stored problem is not trusted later"


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
    row = clean(pd.read_csv(tmp_path / "out" / "results.csv")).loc["permuted"]
    assert row["n_correct"] == plain.right["plain", 0]


def test_seeds_of_two_variants_are_compared_audited_gated_and_exported(
    evaluate_cli: Call, bench: Call, plain: Plain, tmp_path: Path
) -> None:
    files, out = plain.files, tmp_path / "out"
    common = (*MODEL, "--audit", "default", "--save-adversarials", "float32", "--results", out)
    for variant, kind in (("baseline", "plain"), ("noise", "noise")):
        outcome = evaluate_cli(files[kind, 0], files[kind, 1], "--as-variant", variant, *common)
        assert outcome.code == 0, outcome.err
    board = pd.read_csv(out / "leaderboard.csv")
    assert sorted(zip(board["model"], board["variant"], board["seeds"], strict=True)) == [
        (ARCHITECTURE, "baseline", 2), (ARCHITECTURE, "noise", 2),
    ]  # fmt: skip
    compared = pd.read_csv(out / "comparison.csv").set_index("metric")
    assert {"clean", "fgsm@linf-0.1"} <= set(compared.index)
    store = Store(out)
    noise = store.find_run(f"{ARCHITECTURE}:noise:1")
    (audit,) = store.audits(noise.run_id)
    baseline = store.find_run(f"{ARCHITECTURE}:baseline:1")
    assert [budget.baseline_run for budget in audit.budgets] == [baseline.run_id]
    assert not audit.findings  # of the model itself
    name = f"{ARCHITECTURE}:noise:0"
    assert bench("verify", name, "--results", out).code == 0
    shown = bench("show", name, "--results", out)
    assert shown.code == 0
    assert "noise0.pth" in shown.out
    assert shown.out.count("images in [0, 1] are normalised") == 1, "a note on the network is not repeated per cell"
    audited = bench("audit", name, "--results", out)
    assert audited.code in (0, 1)  # 1: FGSM alone is flagged
    assert f"{ARCHITECTURE}:noise:0 on digits" in audited.out
    assert bench("export", name, "--format", "huggingface", "--results", out).code == 0
    assert bench("export", name, "--format", "timm", "--allow-protocol-mismatch", "--results", out).code == 0
    held = ("--baseline", tmp_path / "base.json", "--results", out)
    assert bench("baseline", "write", *held).code == 0
    checked = bench("check", *held, "--scope", "weights", "--allow-inconclusive")
    assert checked.code == 0, checked.out + checked.err


def test_the_same_command_again_computes_nothing(evaluate_cli: Call, plain: Plain, tmp_path: Path) -> None:
    arguments = (plain.files["plain", 0], *MODEL, "--results", tmp_path)
    first, again, forced = evaluate_cli(*arguments), evaluate_cli(*arguments), evaluate_cli(*arguments, "--force")
    assert "2 of 2 cells computed" in first.err
    assert "0 of 2 cells computed, 2 already stored" in again.err
    assert ["probe images by preprocessing" in outcome.err for outcome in (first, again, forced)] == [True, False, True]
    assert "plain0:external:0: preprocessing already probed in run " in again.err
    renamed = (plain.files["plain", 1], *MODEL, "--name", "plain0", "--results", tmp_path)
    outcome = evaluate_cli(*renamed)
    assert outcome.code == 2
    assert "plain0:external:0 is already another network" in outcome.err


def test_a_list_of_networks_in_toml(bench: Call, plain: Plain, tmp_path: Path) -> None:
    tables = [
        f'[[networks]]\ncheckpoint = "{plain.files[kind, 0]}"\nas-variant = "{variant}"\nname = "net"\n'
        for kind, variant in (("plain", "baseline"), ("noise", "noise"))
    ]
    options = 'attacks = "fgsm"\neps = "0.1"\ncorruptions = "none"\nlimit = 60\naudit = "none"\n'
    head = f'model = "{ARCHITECTURE}"\n{options}'
    config = tmp_path / "networks.toml"
    config.write_text(head + "\n".join(tables), encoding="utf-8")
    outcome = bench("evaluate", "--config", config, "--results", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    assert {row["variant"] for row in outcome.json["leaderboard"]} == {"baseline", "noise"}
    config.write_text(head + tables[0] + "modell = 1\n", encoding="utf-8")
    assert "unknown key 'modell'; did you mean 'model'" in bench("evaluate", "--config", config).err


def test_the_api_takes_a_checkpoint(plain: Plain, tmp_path: Path) -> None:
    options = {"attacks": "none", "corruptions": "none", "results": tmp_path, "model": ARCHITECTURE}
    rows = evaluate(plain.files["noise", 1], variant="noise", seed=1, **options)
    (row,) = rows.to_dict("records")
    assert (row["model"], row["variant"], row["seed"]) == (ARCHITECTURE, "noise", 1)
    assert row["n_correct"] == plain.right["noise", 1]
    with pytest.raises(BenchError, match="under imagenet"):
        evaluate(plain.files["noise", 1], normalize="none", name="other", **options)


def test_failed_rows_warn_or_raise(tmp_path: Path) -> None:
    class Broken(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.full((len(inputs), 10), float("nan"))

    options = {"name": "broken", "attacks": "none", "corruptions": "none", "limit": 20}
    with pytest.warns(FailedCellsWarning, match="1 of 1 cell failed; first failure: nan_logits"):
        evaluate(Broken(), **options)
    with pytest.raises(BenchError, match="nan_logits"):
        evaluate(Broken(), failures="raise", **options)
    with pytest.raises(BenchError, match="failures='no' is unknown; write warn, raise or ignore"):
        evaluate(Broken(), failures="no", **options)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "no network given; name a checkpoint, or a factory"),
        (("missing.pth", *MODEL), "there is no checkpoint missing.pth"),
        (("FILE",), "has weights without a network; name its architecture by --model"),
        (("FILE", "--model", "torchvision:resnet18"), "do not fit model 'torchvision:resnet18'"),
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


def test_the_stored_run_says_where_it_comes_from(evaluate_cli: Call, plain: Plain, tmp_path: Path) -> None:
    assert evaluate_cli(plain.files["plain", 0], *MODEL, "--attacks", "none", "--results", tmp_path).code == 0
    record = json.loads(next(tmp_path.glob("runs/*/run.json")).read_text(encoding="utf-8"))
    assert record["source"]["kind"] == "checkpoint"
    assert (record["source"]["origin"], record["source"]["file"]) == (ARCHITECTURE, "plain0.pth")


def test_modules_of_two_variants_are_compared_and_lpc_needs_its_collapse_measured(tmp_path: Path) -> None:
    options = {"name": "net", "attacks": "fgsm", "eps": "0.1", "corruptions": "none", "limit": 100, "audit": "none"}
    for variant, noise in (("baseline", 0.0), ("lpc", 0.2), ("noise", 0.2)):
        evaluate(Normalised(trained(0, noise, epochs=1)), variant=variant, results=tmp_path, **options)
    compared = pd.read_csv(tmp_path / "comparison.csv").set_index(["variant", "metric"])
    assert all(compared.loc[["lpc"], "finding"].str.endswith("collapse not measured"))
    assert not any(compared.loc[["noise"], "finding"].str.contains("collapse"))
    with pytest.raises(BenchError, match="net:noise:0 is already another network"):
        evaluate(Normalised(trained(1, 0.2, epochs=1)), variant="noise", results=tmp_path, **options)


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_whole_networks(kind: str, evaluate_cli: Call, bench: Call, tmp_path: Path) -> None:
    """The accuracy is that of the module, the stored network verifies, and the same file again computes nothing."""
    network, (inputs, labels) = Normalised(trained(0, 0.0, epochs=2)).eval(), images_of("test")
    with torch.no_grad():
        right = int((network(inputs).argmax(1) == labels).sum())
    path = tmp_path / {"torchscript": "net.pt", "exported": "net.pt2"}[kind]
    if kind == "torchscript":
        torch.jit.trace(network, inputs[:2]).save(str(path))
    else:
        batch = ({0: torch.export.Dim("batch")},)
        torch.export.save(torch.export.export(network, (inputs[:2],), dynamic_shapes=batch), str(path))
    out = tmp_path / "out"
    options = ("--normalize", "none", "--limit", "all", "--save-adversarials", "float32", "--results", out)
    outcome = evaluate_cli(path, *options)
    assert outcome.code == 0, outcome.err
    assert clean(pd.read_csv(out / "results.csv")).loc["net", "n_correct"] == right
    verified = bench("verify", "net", "--results", out)
    assert verified.code == 0, verified.out + verified.err
    assert "2 already stored" in evaluate_cli(path, *options).err


def test_a_trace_of_a_training_network_is_refused(evaluate_cli: Call, tmp_path: Path) -> None:
    network, (inputs, _) = Normalised(trained(0, 0.0, epochs=1)).train(), images_of("test")
    torch.jit.trace(network, inputs[:4], check_trace=False).save(str(tmp_path / "net.pt"))
    outcome = evaluate_cli(tmp_path / "net.pt", "--normalize", "none", "--results", tmp_path / "out")
    assert outcome.code == 2
    assert "was traced in training mode (aten::batch_norm); call model.eval() before torch.jit.trace." in outcome.err


@pytest.mark.parametrize("option", [{"input_size": 32}, {"trust_normalization": True}, {"normalize": "none"}])
def test_options_of_files_are_refused_for_modules(option: dict[str, Any]) -> None:
    with pytest.raises(
        BenchError, match=f"{next(iter(option))}= applies to files only; a module does its own preprocessing"
    ):
        evaluate(torch.nn.Flatten(), name="net", attacks="none", **option)


def test_another_architecture_is_no_seed_of_the_same_recipe(plain: Plain, tmp_path: Path) -> None:
    """Two architectures under one name are two rows of the board."""
    options = {"name": "net", "attacks": "none", "corruptions": "none", "limit": 40, "results": tmp_path}
    evaluate(plain.files["plain", 0], model=ARCHITECTURE, **options)
    other = timm.create_model("test_efficientnet", num_classes=10)
    torch.save(other.state_dict(), tmp_path / "other.pth")
    evaluate(tmp_path / "other.pth", model="test_efficientnet", seed=1, normalize="none", **options)
    board = pd.read_csv(tmp_path / "leaderboard.csv")
    assert board["seeds"].tolist() == [1, 1]


FACTORY = """
import timm, torch
from torch import nn

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = timm.create_model("{name}", num_classes=10)
        state = torch.load("{path}")["model_state_dict"]
        self.network.load_state_dict({{key.removeprefix("module."): value for key, value in state.items()}})

    def forward(self, images):
        return self.network((images - torch.tensor({mean}).view(1, 3, 1, 1)) / torch.tensor({std}).view(1, 3, 1, 1))

def own():
    return Own()
"""


def test_a_factory(evaluate_cli: Call, bench: Call, plain: Plain, tmp_path: Path) -> None:
    """A function in a file; the module normalises by itself. It is not stored, and ``bench verify`` says so."""
    mean, std = MEAN.flatten().tolist(), STD.flatten().tolist()
    text = FACTORY.format(name=ARCHITECTURE, path=plain.files["plain", 0], mean=mean, std=std)
    (tmp_path / "net.py").write_text(text, encoding="utf-8")
    out = ("--results", tmp_path / "out")
    assert "is never guessed" in evaluate_cli("--module", tmp_path / "net.py:own", *out).err
    options = ("--normalize", "none", "--limit", "all", "--attacks", "none", *out)
    outcome = evaluate_cli("--module", f"{tmp_path / 'net.py'}:own", *options)
    assert outcome.code == 0, outcome.err
    assert clean(pd.read_csv(tmp_path / "out" / "results.csv")).loc["own", "n_correct"] == plain.right["plain", 0]
    assert bench("show", "own", *out).code == 0
    assert bench("verify", "own", *out).code == 2


def test_a_factory_that_takes_one_channel_and_one_that_fails(evaluate_cli: Call, tmp_path: Path) -> None:
    text = "from torch import nn\ndef grey():\n    return nn.Sequential({}, nn.Flatten(), nn.Linear({}, 10))\n"
    (tmp_path / "grey.py").write_text(text.format("nn.Conv2d(1, 2, 3)", 72), encoding="utf-8")
    (tmp_path / "bad.py").write_text(text.format("nn.Conv2d(3, 2, 3)", 5), encoding="utf-8")
    options = ("--normalize", "none", "--attacks", "none", "--results", tmp_path / "out")
    outcome = evaluate_cli("--module", f"{tmp_path / 'grey.py'}:grey", *options)
    assert outcome.code == 0, outcome.err
    assert "images in [0, 1] are averaged over the channels" in outcome.err
    outcome = evaluate_cli("--module", f"{tmp_path / 'bad.py'}:grey", *options, "--name", "bad")
    assert outcome.code == 2
    assert "the network cannot classify an image of shape (3, 8, 8) (RuntimeError: " in outcome.err
    assert "Traceback" not in outcome.err


def test_one_file_on_two_data_sets_is_two_runs(evaluate_cli: Call, bench: Call, plain: Plain, tmp_path: Path) -> None:
    """The folder holds images of the same shape and number of classes."""
    folder = image_folder(tmp_path / "halves", [(8, 8)])
    for options in ((), ("--dataset", "imagefolder", "--data-dir", folder, "--trust-normalization")):
        arguments = (plain.files["plain", 0], *MODEL, "--attacks", "none", "--results", tmp_path / "out")
        outcome = evaluate_cli(*arguments, *options)
        assert outcome.code == 0, outcome.err
    rows = pd.read_csv(tmp_path / "out" / "results.csv")
    assert sorted(zip(rows["dataset"], rows["n"], strict=True)) == [("digits", 60), ("halves", 20)]
    assert rows["run_id"].nunique() == 2


def test_images_of_several_sizes_are_fitted_as_timm_does(
    evaluate_cli: Call, bench: Call, plain: Plain, tmp_path: Path
) -> None:
    """Resize, crop, interpolation and normalisation of the architecture's configuration, and again on opening."""
    folder = image_folder(tmp_path / "mixed", [(200, 180), (170, 300), (160, 160)])
    network = build_network(ARCHITECTURE, trained(0, 0.0, epochs=1).state_dict(), image_size=160).module
    torch.save(network.state_dict(), tmp_path / "net.pth")
    config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(ARCHITECTURE).to_dict())
    assert (config["input_size"], config["crop_pct"], config["interpolation"]) == ((3, 160, 160), 0.95, "bicubic")
    test = ImageFolder(str(folder / "test"), transform=create_transform(**config))
    with torch.no_grad():
        right = sum(int(network(image[None]).argmax()) == label for image, label in test)
    out = tmp_path / "out"
    options = ("--dataset", "imagefolder", "--data-dir", folder, "--limit", "all", "--trust-normalization")
    outcome = evaluate_cli(tmp_path / "net.pth", *MODEL, *options, "--save-adversarials", "float32", "--results", out)
    assert outcome.code in (0, 3), outcome.err
    row = clean(pd.read_csv(out / "results.csv")).loc["net"]
    assert (row["n_correct"], row["n"]) == (right, 20)
    assert "files are resized to 168 pixels on the shorter side (bicubic), and the middle 160×160" in row["notes"]
    assert "crop_pct" not in row["notes"]
    verified = bench("verify", "net", "--data-dir", folder, "--results", out)
    assert verified.code == 0, verified.out + verified.err


def image_folder(folder: Path, sizes: Sequence[tuple[int, int]]) -> Path:
    """Two images per class and split in ten classes, in turn of the given (width, height)."""
    random = np.random.default_rng(0)
    for number, (split, label, index) in enumerate(product(("train", "test"), range(10), range(2))):
        width, height = sizes[number % len(sizes)]
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
        path = folder / split / str(label) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((width, height)).save(path)
    return folder


def test_a_file_name_that_readers_would_change_is_replaced_with_a_warning(
    evaluate_cli: Call, plain: Plain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(plain.files["plain", 0], tmp_path / "nan.pth")
    evaluate_cli(tmp_path / "nan.pth", *MODEL, "--attacks", "none", "--results", tmp_path / "out")
    assert (
        f"{tmp_path / 'nan.pth'}: called model-nan in the tables, because 'nan' is not an allowed name" in caplog.text
    )
    assert list(pd.read_csv(tmp_path / "out" / "results.csv")["model"]) == ["model-nan"]


def test_the_recorded_configuration_evaluates_the_same_networks(
    evaluate_cli: Call, bench: Call, plain: Plain, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = evaluate_cli(plain.files["plain", 0], plain.files["plain", 1], *MODEL, "--as-variant", "baseline",
                         "--seed", "3", "--results", out)  # fmt: skip
    assert first.code == 0, first.err
    again = bench("evaluate", "--config", out / "evaluate.toml", "--results", out)
    assert "0 of 4 cells computed, 4 already stored" in again.err
    assert sorted(pd.read_csv(out / "results.csv")["seed"]) == [3, 3, 4, 4]


def test_the_python_api_records_the_configuration_of_the_command_line(
    evaluate_cli: Call, bench: Call, plain: Plain, tmp_path: Path
) -> None:
    path, out = plain.files["plain", 0], tmp_path / "python"
    evaluate_cli(path, *MODEL, "--results", tmp_path / "cli")
    recorded = tomllib.loads((tmp_path / "cli" / "evaluate.toml").read_text())
    options = {key.replace("-", "_"): value for key, value in recorded.items() if key != "networks"}
    evaluate(path, model=ARCHITECTURE, results=out, **options)
    assert (out / "evaluate.toml").read_bytes() == (tmp_path / "cli" / "evaluate.toml").read_bytes()
    again = bench("evaluate", "--config", out / "evaluate.toml", "--results", out)
    assert "0 of 2 cells computed, 2 already stored" in again.err


@pytest.mark.parametrize("what", ["module", "data set"])
def test_what_no_file_can_name_is_not_recorded(plain: Plain, what: str, tmp_path: Path) -> None:
    """A record with the default data set, or without the network, would evaluate something else."""
    images = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10
    options: dict[str, Any] = {"attacks": "none", "corruptions": "none", "results": tmp_path, "audit": "none"}
    if what == "module":
        evaluate(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), name="mine", limit=20, **options)
    else:
        evaluate(plain.files["plain", 0], model=ARCHITECTURE, dataset=images, trust_normalization=True, **options)
    assert (tmp_path / "results.csv").exists()
    assert not (tmp_path / "evaluate.toml").exists()


def test_the_python_api_refuses_an_unknown_reference_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="--against 'lpc': no run of this variant"):
        evaluate(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), name="mine", against="lpc", results=tmp_path)
    assert not list(tmp_path.iterdir())
