"""A user's own module through the Python API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import LinearModel
from torch import nn

from bench import api
from bench.attacks.corruptions.apply import corrupt_bytes
from bench.core.errors import BenchError
from bench.data import DataRequest, load_dataset
from bench.data.corrupted.cache import as_bytes
from bench.data.tensors import load_images
from bench.external.identity import weights_sha
from bench.runtime.plugin import load_plugins

evaluate = partial(api.evaluate, corruptions="none", audit="none")


def own_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 10))


def test_rows_of_a_users_own_module(tmp_path: Path, bench: Callable[..., Any]) -> None:
    model = own_model().train()
    rows = evaluate(
        model, name="mine", attacks=["fgsm", "pgd-5"], eps=["0.1", "8/255"], limit=50, results=tmp_path, device="cpu"
    )
    assert list(rows["attack"]) == ["clean", "fgsm", "fgsm", "pgd-5", "pgd-5"]
    assert set(rows["variant"]) == {"external"}
    assert (rows["n"] == 50).all()
    assert set(rows["weights_sha"]) == {weights_sha(model)}
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    shown = bench("leaderboard", "--results", tmp_path)
    assert "mine" in shown.out


def test_finished_cells_are_kept_and_other_weights_are_another_model(tmp_path: Path) -> None:
    model = own_model()
    first = evaluate(model, name="mine", attacks=["pgd-5"], eps=["0.1"], limit=50, results=tmp_path)
    again = evaluate(model, name="mine", attacks=["pgd-5"], eps=["0.1"], limit=50, results=tmp_path)
    assert list(first["created"]) == list(again["created"])
    with torch.no_grad():
        model[1].weight.add_(1e-3)
    other = evaluate(model, name="mine", attacks=["pgd-5"], eps=["0.1"], limit=50, results=tmp_path)
    assert set(other["run_id"]).isdisjoint(first["run_id"])


def test_a_model_that_is_not_one_fails_its_cells() -> None:
    class Words(nn.Module):
        def forward(self, inputs: torch.Tensor) -> str:
            return "cat"

    rows = evaluate(Words(), name="words", attacks=["fgsm"], eps=["0.1"], limit=20)
    assert set(rows["status"]) == {"failed"}
    assert set(rows["reason"]) == {"wrong_shape"}
    assert rows["acc"].isna().all()


def test_names_are_checked() -> None:
    for bad in ({"name": ""}, {"name": "a,b"}, {"limit": 0}, {"limit": 20.5}, {"limit": True}, {"eps": 0.0}):
        with pytest.raises(BenchError):
            evaluate(own_model(), **{"name": "mine", "attacks": "fgsm", **bad})
    with pytest.raises(BenchError, match=r"model name '007' cannot be used: .*; call it 'model-007'\.$"):
        evaluate(own_model(), name="007", attacks="none")
    with pytest.raises(BenchError, match="unknown attack"):
        evaluate(own_model(), name="mine", attacks=["fgms"])
    for lists in ({"attacks": ["none", "fgsm"]}, {"attacks": "none", "corruptions": ["fog", "none"]}):
        with pytest.raises(BenchError, match="'none' cannot be combined with"):
            evaluate(own_model(), name="mine", **lists)
    with pytest.raises(BenchError, match="no corruption given; name at least one, or write 'none'"):
        evaluate(own_model(), name="mine", corruptions=[])


@pytest.mark.parametrize("model", [len, nn.Linear, None])
def test_what_is_no_module_is_one_sentence(model: Any) -> None:
    sentence = f"^model 'mine' is of type {type(model).__name__}, neither a torch.nn.Module nor a file; "
    with pytest.raises(BenchError, match=sentence):
        evaluate(model, name="mine", attacks="none")


def test_text_is_the_name_of_a_file() -> None:
    with pytest.raises(BenchError, match="there is no checkpoint resnet18"):
        evaluate("resnet18", name="mine", attacks="none")


def test_one_severity_is_a_list_of_one_and_folders_may_be_strings(tmp_path: Path, bench: Callable[..., Any]) -> None:
    arguments = {"name": "mine", "attacks": "none", "corruptions": "fog", "limit": 20}
    rows = evaluate(own_model(), **arguments, severities=3, results=str(tmp_path / "out"))
    assert rows.severity.dropna().tolist() == [3]
    assert (tmp_path / "out" / "results.csv").is_file()
    assert bench("corrupt", "--dataset", "digits", "--kinds", "fog", "--out", tmp_path / "files").code == 0
    read = evaluate(own_model(), **arguments, severities=3, corruptions_dir=str(tmp_path / "files"))
    assert read.n_correct.tolist() == rows.n_correct.tolist()
    with pytest.raises(BenchError, match=str(tmp_path)):
        evaluate(own_model(), name="mine", dataset="mnist", data_dir=str(tmp_path), attacks="none")


def test_two_logits_for_ten_classes_are_no_verdict() -> None:
    rows = evaluate(LinearModel(torch.randn(3 * 64), 0.0), name="two", attacks=["fgsm"], eps=["0.1"], limit=20)
    assert set(rows["reason"]) == {"wrong_shape"}


def test_modules_that_look_alike_and_behave_otherwise_are_two(tmp_path: Path) -> None:
    class Signed(nn.Module):
        def __init__(self, sign: int) -> None:
            super().__init__()
            self.net, self.sign = own_model(), sign

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.sign * self.net(inputs)

    arguments = {"name": "s", "attacks": ["fgsm"], "eps": ["0.1"], "limit": 50, "results": tmp_path}
    plus, minus = (evaluate(Signed(sign), **arguments) for sign in (1, -1))  # type: ignore[arg-type]
    assert set(plus["run_id"]).isdisjoint(minus["run_id"])
    assert list(plus["acc"]) != list(minus["acc"])


def test_seeds_of_one_module_are_repeats(tmp_path: Path) -> None:
    arguments = {"name": "mine", "attacks": ["pgd-2"], "eps": ["0.1"], "limit": 20, "results": tmp_path}
    first, second = (evaluate(own_model(), seed=seed, **arguments) for seed in (0, 7))  # type: ignore[arg-type]
    assert (set(first["seed"]), set(second["seed"])) == ({0}, {7})
    assert set(first["config_sha"]) == set(second["config_sha"])
    assert set(first["run_id"]) != set(second["run_id"])


def test_the_attack_draws_from_the_seed(plugin: Path) -> None:
    load_plugins([plugin])
    arguments = {"name": "mine", "attacks": ["noise"], "eps": ["0.5"], "limit": 100, "norm": "linf"}
    found = [evaluate(own_model(), seed=seed, **arguments).set_index("attack").loc["noise"] for seed in (0, 0, 1)]  # type: ignore[arg-type]
    assert found[0]["max_distance"] == found[1]["max_distance"] != found[2]["max_distance"]


def test_limits_go_by_the_names_users_write_and_budgets_are_asked_for() -> None:
    rows = evaluate(own_model(), name="mine", attacks=["pgd"], eps=["0.1"], limit=20, attack_limit={"pgd": 10})
    assert dict(zip(rows["attack"], rows["n"], strict=True)) == {"clean": 20, "pgd-20": 10}
    with pytest.raises(BenchError, match="not among the attacks"):
        evaluate(own_model(), name="mine", attacks=["pgd"], eps=["0.1"], attack_limit={"fgsm": 10})


def test_every_part_of_the_module_gets_its_mode_back() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3 * 64), nn.Linear(3 * 64, 10)).train()
    model[1].eval()
    evaluate(model, name="mine", attacks=["fgsm"], eps=["0.1"], limit=20)
    assert [m.training for m in model] == [True, False, True]


def test_corruptions_of_a_users_own_module(tmp_path: Path, bench: Callable[..., Any]) -> None:
    arguments = {"name": "mine", "attacks": ["none"], "limit": 50, "results": tmp_path}
    rows = api.evaluate(own_model(), **arguments).set_index(["corruption", "severity"])  # type: ignore[arg-type]
    assert len(rows) == 1 + 15 * 5
    assert set(rows.source.dropna()) == {"generated"}
    images = load_images(load_dataset("digits", DataRequest()).test, 50, dataset="digits")
    for severity in (1, 5):
        grey = as_bytes(images.pixels.numpy())
        fog = corrupt_bytes(grey, images.ids, "fog", severity, seed=0, profile="cifar")
        logits = own_model()(torch.tensor(fog).permute(0, 3, 1, 2).expand(-1, 3, -1, -1) / 255)
        assert rows.loc[("fog", severity)].n_correct == (logits.argmax(1) == images.labels).sum()
    files = tmp_path / "files"
    assert bench("corrupt", "--dataset", "digits", "--kinds", "snow", "--out", files).code == 0
    read = api.evaluate(own_model(), **arguments, corruptions="snow", severities=[2], corruptions_dir=files)  # type: ignore[arg-type]
    assert read.source.tolist()[-1] == "official"
    assert read.n_correct.tolist()[-1] == rows.loc[("snow", 2)].n_correct
    with pytest.raises(BenchError, match="severity '6'"):
        api.evaluate(own_model(), **arguments, severities=[6])  # type: ignore[arg-type]
