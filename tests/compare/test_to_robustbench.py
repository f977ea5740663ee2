"""Read RobustBench entries written by ``bench export`` again, by their rules; check that nothing else is written."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_runs import (
    COUNTS,
    MODEL_INFO,
    TEXT,
    MadeOutcomes,
    N,
    attack,
    cell,
    corruptions,
    needs_robustbench,
    row_of,
    run_on,
    stored,
)
from records import audit_record, cell_record

from bench.compare.model_info import ModelInfo, dump_model_info, parse_model_info, read_checkout
from bench.compare.own_rows import our_lines, stored_lines
from bench.compare.to_robustbench import model_info, select_line
from bench.core.records import EvalRecord, RunRecord

RUN = run_on()

#: Fields that all 236 files of RobustBench have, and their types.
ALWAYS = {
    "link": str, "name": str, "authors": str, "additional_data": bool, "number_forward_passes": int, "dataset": str,
    "venue": str, "architecture": str, "eps": (str, type(None)), "clean_acc": str, "reported": (str, type(None)),
}  # fmt: skip
SOMETIMES = {
    "autoattack_acc": str, "corruptions_acc": str, "corruptions_mce": str, "external": str, "unreliable": bool,
    "footnote": str,
}  # fmt: skip


def exported(*cells: EvalRecord, run: RunRecord = RUN, allow_protocol_mismatch: bool = False) -> ModelInfo:
    row = row_of(run, *cells)
    line = select_line(run, our_lines([row], ["ours"], MadeOutcomes(), [row]), threat=None, eps=None)
    return model_info(run, line, additional_data=None, allow_protocol_mismatch=allow_protocol_mismatch)


def check_as_theirs(content: bytes) -> dict[str, Any]:
    """The rules of their pages: every field of its type, numbers that Python reads out of text."""
    fields = json.loads(content)
    assert set(ALWAYS) <= set(fields) <= {*ALWAYS, *SOMETIMES}
    assert all(isinstance(value, (ALWAYS | SOMETIMES)[name]) for name, value in fields.items())
    numbers = [value for name, value in fields.items() if name == "external" or name.endswith("_acc")]
    assert len(numbers) > 1
    assert all(0 <= float(number) <= 100 for number in numbers)
    return fields


@needs_robustbench
def test_their_own_files_follow_the_rules_by_which_ours_are_judged() -> None:
    paths = sorted(MODEL_INFO.glob("*/Linf/*.json")) + sorted(MODEL_INFO.glob("*/L2/*.json"))
    for path in paths:
        fields = json.loads(path.read_text())
        check_as_theirs(json.dumps({k: v for k, v in fields.items() if v is not None or k in ALWAYS}).encode())


@needs_robustbench
def test_their_own_files_are_written_as_they_were_read() -> None:
    for path in sorted(MODEL_INFO.glob("*/*/*.json")):
        known = {field.name for field in dataclasses.fields(ModelInfo)}
        fields = {k: v for k, v in json.loads(path.read_text()).items() if k in known}
        again = json.loads(dump_model_info(parse_model_info(path.read_bytes(), where="")))
        assert again == {k: v for k, v in fields.items() if v is not None or k in ALWAYS}


OPTIONAL = st.none() | TEXT
INFOS = st.builds(
    ModelInfo, link=TEXT, name=TEXT, authors=TEXT, additional_data=st.booleans(),
    number_forward_passes=st.integers(1, 9), dataset=TEXT, venue=TEXT, architecture=TEXT, eps=OPTIONAL, clean_acc=TEXT,
    reported=OPTIONAL, autoattack_acc=OPTIONAL, corruptions_acc=OPTIONAL, corruptions_mce=OPTIONAL, external=OPTIONAL,
    unreliable=st.none() | st.booleans(), footnote=OPTIONAL,
)  # fmt: skip


@given(INFOS)
def test_any_model_info_is_read_again(info: ModelInfo) -> None:
    content = dump_model_info(info)
    assert parse_model_info(content, where="") == info
    assert content.endswith(b"}\n")


@given(clean=COUNTS, robust=COUNTS)
@settings(deadline=None)  # the first interval waits for statsmodels
def test_any_whole_run_is_read_again_from_robustbenchs_form(
    tmp_path_factory: pytest.TempPathFactory, clean: int, robust: int
) -> None:
    content = dump_model_info(exported(cell(RUN, None, clean), cell(RUN, attack(), robust)))
    fields = check_as_theirs(content)
    assert round(100 * (clean / N), 2) == float(fields["clean_acc"])  # as their test of clean accuracies
    folder = tmp_path_factory.mktemp("checkout") / "model_info" / "cifar10" / "Linf"
    folder.mkdir(parents=True)
    (folder / "Ours.json").write_bytes(content)
    (model,) = read_checkout(folder.parents[2])
    assert (model.clean, model.lowest_known, model.eps) == (clean / 100, robust / 100, "8/255")


def test_the_fields_of_a_run_under_attack() -> None:
    info = exported(cell(RUN, None, 9478), cell(RUN, attack(), 4321))
    assert json.loads(dump_model_info(info)) == {
        "link": "", "name": "ours", "authors": "", "additional_data": False, "number_forward_passes": 1,
        "dataset": "cifar10", "venue": "N/A", "architecture": "tiny", "eps": "8/255", "clean_acc": "94.78",
        "reported": None, "autoattack_acc": "43.21",
    }  # fmt: skip


def test_the_fields_of_a_run_under_corruptions() -> None:
    fields = check_as_theirs(dump_model_info(exported(cell(RUN, None, 9478), *corruptions(RUN, 7346))))
    assert (fields["corruptions_acc"], fields["eps"]) == ("73.46", None)
    assert {"autoattack_acc", "unreliable", "footnote"}.isdisjoint(fields)


def test_what_leaves_less_than_autoattack_is_external(tmp_path: Path) -> None:
    cells = cell(RUN, None, 9000), cell(RUN, attack(), 4000), cell(RUN, attack("pgd-20"), 3900)
    ((_, line),) = stored_lines(stored(tmp_path, *cells, runs=(RUN,)))
    info = model_info(RUN, line, additional_data=None, allow_protocol_mismatch=False)
    assert (info.autoattack_acc, info.external) == ("40.00", "39.00")


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([cell(RUN, None, 900, n=1000), cell(RUN, attack(), 90, n=1000)], "n = 1000, published on 10,000"),
        ([cell(RUN, None, 900), cell(RUN, attack(), 90, n=1000)], "n = 1000, published on 10,000"),
        ([cell(RUN, None, 900, official=False), cell(RUN, attack(), 90)], "not the official files, by checksum"),
        ([cell(RUN, None, 900), cell(RUN, attack(eps=4 / 255), 90)], "eps 4/255, published at 8/255"),
        ([cell(RUN, None, 900), cell(RUN, attack(), 9, protocol="prefiltered")], "protocol prefiltered"),
        ([cell(RUN, None, 900), cell(RUN, attack(precision="bf16"), 9)], "searched in bf16"),
        ([cell(RUN, None, 900), *corruptions(RUN, 90, source="generated")], "corrupted images generated"),
    ],
)
def test_another_protocol_is_refused_or_said_in_a_footnote(
    tmp_path: Path, bench: Callable[..., Any], cells: list[EvalRecord], reason: str
) -> None:
    stored(tmp_path, *cells, runs=(RUN,))
    arguments = ("export", "tiny:baseline", "--format", "robustbench", "--results", tmp_path)
    found = bench(*arguments)
    assert (found.code, found.out) == (2, "")
    assert reason in found.err
    assert "--allow-protocol-mismatch" in found.err
    found = bench(*arguments, "--allow-protocol-mismatch")
    fields = check_as_theirs(found.out.encode())
    assert found.code == 0
    assert fields["footnote"].startswith(f"Not under RobustBench's protocol: {reason}")


def test_a_data_set_without_a_board_says_on_how_many_images(tmp_path: Path, bench: Callable[..., Any]) -> None:
    run = run_on("digits")
    stored(tmp_path, cell(run, None, 400, n=500), cell(run, attack(), 40, n=500), runs=(run,))
    arguments = ("export", "tiny:baseline", "--format", "robustbench", "--results", tmp_path)
    assert "RobustBench has no board of digits under Linf" in bench(*arguments).err
    assert "n = 500" in bench(*arguments, "--allow-protocol-mismatch").json["footnote"]


@pytest.mark.parametrize(
    ("cells", "departures"),
    [
        (
            lambda run: [cell(run, None, 190, n=200), cell(run, attack(precision="bf16"), 30, n=64)],
            "n = 64; clean n = 200; searched in bf16, which may miss adversarial images that fp32 finds",
        ),
        (
            lambda run: [cell(run, None, 60, n=64), cell(run, attack(), 30, n=64, protocol="prefiltered")],
            "n = 64; protocol prefiltered, published as standard",
        ),
        (
            lambda run: [cell(run, None, 60, n=64, official=False), cell(run, attack(), 30, n=64)],
            "n = 64; not the official files, by checksum",
        ),
        (
            lambda run: [cell(run, None, 60, n=64), *corruptions(run, 30, n=64, source="generated")],
            "n = 64; corrupted images generated, published on the official files",
        ),
        (lambda run: [cell(run, None, 60, n=64), cell(run, attack(eps=0.1), 30, n=64)], "n = 64"),
    ],
)
@pytest.mark.parametrize("dataset", ["digits", "svhn"])
def test_a_data_set_without_a_board_says_what_else_departs(
    dataset: str, cells: Callable[[RunRecord], list[EvalRecord]], departures: str
) -> None:
    run = run_on(dataset)
    info = exported(*cells(run), run=run, allow_protocol_mismatch=True)
    assert info.footnote is not None
    assert re.fullmatch(
        f"Not under RobustBench's protocol: RobustBench has no board of {dataset} under [A-Za-z]+; {departures}",
        info.footnote,
    )


FAILED: dict[str, Any] = {"status": "failed", "n_correct": None, "n": 0, "n_attacked": 0}


@pytest.mark.parametrize(
    "cells",
    [
        [cell(RUN, None, 9000)],
        [cell(RUN, attack(), 4000)],  # no clean accuracy
        [cell(RUN, None, 9000), cell(RUN, attack("pgd-20"), 4000)],
        [cell(RUN, None, 9000), cell(RUN, attack(params={"max_queries": 9}), 4000)],
        [cell(RUN, None, 9000), cell(RUN, attack(norm="l1", eps=12.0), 4000)],
        [cell(RUN, None, 9000), *corruptions(RUN, 4000)[1:]],
        [
            cell(RUN, None, 9000),
            dataclasses.replace(cell(RUN, attack(), 0), status="failed", n_correct=None, n=0, n_attacked=0),
        ],
    ],
)
def test_a_run_without_such_a_number_is_refused(
    tmp_path: Path, bench: Callable[..., Any], cells: list[EvalRecord]
) -> None:
    stored(tmp_path, *cells, runs=(RUN,))
    found = bench(
        "export", "tiny:baseline", "--format", "robustbench", "--results", tmp_path, "--allow-protocol-mismatch"
    )  # fmt: skip
    assert (found.code, found.out) == (2, "")
    assert "has no number that RobustBench publishes" in found.err
    assert found.err.count("\n") == 1


def test_of_several_numbers_one_must_be_chosen(tmp_path: Path, bench: Callable[..., Any]) -> None:
    budgets = [attack(), attack(eps=4 / 255), attack(norm="l2", eps=0.5)]
    cells = [cell(RUN, made, 1000 * (i + 1)) for i, made in enumerate(budgets)]
    stored(tmp_path, cell(RUN, None, 9000), *cells, *corruptions(RUN, 7000), runs=(RUN,))
    arguments = ("export", "tiny:baseline", "--format", "robustbench", "--results", tmp_path)
    assert "has 4 such numbers" in bench(*arguments).err
    assert "has 2 such numbers" in bench(*arguments, "--threat", "Linf").err
    assert bench(*arguments, "--threat", "Linf", "--eps", "8/255").json["autoattack_acc"] == "10.00"
    assert bench(*arguments, "--threat", "L2").json["autoattack_acc"] == "30.00"
    assert bench(*arguments, "--eps", "0.5").json["eps"] == "0.5"
    assert bench(*arguments, "--threat", "corruptions").json["corruptions_acc"] == "70.00"


def test_what_is_flagged_is_unreliable(tmp_path: Path, bench: Callable[..., Any]) -> None:
    store = stored(tmp_path, cell(RUN, None, 9000), cell(RUN, attack(), 4000), runs=(RUN,))
    store.write_audit(audit_record(RUN, black_box_stronger=7.0))
    fields = bench("export", "tiny:baseline", "--format", "robustbench", "--results", tmp_path).json
    assert (fields["unreliable"], fields["footnote"]) == (True, "Flagged: black_box_stronger")


def test_what_guesses_says_so_in_a_footnote() -> None:
    assert exported(cell(RUN, None, 1000), cell(RUN, attack(), 900)).footnote == "Clean accuracy no better than chance"


def test_only_an_audit_makes_a_number_reliable(tmp_path: Path, bench: Callable[..., Any]) -> None:
    """One that looked at this very cell; an absent field claims nothing."""
    attacked = cell(RUN, attack(), 4000)
    store = stored(tmp_path, cell(RUN, None, 9000), attacked, runs=(RUN,))
    arguments = ("export", "tiny:baseline", "--format", "robustbench", "--results", tmp_path)
    assert "unreliable" not in bench(*arguments).json
    store.write_audit(audit_record(RUN, cells=(cell_record(RUN, "fgsm", [True]).cell_id,)))
    assert "unreliable" not in bench(*arguments).json
    store.write_audit(audit_record(RUN, cells=(attacked.cell_id,)))
    assert bench(*arguments).json["unreliable"] is False


def test_weights_that_were_there_before_are_additional_data() -> None:
    assert RUN.spec is not None
    spec = dataclasses.replace(RUN.spec, model=dataclasses.replace(RUN.spec.model, pretrained=True))
    run = dataclasses.replace(RUN, spec=spec, run_id=spec.run_id)
    assert exported(cell(run, None, 9000), cell(run, attack(), 4000), run=run).additional_data


def test_of_a_model_that_was_brought_along_nobody_knows(tmp_path: Path, bench: Callable[..., Any]) -> None:
    run = dataclasses.replace(RUN, spec=None)
    stored(tmp_path, cell(run, None, 9000), cell(run, attack(), 4000), runs=(run,))
    arguments = ("export", "tiny:baseline", "--format", "robustbench", "--results", tmp_path)
    assert "with --additional-data or --no-additional-data" in bench(*arguments).err
    assert bench(*arguments, "--additional-data").json["additional_data"] is True
    assert bench(*arguments, "--no-additional-data").json["additional_data"] is False
