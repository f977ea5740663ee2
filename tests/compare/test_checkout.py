"""A checkout of RobustBench is read as its own pages read it, and a damaged file is named."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from published_runs import MODEL_INFO, needs_robustbench

from bench.compare.model_info import read_checkout
from bench.core.errors import BenchError

INFO: dict[str, Any] = {
    "link": "a link", "name": "a title", "authors": "N. N.", "additional_data": False, "number_forward_passes": 1,
    "dataset": "cifar10", "venue": "a venue", "architecture": "ResNet-18", "eps": "8/255", "clean_acc": "90.10",
    "reported": "51.0", "autoattack_acc": "50.20",
}  # fmt: skip


def written(root: Path, board: str = "cifar10/Linf", **changes: Any) -> Path:
    path = root / board / "Ours2026_R18.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({k: v for k, v in {**INFO, **changes}.items() if v != "absent"}))
    return path


@needs_robustbench
@pytest.mark.parametrize("folder", [MODEL_INFO, MODEL_INFO.parent])
def test_all_of_robustbench_is_read(folder: Path) -> None:
    found = Counter((m.dataset, m.threat) for m in read_checkout(folder))
    files = Counter((p.parent.parent.name, p.parent.name) for p in MODEL_INFO.glob("*/*/*.json"))
    assert found == files
    assert found.total() == 236


@needs_robustbench
def test_every_model_counts_by_robustbenchs_own_key() -> None:
    """Their key: ``external`` where there is one, else ``autoattack_acc`` or ``corruptions_acc``."""
    for model in read_checkout(MODEL_INFO):
        info = json.loads((MODEL_INFO / model.dataset / model.threat / f"{model.model}.json").read_text())
        key = info.get("external", info.get("autoattack_acc", info.get("corruptions_acc")))
        assert (model.lowest_known, model.clean) == (float(key), float(info["clean_acc"]))


def test_what_is_read_of_a_file(tmp_path: Path) -> None:
    written(tmp_path, external="48.9", unreliable=True, footnote=None, colour="red")
    (model,) = read_checkout(tmp_path)
    assert (model.dataset, model.threat, model.model) == ("cifar10", "Linf", "Ours2026_R18")
    assert (model.clean, model.robust, model.external, model.lowest_known) == (90.1, 50.2, 48.9, 48.9)
    assert (model.eps, model.norm, model.unreliable) == ("8/255", "linf", True)


def test_null_is_as_good_as_absent(tmp_path: Path) -> None:
    written(tmp_path, external=None, unreliable=None, reported=None)
    (model,) = read_checkout(tmp_path)
    assert (model.lowest_known, model.unreliable) == (50.2, False)


def test_the_folder_says_on_which_board_a_model_is(tmp_path: Path) -> None:
    """Five of CIFAR-100's files call their data set cifar10."""
    written(tmp_path / "model_info", "cifar100/Linf", dataset="cifar10")
    assert [m.dataset for m in read_checkout(tmp_path)] == ["cifar100"]


def test_a_budget_under_corruptions_is_that_of_the_training(tmp_path: Path) -> None:
    written(tmp_path, "cifar10/corruptions", corruptions_acc="80.5", autoattack_acc="absent")
    (model,) = read_checkout(tmp_path)
    assert (model.robust, model.eps, model.norm) == (80.5, "", "")


@pytest.mark.parametrize(
    ("board", "changes", "message"),
    [
        ("cifar10/Linf", {"autoattack_acc": "absent"}, "has no autoattack_acc"),
        ("cifar10/corruptions", {}, "has no corruptions_acc"),
        ("cifar10/Linf", {"clean_acc": 90.1}, "clean_acc: .*string"),
        ("cifar10/Linf", {"clean_acc": "ninety"}, "clean_acc is 'ninety'"),
        ("cifar10/Linf", {"clean_acc": "nan"}, "clean_acc is 'nan'"),
        ("cifar10/Linf", {"autoattack_acc": "0.5%"}, "autoattack_acc is '0.5%'"),
        ("cifar10/Linf", {"autoattack_acc": "150"}, "give a percentage from 0 to 100"),
        ("cifar10/Linf", {"external": ""}, "external is ''"),
        ("cifar10/Linf", {"eps": None}, "eps '' is not a number"),
        ("cifar10/Linf", {"eps": "8"}, "did you mean 8/255"),
        ("cifar10/Linf", {"eps": 0.03}, "eps: .*string"),
        ("cifar10/Linf", {"additional_data": "false"}, "additional_data: .*boolean"),
        ("cifar10/L2", {"venue": "absent"}, "venue: Field required"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, board: str, changes: dict[str, Any], message: str) -> None:
    path = written(tmp_path, board, **changes)
    with pytest.raises(BenchError, match=message) as caught:
        read_checkout(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null"])
def test_what_is_no_json_object_is_named(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path)
    path.write_bytes(content)
    with pytest.raises(BenchError, match=r"is no model_info of RobustBench") as caught:
        read_checkout(tmp_path)
    assert str(path) in str(caught.value)


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cifar10" / "L2" / "odd.json").mkdir(parents=True)
    with pytest.raises(BenchError, match=r"cannot read .*odd\.json"):
        read_checkout(tmp_path)


def test_a_folder_without_models_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(BenchError, match=r"holds no model_info/<dataset>/<threat>"):
            read_checkout(folder)
