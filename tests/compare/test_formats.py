"""Tables of ``bench compare`` as other programs read them, with names that these formats would read as their own."""

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
from published_runs import RUN, attack, cell, stored, whole

from bench.compare.formats import as_markdown
from bench.compare.rows import Line, Protocol
from bench.compare.tables import compare


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
    assert "(under AutoAttack: 58.63)" in gowal["note"]
    assert b"\r" not in out.read_bytes()


def test_a_file_and_json_can_be_had_at_once(tmp_path: Path, bench: Callable[..., Any]) -> None:
    whole(tmp_path)
    out = tmp_path / "table.csv"
    found = bench("compare", "--results", tmp_path, "--format", "csv", "--out", out, "--json").json
    assert len(found["rows"]) == len(pd.read_csv(out)) == 11 + 7
    assert [table["table"] for table in found["tables"]] == list(pd.read_csv(out)["table"].unique())
    assert found["tables"][0]["summary"] == "9 of 9 published rows may be compared with ours."


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
    run = dataclasses.replace(RUN, model=ODD, spec=None)  # a network of the user
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


OURS = Line(
    published=False, model="m", architecture="a", source="s", clean=90.0, robust=40.0,
    protocol=Protocol(dataset="cifar10", n=10, n_clean=10, measure="autoattack", norm="linf", eps=0.1),
)  # fmt: skip
LINE = dataclasses.replace(OURS, published=True)


def test_reasons_that_no_two_rows_share_stand_in_the_row() -> None:
    alone = dataclasses.replace(LINE, protocol=dataclasses.replace(LINE.protocol, n=1000))
    (table,) = compare([("d", OURS)], [alone])
    assert "| not comparable: n = 10, published on 1,000 |" in as_markdown([table])
    (table,) = compare([("d", OURS)], [alone, alone])
    out = as_markdown([table])
    assert "(1) n = 10, published on 1,000.\n" in out
    assert out.count("| not comparable (1) |") == 2
