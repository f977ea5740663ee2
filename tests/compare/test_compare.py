"""``bench compare``: what is refused, what is ranked, and what is said of it."""

from __future__ import annotations

import dataclasses
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_runs import MODEL_INFO, RUN, attack, cell, needs_robustbench, stored, whole
from records import audit_record


def ranks(rows: list[dict[str, Any]], table: str) -> dict[str, int | None]:
    return {row["model"]: row["rank"] for row in rows if row["table"].startswith(table)}


def test_images_that_are_not_the_official_ones_are_refused(tmp_path: Path, bench: Callable[..., Any]) -> None:
    whole(tmp_path, official=False)
    rows = bench("compare", "--results", tmp_path, "--json").json["rows"]
    theirs = [row for row in rows if row["published"]]
    assert len(theirs) == 9 + 6
    assert {row["note"].split(". ")[0] for row in theirs} == {"not comparable: not the official files, by checksum"}
    assert {row["rank"] for row in theirs} == {None}
    assert ranks(rows, "cifar10: autoattack")["tiny:baseline"] == 1
    assert ranks(rows, "cifar10: autoattack")["tiny:lpc"] == 2


def test_the_official_ones_are_ranked_among_the_published(tmp_path: Path, bench: Callable[..., Any]) -> None:
    whole(tmp_path)
    rows = bench("compare", "--results", tmp_path, "--json").json["rows"]
    assert all(row["comparable"] for row in rows)
    assert ranks(rows, "cifar10: autoattack") == {
        "Bartoldson2024Adversarial_WRN-94-16": 1,  # 73.71
        "Gowal2021Improving_R18_ddpm_100m": 2,  # 58.50, by another attack than AutoAttack
        "tiny:baseline": 3,  # 58.00
        "Rade2021Helper_R18_extra": 4,  # 57.67
        "Sehwag2021Proxy_R18": 5,
        "Addepalli2022Efficient_RN18": 6,
        "Andriushchenko2020Understanding": 7,
        "Wong2020Fast": 8,
        "JinRinard2020Manifold": 9,  # 1.35
        "tiny:lpc": 10,  # 1.00
        "Standard": 11,  # 0.00
    }
    corrupted = ranks(rows, "cifar10: corruptions")
    assert (corrupted["Diffenderfer2021Winning_LRR_CARD_Deck"], corrupted["tiny:baseline"]) == (1, 6)
    assert corrupted["Standard"] == 7


def test_a_flagged_row_is_an_upper_bound_without_a_place(tmp_path: Path, bench: Callable[..., Any]) -> None:
    whole(tmp_path).write_audit(audit_record(RUN, scale_masking=12.0))
    out = bench("compare", "--results", tmp_path).out
    (line,) = [line for line in out.splitlines() if "tiny:baseline" in line and "58.00" in line]
    assert re.match(r"\|\s+\| tiny:baseline \s*\| 87.00 \s*\| ≤ 58.00 ⚑scale_masking ", line)
    assert re.search(r"^\| 10 +\| Standard ", out, re.MULTILINE)


def test_a_failed_cell_stands_there_as_failed(tmp_path: Path, bench: Callable[..., Any]) -> None:
    bad = dataclasses.replace(
        cell(RUN, attack(), 0), status="failed", reason="timeout", n=0, n_attacked=0, n_correct=None
    )
    stored(tmp_path, cell(RUN, None, 9000), bad, runs=(RUN,))
    rows = bench("compare", "--results", tmp_path, "--json").json["rows"]
    (mine,) = [row for row in rows if not row["published"]]
    assert (mine["rank"], mine["robust"], mine["note"]) == (None, None, "1 cell not ok (failed: timeout)")


def test_a_digits_run_refuses_the_published_rows_with_reasons(
    tmp_path: Path, bench: Callable[..., Any], plugin: Path
) -> None:
    made = bench(
        "run", "--plugin", plugin, "--models", "tiny", "--variants", "baseline,lpc", "--epochs", 4,
        "--train-limit", "all", "--limit", 100, "--attacks", "pgd-5", "--eps", "0.1", "--results", tmp_path,
    )  # fmt: skip
    assert made.code == 0
    found = bench("compare", "--results", tmp_path)
    assert found.code == 0
    lines = found.out.splitlines()
    assert {line.split("|")[2].strip() for line in lines if "| here, seed 0" in line} == {"tiny:baseline", "tiny:lpc"}
    theirs = [line for line in lines if "| published: " in line]
    assert len(theirs) == 10  # under linf; by DeepFool none, because no run has a published recipe
    assert (
        "27 published rows left out, because no run of this table has the same recipe, network and width" in found.out
    )
    (attacked,) = (line for line in lines if " published rows may be compared " in line)
    assert re.findall(r"\((\d)\) (.+?)\.(?= |$)", attacked) == [
        (number, f"digits is not {name}, published on {n}; pgd-5 is not autoattack; eps 0.1, published at {eps}")
        for number, name, n, eps in (
            ("1", "cifar10; n = 100", "10,000", "8/255"), ("2", "imagenet; n = 100", "5,000", "4/255"),
        )
    ]  # fmt: skip
    assert all(re.match(r"\|    .*\| not comparable \([12]\)[. ]", line) for line in theirs)
    rows = [row for row in bench("compare", "--results", tmp_path, "--json").json["rows"] if row["published"]]
    assert len(rows) == len(theirs)
    assert all(row["note"].startswith("not comparable: digits is not ") for row in rows), "in data each says it itself"
    (rank,) = {line.split("|")[1].strip() for line in lines if "tiny:baseline" in line} - {""}
    assert rank in ("1", "2")


def test_one_run_alone(tmp_path: Path, bench: Callable[..., Any]) -> None:
    whole(tmp_path)
    rows = bench("compare", "tiny:lpc", "--results", tmp_path, "--json").json["rows"]
    assert [row["model"] for row in rows if not row["published"]] == ["tiny:lpc"]


def write_cifar(folder: Path, images: int) -> None:
    """Images of noise in the format of CIFAR-10's batches: five of training and one of test."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        pixels = draw.integers(0, 256, (images, 3072), dtype=np.uint8)
        batch = {"data": pixels, "labels": [i % 10 for i in range(images)]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))


def test_local_images_in_cifars_format_are_refused(tmp_path: Path, bench: Callable[..., Any], plugin: Path) -> None:
    write_cifar(tmp_path / "cifar-10-batches-py", 40)
    results = tmp_path / "results"
    made = bench(
        "run", "--plugin", plugin, "--models", "tiny", "--variants", "baseline", "--epochs", 0, "--dataset", "cifar10",
        "--data-dir", tmp_path, "--attacks", "fgsm", "--eps", "8/255", "--no-diagnose", "--results", results,
    )  # fmt: skip
    assert made.code == 0, made.err
    theirs = [row for row in bench("compare", "--results", results, "--json").json["rows"] if row["published"]]
    assert {row["note"].split(". ")[0] for row in theirs} == {
        "not comparable: not the official files, by checksum; n = 40, published on 10,000; fgsm is not autoattack"
    }
    assert len(theirs) == 9


@needs_robustbench
def test_a_checkout_takes_the_place_of_what_comes_with_the_package(tmp_path: Path, bench: Callable[..., Any]) -> None:
    whole(tmp_path)
    found = bench("compare", "--results", tmp_path, "--robustbench", MODEL_INFO.parent, "--json").json["rows"]
    rows = [row for row in found if row["table"].startswith("cifar10: autoattack")]
    assert sum(row["published"] for row in rows) == 99
    other = [row for row in rows if "eps 8/255, published at 0.031" in row["note"]]
    assert len(other) == 6
    assert {row["rank"] for row in other} == {None}
    doubted = [row for row in rows if row["flags"] == "unreliable"]
    assert {(row["model"], row["bound"], row["rank"]) for row in doubted} == {
        ("Kang2021Stable", "≤", None), ("Xiao2020Enhancing", "≤", None),
    }  # fmt: skip
    better = [row for row in rows if row["published"] and row["rank"] is not None and row["robust"] > 58.0]
    assert ranks(rows, "cifar10: autoattack")["tiny:baseline"] == len(better) + 1 > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--robustbench", "none"), "error: --robustbench none holds no model_info"),
        (("nobody",), "error: no run 'nobody' under"),
    ],
)
def test_a_users_mistake_is_one_sentence(
    tmp_path: Path, bench: Callable[..., Any], arguments: tuple[str, ...], message: str
) -> None:
    whole(tmp_path)
    found = bench("compare", *arguments, "--results", tmp_path)
    assert found.code == 2
    assert found.err.startswith(message)
    assert found.err.count("\n") == 1


def test_nothing_to_compare_is_said(tmp_path: Path, bench: Callable[..., Any]) -> None:
    assert bench("compare", "--results", tmp_path).err.startswith("error: no runs under")
    stored(tmp_path, cell(RUN, None, 9000), runs=(RUN,))
    found = bench("compare", "--results", tmp_path)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith("error: no attack, corruption or diagnosis")
