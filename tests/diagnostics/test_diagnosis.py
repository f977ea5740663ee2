"""From trained weights to the diagnosis in the row: what is measured, kept, shown, and what becomes of a failure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.cli import invoke
from bench.core.columns import (
    AUDIT_COLUMNS,
    COLLAPSE_COLUMNS,
    COUNT_COLUMNS,
    DIAGNOSTIC_COLUMNS,
    INTERVAL_COLUMNS,
    INTERVAL_SUFFIXES,
    TEST_IMAGE_COLUMNS,
)
from bench.core.seals import sealed
from bench.diagnostics.registry import DIAGNOSTICS
from bench.results.store import Store

ARGUMENTS = ("--models", "tiny", "--attacks", "none", "--epochs", "2", "--limit", "60", "--corruptions", "none")


@pytest.fixture
def run(bench: Callable[..., Any], plugin: Path, tmp_path: Path) -> Callable[..., Any]:
    def call(*more: object) -> Any:
        return bench("run", "--plugin", plugin, *ARGUMENTS, "--results", tmp_path, "--json", *more)

    return call


@pytest.fixture(scope="module")
def finished(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results folder of a baseline and an LPC model that are trained and diagnosed. Tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    arguments = ("run", "--plugin", plugin, *ARGUMENTS, "--audit", "none", "--results", folder)
    assert invoke([str(argument) for argument in (*arguments, "--variants", "baseline,lpc")]) == 0
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder, in which ``run`` works."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


def diagnosis_of(folder: Path, variant: str) -> Path:
    (run,) = [found for found in Store(folder).runs() if found.variant == variant]
    (path,) = folder.glob(f"runs/{run.run_id}/diagnosis.json")
    return path


def test_every_diagnostic_has_its_column_and_says_whether_it_is_invariant() -> None:
    assert set(COLLAPSE_COLUMNS) == {f"collapse_{name}" for name in DIAGNOSTICS}
    for name in DIAGNOSTICS:
        assert COLLAPSE_COLUMNS[f"collapse_{name}"].endswith("invariant") == DIAGNOSTICS.get(name).invariant
    assert all("invariant" in meaning for meaning in TEST_IMAGE_COLUMNS.values())
    assert set(INTERVAL_COLUMNS) <= set(TEST_IMAGE_COLUMNS)


def test_every_run_is_diagnosed_and_its_rows_say_what_was_found(finished: Path) -> None:
    table = pd.read_csv(finished / "results.csv")
    assert len(table) == 2
    behind = [*DIAGNOSTIC_COLUMNS, *AUDIT_COLUMNS]
    assert list(table.columns[-len(behind) :]) == behind
    assert table["collapse_nc1"].notna().all()
    store = Store(finished)
    for row in table.itertuples():
        record = store.read_diagnosis(str(row.run_id))
        assert record is not None
        assert record.values.keys() == DIAGNOSTIC_COLUMNS.keys() - COUNT_COLUMNS.keys()
        assert record.images.keys() == COUNT_COLUMNS.keys()
        counts = [record.images[column] for column in ("collapse_n", "collapse_n_train", "lipschitz_n", "deepfool_n")]
        assert counts == [500, 60, 500, 100]
        assert record.images["deepfool_n_fooled"] <= record.images["deepfool_n_correct"] <= 100
        assert record.images["deepfool_n_fooled"] <= record.images["nearest_n_fooled"]
        assert all(getattr(row, column) == count for column, count in record.images.items())
        assert row.collapse_nc1 == pytest.approx(record.values["collapse_nc1"])
        assert all((value is None) == (column in record.undefined) for column, value in record.values.items())


def test_a_second_run_measures_nothing_and_a_lost_diagnosis_only_itself(run: Callable[..., Any], copied: Path) -> None:
    assert "nothing to do" in run("--variants", "lpc").err
    before = (copied / "results.csv").read_bytes()
    diagnosis_of(copied, "lpc").unlink()
    again = run("--variants", "lpc")
    assert "1 run diagnosed" in again.err
    assert again.json["trained"] == again.json["evaluated"] == 0
    assert (copied / "results.csv").read_bytes() == before


def test_without_diagnosis_the_columns_are_empty(run: Callable[..., Any], tmp_path: Path) -> None:
    assert run("--variants", "baseline", "--no-diagnose").code == 0
    assert pd.read_csv(tmp_path / "results.csv")["collapse_nc1"].isna().all()


def test_a_diagnosis_that_fails_is_recorded_and_the_others_go_on(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **more: object) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr("bench.diagnostics.diagnose.deepfool_scores", broken)
    outcome = run("--variants", "baseline,lpc")
    assert outcome.code == 3
    assert len(outcome.json["bad"]) == 2
    assert "diagnosis_error: ValueError: no such thing" in outcome.err
    assert outcome.json["evaluated"] == 2
    assert pd.read_csv(tmp_path / "results.csv")["collapse_n"].isna().all()
    monkeypatch.undo()
    assert run("--variants", "lpc").code == 0


def test_diagnose_prints_the_table_and_measures_only_once(
    bench: Callable[..., Any], plugin: Path, copied: Path
) -> None:
    diagnosis_of(copied, "lpc").unlink()
    arguments = ("diagnose", "tiny:lpc", "--results", copied, "--plugin", plugin)
    first = bench(*arguments)
    assert first.code == 0
    for column in (*COLLAPSE_COLUMNS, *TEST_IMAGE_COLUMNS):
        assert f"| {column} " in first.out
    record = bench(*arguments, "--json").json
    ends = [f"{record['values'][f'deepfool_rho_authors{suffix}']:.4g}" for suffix in INTERVAL_SUFFIXES]
    assert f" [{', '.join(ends)}] " in first.out
    assert bench(*arguments, "--json").json["created"] == record["created"]
    assert bench(*arguments, "--json", "--force").json["values"] == record["values"]


def test_a_diagnosis_without_newer_columns_is_shown_and_names_them(
    bench: Callable[..., Any], plugin: Path, copied: Path
) -> None:
    path = diagnosis_of(copied, "lpc")
    content = json.loads(path.read_text())
    values = {column: value for column, value in content["values"].items() if "_by_prediction" not in column}
    path.write_text(json.dumps(sealed({**content, "values": values})))
    arguments = ("diagnose", "tiny:lpc", "--results", copied, "--plugin", plugin)
    shown = bench(*arguments).out
    assert f"| {values['collapse_nc1']:.4g} " in shown
    assert "not measured by the version that made this diagnosis: collapse_nc1_by_prediction, " in shown
    assert bench(*arguments, "--json", "--force").json["values"]["collapse_nc1_by_prediction"] > 0
    assert "not measured by the version" not in bench(*arguments).out


def test_a_diagnosis_of_other_weights_is_no_answer(copied: Path) -> None:
    path = diagnosis_of(copied, "lpc")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(sealed({**content, "weights_sha": "0" * 64})))
    assert Store(copied).read_diagnosis(content["run_id"]) is None


def test_a_run_without_weights_is_not_diagnosed(bench: Callable[..., Any], plugin: Path, copied: Path) -> None:
    diagnosis = diagnosis_of(copied, "lpc")
    diagnosis.with_name("weights.safetensors").unlink()
    diagnosis.unlink()
    outcome = bench("diagnose", "tiny:lpc", "--results", copied, "--plugin", plugin)
    assert outcome.code == 2
    assert "has no weights" in outcome.err
    assert bench("diagnose", "tiny:nothing", "--results", copied, "--plugin", plugin).code == 2


def test_a_diagnosis_by_older_definitions_is_no_answer(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = diagnosis_of(finished, "lpc").parent.name
    assert Store(finished).read_diagnosis(run_id) is not None
    monkeypatch.setattr("bench.results.store.DIAGNOSIS_VERSION", 99)
    assert Store(finished).read_diagnosis(run_id) is None


def test_plot_writes_both_files(bench: Callable[..., Any], plugin: Path, finished: Path, tmp_path: Path) -> None:
    outcome = bench("plot", "latents", "tiny:lpc", "--results", finished, "--plugin", plugin, "--out", tmp_path / "f")
    assert outcome.code == 0
    files = [Path(line) for line in outcome.out.split()]
    assert [path.suffix for path in files] == [".png", ".svg"]
    assert all(path.stat().st_size > 1000 for path in files)
    again = bench(
        "plot", "latents", "tiny:lpc", "--results", finished, "--plugin", plugin, "--out", tmp_path / "f", "--json"
    )
    assert again.json == {"paths": [str(path) for path in files]}
