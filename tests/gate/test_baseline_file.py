"""The baseline file: what is written is read, and what is damaged, edited or contradictory is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sides import baseline, cell, run

from bench.core.errors import BenchError
from bench.gate.baseline import (
    Baseline,
    decode,
    dump_baseline,
    encode,
    parse_baseline,
    read_baseline,
    seal,
    write_baseline,
)

COUNTS = st.integers(1, 255).flatmap(
    lambda parts: st.tuples(st.just(parts), st.lists(st.integers(0, parts), min_size=1, max_size=70))
)


@given(COUNTS)
def test_outcomes_round_trip(found: tuple[int, list[int]]) -> None:
    parts, counts = found
    text = encode(np.array(counts, dtype=np.uint8), parts)
    assert decode(text, len(counts), parts).tolist() == counts


def test_a_bit_an_image_by_hand() -> None:
    """1000 0001 1 is the bytes 0x81, 0x80."""
    assert encode(np.array([1, 0, 0, 0, 0, 0, 0, 1, 1], dtype=np.uint8), 1) == "gYA="


@given(st.lists(COUNTS, min_size=1, max_size=4), st.dictionaries(st.sampled_from(["clean", "pgd"]), st.floats(0, 100)))
def test_what_is_written_is_read(cells: list[tuple[int, list[int]]], tolerances: dict[str, float]) -> None:
    runs = [run(seed, clean=cell(counts, parts=parts)) for seed, (parts, counts) in enumerate(cells)]
    made = baseline(*runs, **tolerances)
    assert parse_baseline(dump_baseline(made), where="file") == made


def test_the_order_in_which_runs_come_is_no_matter() -> None:
    runs = [run(seed, clean=cell([1, 0]), fgsm=cell([0, 1])) for seed in (2, 0, 1)]
    assert dump_baseline(baseline(*runs)) == dump_baseline(baseline(*reversed(runs)))


def test_a_changed_image_changes_two_lines_of_the_cell_the_order_and_the_seal() -> None:
    before, after = (
        dump_baseline(baseline(run(clean=cell(c), pgd=cell([0] * 20)))).splitlines() for c in ([1] * 20, [1] * 19 + [0])
    )
    assert len(before) == len(after)
    changed = [a for a, b in zip(before, after, strict=True) if a != b]
    assert [line.split(b'"')[1] for line in changed] == [b"outcomes", b"right", b"order", b"sha"]


def sealed(change: Callable[[dict[str, Any]], None]) -> bytes:
    """A baseline with something wrong in it and a right seal, as of somebody who knows how it is made."""
    data = json.loads(dump_baseline(baseline(run(clean=cell([1, 1, 0])))))
    change(data)
    return json.dumps({**data, "sha": seal(data)}).encode()


def cell_of(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["runs"][0]["cells"]["clean"]
    return found


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d.update(extra=1), "extra: Unexpected keyword argument"),
        (lambda d: cell_of(d).update(extra=1), "runs.0.cells.clean.extra"),
        (lambda d: d.pop("runs"), "runs: Field required"),
        (lambda d: d["runs"][0].update(cells={}), "its run tiny:baseline:0 has no cell"),
        (lambda d: d.update(format=3), "its format is 3 and this version reads 1 and 2"),
        (lambda d: d["tolerances"].update(clean=-1.0), "a tolerance is negative"),
        (lambda d: d["runs"].append(d["runs"][0]), "two runs with the name digits:tiny:baseline:0"),
        (lambda d: cell_of(d).update(right=3), "its outcomes count 2 correct images, its field 'right' 3"),
        (lambda d: cell_of(d).update(n=30), "outcomes have the wrong length for 30 images"),
        (lambda d: cell_of(d).update(n=1, right=1), "outcomes have more images than the 1 of the cell"),
        (lambda d: cell_of(d).update(n=0), "0 images in 1 cells"),
        (
            lambda d: cell_of(d).update(parts=2, right=4, outcomes="AwEA"),
            "an image as correctly classified in more than 2 cells",
        ),
        (lambda d: d["sequential"].update(order="a" * 12), "its sequential order is not the hash of its runs"),
        (lambda d: d["sequential"].update(alpha=0.5), "its sequential alpha 0.5 is not between 0 and 0.5"),
        (lambda d: d["sequential"].update(tolerances={}), "its sequential tolerances are not those of its metrics"),
        (lambda d: d["sequential"].update(tolerances={"clean": -1.0}), "a sequential tolerance is negative"),
        (lambda d: d.pop("sequential"), "its format is 2, which needs 'sequential'"),
        (lambda d: d.update(format=1), "its format is 1, which does not have 'sequential'"),
        (lambda d: cell_of(d).update(outcomes="?"), "outcomes are not base64"),
        (lambda d: cell_of(d).update(n="3"), "clean.n: Input should be a valid integer"),
    ],
)
def test_what_contradicts_itself_is_refused_with_its_reason(change: Callable[[dict[str, Any]], None], why: str) -> None:
    with pytest.raises(BenchError, match=r"baseline\.json") as caught:
        parse_baseline(sealed(change), where="baseline.json")
    assert why in str(caught.value)


def test_a_file_from_before_the_sequential_check_is_read_and_written_as_it_was() -> None:
    """Sealed by hand: the SHA-256 of its canonical JSON without the seal."""
    data = json.loads(dump_baseline(baseline(run(clean=cell([1, 1, 0])), clean=2.0)))
    del data["sequential"]
    old = {**data, "format": 1, "sha": ""}
    old["sha"] = hashlib.sha256(json.dumps(old, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]
    read = parse_baseline(json.dumps(old).encode(), where="file")
    assert read.sequential is None
    assert json.loads(dump_baseline(read)) == old


def test_an_edited_file_is_refused() -> None:
    content = dump_baseline(baseline(run(clean=cell([1, 1, 0])), clean=0.5)).replace(b"0.5", b"50.0")
    with pytest.raises(BenchError, match="changed by hand"):
        parse_baseline(content, where="file")


@pytest.mark.parametrize("cut", [0, 1, 40, 200])
def test_a_truncated_file_is_refused(cut: int) -> None:
    content = dump_baseline(baseline(run(clean=cell([1, 1, 0]))))
    with pytest.raises(BenchError, match="file is not a valid baseline"):
        parse_baseline(content[:cut], where="file")


def test_not_a_number_is_refused() -> None:
    content = dump_baseline(baseline(run(clean=cell([1, 1, 0])), clean=0.5)).replace(b"0.5", b"NaN")
    with pytest.raises(BenchError, match="is not a valid baseline"):
        parse_baseline(content, where="file")


def test_a_missing_file_names_the_way_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="bench baseline write"):
        read_baseline(tmp_path / "none.json")


def test_the_file_holds_no_machine(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    write_baseline(path, baseline(run(clean=cell([1, 0]))))
    text = path.read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert {f.name for f in dataclasses.fields(Baseline)} == set(json.loads(text))
