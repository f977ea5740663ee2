"""Names and free text as cells of a CSV file: pandas.read_csv returns what is allowed, and the rest is refused."""

from __future__ import annotations

import io
import re
from functools import partial
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pandas._libs.parsers import STR_NA_VALUES
from user_names import NAMES, TEXTS, is_allowed

from bench.attacks.registry import ATTACKS, AttackEntry
from bench.core.errors import BenchError
from bench.core.inert import csv_cell, from_csv
from bench.core.names import MISSING, allowed_name, as_text, check_name, is_number, text_part
from bench.core.registry import Registry
from bench.core.specs import short_id

BAD = [
    "", "NA", "null", "None", "nan", "N/A", "<NA>", "#N/A", "007", "7", "1e5", "-1.5", ".5", "inf", "Infinity", "True",
    "FALSE", "=1+1", "+1", "-x", "@SUM", "\uff1d1", "\tx", "a\rb", "a\nb", "a\x85b", "a\u2028b", "a\x00", "a\x1bb",
    "\ufeffa", "a\ud800", " a", "a ", "a,b", "a:b", "a\u00a0b",
]  # fmt: skip


def read_back(*cells: str) -> list[Any]:
    """The cells as pandas reads the file that pandas writes of them, each in a column of two equal cells."""
    frame = pd.DataFrame([list(cells)] * 2, columns=[f"column {i}" for i in range(len(cells))])
    found = pd.read_csv(io.BytesIO(frame.to_csv(index=False, lineterminator="\n").encode()))
    assert found.shape == frame.shape
    return found.iloc[1].tolist()


def test_the_missing_values_are_those_of_pandas() -> None:
    assert {*MISSING, ""} == STR_NA_VALUES


@given(NAMES)
@example("0x10")
@example("none")
@example('"a"')
@example("'a' \"b\"; c")
def test_pandas_returns_every_allowed_name(name: str) -> None:
    assert read_back(name) == [name]


@pytest.mark.parametrize("name", BAD)
def test_a_refused_name_is_one_sentence_with_an_allowed_name(name: str) -> None:
    with pytest.raises(BenchError) as caught:
        check_name("data set", name)
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert sentence.startswith(f"data set name {name!r} cannot be used: ")
    way_out = re.search("; call it '(.*)'[.]$", sentence)
    assert way_out is not None
    assert is_allowed(way_out[1])


@pytest.mark.parametrize("name", [7, None, b"a", ["a"]])
def test_a_name_is_a_string(name: object) -> None:
    with pytest.raises(BenchError, match="give a string"):
        check_name("model", name)


USUAL = ("resnet18", "ViT-B/16", "modèle_é", "模型", "vit_base.augreg2_in21k_ft_in1k", "v1.5", "a b", "none")


@pytest.mark.parametrize("name", USUAL)
def test_usual_names_are_allowed(name: str) -> None:
    assert check_name("model", name) == allowed_name(name, "model") == name


@given(TEXTS)
def test_the_nearest_allowed_name_is_allowed(text: str) -> None:
    assert is_allowed(allowed_name(text, "model"))


@given(TEXTS)
@example("=cmd|' /C calc'!A0")
@example("cannot\r\nread \udcff")
def test_pandas_returns_free_text_and_a_spreadsheet_sees_no_formula(text: str) -> None:
    kept = as_text(text)
    assert as_text(kept) == kept
    assert len(f"{kept}.".splitlines()) == 1
    cell = csv_cell(kept)
    assert not cell.startswith(("=", "+", "-", "@")), "as_text quotes numbers"
    assert from_csv(cell) == kept
    if kept:
        assert read_back(cell) == [cell]


@given(st.lists(TEXTS, min_size=2, max_size=3))
def test_pandas_returns_joined_notes(texts: list[str]) -> None:
    notes = "; ".join(map(as_text, texts))
    assert read_back(notes) == [notes]


def test_no_identifier_is_a_number_to_a_reader() -> None:
    digits = [f"{12345678901 * i:012d}"[:12] for i in range(1, 50)] + ["12e456789012", "000000000e00"]
    found = [text_part(d + "ab0" * 4, 12) for d in digits]
    assert read_back(*found) == found
    assert text_part("0a" * 32, 12) == "0a" * 6
    assert sum(is_number(short_id(i)) for i in range(2000)) == 0  # of plain prefixes about 15 are


@pytest.mark.parametrize("name", [*BAD, "a*", "a?", "a["])
def test_a_registry_refuses_what_no_table_can_hold(name: str) -> None:
    registry = Registry[int]("variant")
    with pytest.raises(BenchError, match=r"variant name .* \(from here\)"):
        registry.register(name, 0, origin="here")
    assert list(registry) == []


def test_an_attack_may_not_spell_itself_as_a_number(request: pytest.FixtureRequest) -> None:
    from bench.attacks import resolve

    params = {"steps": 7}
    entry = AttackEntry(
        summary="s", source="s", function="m:f", uses_gradient=True, params=params, spell=lambda p: f"{p['steps']}"
    )
    ATTACKS.register("seven", entry, origin="a plug-in")
    request.addfinalizer(partial(ATTACKS.remove, "seven"))
    with pytest.raises(BenchError, match=r"attack name '7' \(from a plug-in\) cannot be used: .*; call it 'attack-7'"):
        resolve("seven")
    with pytest.raises(BenchError, match=r"backend name '1\.0' cannot be used"):
        AttackEntry(summary="s", source="s", function="m:f", uses_gradient=True, backend="1.0")
