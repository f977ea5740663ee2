"""Modules, factories and whole networks that were made elsewhere, and images that do not have their size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import elsewhere
import pandas as pd
import pytest
import timm
import torch
from image_folders import image_folder
from networks import network
from plain_training import ARCHITECTURE, MEAN, STD, Plain, images_of
from timm.data import create_transform, resolve_data_config
from torchvision.datasets import ImageFolder

from bench.api import FailedCellsWarning, evaluate
from bench.core.errors import BenchError
from bench.models.architectures import build_network

Call = Callable[..., Any]


def clean(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["attack"] == "clean"].set_index("model")


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


def test_modules_of_two_variants_are_compared_and_lpc_needs_its_collapse_measured(tmp_path: Path) -> None:
    options = {"name": "net", "attacks": "fgsm", "eps": "0.1", "corruptions": "none", "limit": 100, "audit": "none"}
    for seed, variant in enumerate(("baseline", "lpc", "noise")):
        evaluate(elsewhere.trained("none", seed), variant=variant, results=tmp_path, **options)
    compared = pd.read_csv(tmp_path / "comparison.csv").set_index(["variant", "metric"])
    assert all(compared.loc[["lpc"], "finding"].str.endswith("collapse not measured"))
    assert not any(compared.loc[["noise"], "finding"].str.contains("collapse"))
    with pytest.raises(BenchError, match="net:noise:0 is already another network"):
        evaluate(elsewhere.trained("none", 3), variant="noise", results=tmp_path, **options)


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_whole_networks(kind: str, evaluate_cli: Call, bench: Call, tmp_path: Path) -> None:
    """The accuracy is that of the module, the stored network verifies, and the same file again computes nothing."""
    net, (inputs, labels) = network(), images_of("test")
    with torch.no_grad():
        right = int((net(inputs).argmax(1) == labels).sum())
    path = tmp_path / {"torchscript": "net.pt", "exported": "net.pt2"}[kind]
    if kind == "torchscript":
        torch.jit.trace(net, inputs[:2]).save(str(path))
    else:
        batch = ({0: torch.export.Dim("batch")},)
        torch.export.save(torch.export.export(net, (inputs[:2],), dynamic_shapes=batch), str(path))
    out = tmp_path / "out"
    options = ("--normalize", "none", "--limit", "all", "--save-adversarials", "float32", "--results", out)
    outcome = evaluate_cli(path, *options)
    assert outcome.code == 0, outcome.err
    assert clean(pd.read_csv(out / "results.csv")).loc["net", "n_correct"] == right
    verified = bench("verify", "net", "--results", out)
    assert verified.code == 0, verified.out + verified.err
    assert "2 already stored" in evaluate_cli(path, *options).err


def test_a_trace_of_a_training_network_is_refused(evaluate_cli: Call, tmp_path: Path) -> None:
    inputs, _ = images_of("test")
    torch.jit.trace(network().train(), inputs[:4], check_trace=False).save(str(tmp_path / "net.pt"))
    outcome = evaluate_cli(tmp_path / "net.pt", "--normalize", "none", "--results", tmp_path / "out")
    assert outcome.code == 2
    assert "was traced in training mode (aten::batch_norm); call model.eval() before torch.jit.trace." in outcome.err


@pytest.mark.parametrize("option", [{"input_size": 32}, {"trust_normalization": True}, {"normalize": "none"}])
def test_options_of_files_are_refused_for_modules(option: dict[str, Any]) -> None:
    with pytest.raises(
        BenchError, match=f"{next(iter(option))}= applies to files only; a module does its own preprocessing"
    ):
        evaluate(torch.nn.Flatten(), name="net", attacks="none", **option)


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


@pytest.mark.usefixtures("few_probe_images")
def test_images_of_several_sizes_are_fitted_as_timm_does(
    evaluate_cli: Call, bench: Call, plain: Plain, tmp_path: Path
) -> None:
    """Resize, crop, interpolation and normalisation of the architecture's configuration, and again on opening."""
    folder = image_folder(tmp_path / "mixed", [(200, 180), (170, 300), (160, 160)])
    state = torch.load(plain.files["plain", 0], weights_only=True)["model_state_dict"]
    state = {key.removeprefix("module."): value for key, value in state.items()}
    torch.save(state, tmp_path / "net.pth")
    net = build_network(ARCHITECTURE, state, image_size=160).module
    config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(ARCHITECTURE).to_dict())
    assert (config["input_size"], config["crop_pct"], config["interpolation"]) == ((3, 160, 160), 0.95, "bicubic")
    test = ImageFolder(str(folder / "test"), transform=create_transform(**config))
    with torch.no_grad():
        right = sum(int(net(image[None]).argmax()) == label for image, label in test)
    out = tmp_path / "out"
    options = ("--dataset", "imagefolder", "--data-dir", folder, "--limit", "all", "--trust-normalization")
    outcome = evaluate_cli(
        tmp_path / "net.pth", "--model", ARCHITECTURE, *options, "--save-adversarials", "float32", "--results", out
    )
    assert outcome.code in (0, 3), outcome.err
    row = clean(pd.read_csv(out / "results.csv")).loc["net"]
    assert (row["n_correct"], row["n"]) == (right, 20)
    assert "files are resized to 168 pixels on the shorter side (bicubic), and the middle 160×160" in row["notes"]
    assert "crop_pct" not in row["notes"]
    verified = bench("verify", "net", "--data-dir", folder, "--results", out)
    assert verified.code == 0, verified.out + verified.err
