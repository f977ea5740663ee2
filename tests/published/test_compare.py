"""``bench compare``: what is refused, what is ranked, and what other programs read of it."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from published_runs import MODEL_INFO, attack, cell, corruptions, needs_robustbench, run_on, stored
from records import audit_record

RUN, LPC = run_on(), run_on(variant="lpc")


def whole(folder: Path, *, official: bool = True) -> None:
    """Two networks on 10,000 images in CIFAR-10's format: under attack 3rd and 8th, under corruptions last but one."""
    cells = [
        cell(RUN, None, 8700, official=official), cell(RUN, attack(), 5800, official=official),
        cell(LPC, None, 9500, official=official), cell(LPC, attack(), 100, official=official),
        *corruptions(RUN, 8000, official=official),
    ]  # fmt: skip
    stored(folder, *cells, runs=(RUN, LPC))


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
    whole(tmp_path)
    from bench.store import Store

    Store(tmp_path).write_audit(audit_record(RUN, scale_masking=12.0))
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
        "run", "--plugin", plugin, "--models", "tiny", "--variants", "baseline,lpc", "--epochs", 1, "--limit", 100,
        "--attacks", "fgsm,pgd-5", "--eps", "0.1", "--results", tmp_path,
    )  # fmt: skip
    assert made.code == 0
    found = bench("compare", "--results", tmp_path)
    assert found.code == 0
    lines = found.out.splitlines()
    assert {line.split("|")[2].strip() for line in lines if "| here, seed 0" in line} == {"tiny:baseline", "tiny:lpc"}
    theirs = [line for line in lines if "| published: " in line]
    assert len(theirs) == 10 + 27  # under linf, and by DeepFool
    assert all(line.startswith("|    ") and "not comparable: digits is not " in line for line in theirs)
    attacked = [line for line in theirs if "RobustBench" in line]
    assert all(re.search(r"; n = 100, published on .*; pgd-5 is not autoattack; eps 0\.1, ", line) for line in attacked)
    (rank,) = {line.split("|")[1].strip() for line in lines if "tiny:baseline" in line} - {""}
    assert rank in ("1", "2")


def test_one_run_alone(tmp_path: Path, bench: Callable[..., Any]) -> None:
    whole(tmp_path)
    rows = bench("compare", "tiny:lpc", "--results", tmp_path, "--json").json["rows"]
    assert [row["model"] for row in rows if not row["published"]] == ["tiny:lpc"]


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


def test_csv_is_one_table_of_numbers(tmp_path: Path, bench: Callable[..., Any]) -> None:
    whole(tmp_path)
    out = tmp_path / "made" / "table.csv"
    assert bench("compare", "--results", tmp_path, "--format", "csv", "--out", out).out == f"{out}\n"
    frame = pd.read_csv(out)
    assert frame["table"].nunique() == 2
    (mine,) = frame[(frame["model"] == "tiny:baseline") & frame["table"].str.contains("autoattack")].to_dict("records")
    assert (mine["rank"], mine["clean"], mine["robust"], mine["n"], mine["published"]) == (3, 87.0, 58.0, 10_000, False)
    (gowal,) = frame[frame["model"].str.startswith("Gowal")].to_dict("records")
    assert gowal["robust"] == 58.5
    assert "which leaves 58.63" in gowal["note"]
    assert b"\r" not in out.read_bytes()


def read_html(text: str) -> list[pd.DataFrame]:
    """The tables of a fragment, which must be well-formed XML, too."""
    tables = ElementTree.fromstring(f"<body>{text}</body>").iter("table")
    found = []
    for table in tables:
        header, *rows = [["".join(cell.itertext()).strip() for cell in row] for row in table.iter("tr")]
        found.append(pd.DataFrame(rows, columns=header))
    return found


def test_html_holds_the_same_rows(tmp_path: Path, bench: Callable[..., Any]) -> None:
    whole(tmp_path)
    linf, corrupted = read_html(bench("compare", "--results", tmp_path, "--format", "html").out)
    assert list(linf["model"])[:3] == [
        "Bartoldson2024Adversarial_WRN-94-16", "Gowal2021Improving_R18_ddpm_100m", "tiny:baseline",
    ]  # fmt: skip
    assert list(linf["rank"]) == [str(rank) for rank in range(1, 12)]
    assert len(corrupted) == 7
    sources = dict(zip(linf["model"], linf["source"], strict=True))
    assert [model for model, source in sources.items() if not source.startswith("published: ")] == [
        "tiny:baseline", "tiny:lpc",
    ]  # fmt: skip


ODD = r"a|b<i>&_%#$\{x}~^"


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A backbone whose name is made of what formats read as their own."""
    run = dataclasses.replace(RUN, model=ODD)
    stored(tmp_path, cell(RUN, None, 9000), cell(RUN, attack(), 100, flags=("randomised",)), runs=(run,))
    return tmp_path


def test_names_do_not_break_the_markdown(odd: Path, bench: Callable[..., Any]) -> None:
    rows = [line for line in bench("compare", "--results", odd).out.splitlines() if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", line)) for line in rows} == {8 + 2}


def test_names_do_not_break_the_html(odd: Path, bench: Callable[..., Any]) -> None:
    out = bench("compare", "--results", odd, "--format", "html").out
    assert "<i>" not in out
    assert f"{ODD}:baseline" in set(read_html(out)[0]["model"])


def test_names_do_not_break_the_latex(odd: Path, bench: Callable[..., Any]) -> None:
    out = bench("compare", "--results", odd, "--format", "latex").out
    assert r"a|b$<$i$>$\&\_\%\#\$\textbackslash{}\{x\}\textasciitilde{}\textasciicircum{}:baseline" in out
    assert r"$\leq$ 1.00 $\dagger$randomised" in out
    body = [line for line in out.splitlines() if line.endswith(r"\\")]
    assert {len(re.split(r"(?<!\\)&", line)) for line in body} == {8}
    assert out.isascii()


def test_names_do_not_break_the_csv(odd: Path, bench: Callable[..., Any]) -> None:
    out = bench("compare", "--results", odd, "--format", "csv").out
    (mine,) = [row for row in csv.DictReader(io.StringIO(out)) if row["published"] == "False"]
    assert mine["model"] == f"{ODD}:baseline"
    assert (mine["bound"], mine["robust"], mine["flags"]) == ("≤", "1.0", "randomised")


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
