"""Test that a value of a plug-in's diagnostic belongs to the plug-in's code: computed once, kept, never stale."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import unload_plugin

from bench.core.columns import DIAGNOSTIC_COLUMNS
from bench.core.records import DiagnosisRecord
from bench.core.registry import Registration
from bench.core.seals import sealed
from bench.diagnostics import diagnose as module
from bench.diagnostics.latents import Value
from bench.diagnostics.registry import DIAGNOSTICS, DiagnosticEntry
from bench.results.store import Store
from bench.runtime.plugin import plugin_sha_of, registered_by

SOURCE = """
from pathlib import Path
from bench.diagnostics.latents import Value
from bench.diagnostics.registry import DIAGNOSTICS, DiagnosticEntry

def measure(latents):
    with open(Path(__file__).with_suffix(".log"), "a") as file:
        file.write("called\\n")
    {body}

DIAGNOSTICS.register(
    "{name}",
    DiagnosticEntry(summary="s", definition="d", invariant=True, better="", function=measure),
    origin=__file__,
)
"""


class Plugins:
    """Plug-in files with one diagnostic each; at most one of them is loaded, as in separate calls of ``bench run``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.loaded = folder, list[Path]()

    def write(self, name: str, body: str) -> Path:
        path = self.folder / f"{name}.py"
        path.write_text(SOURCE.format(name=name, body=body))
        return path

    def calls(self, name: str) -> int:
        log = self.folder / f"{name}.log"
        return len(log.read_text().split()) if log.exists() else 0

    def unload(self) -> None:
        for path in self.folder.glob("*.py"):
            unload_plugin(path)


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # files of one size and second would share bytecode
    (tmp_path / "plugins").mkdir()
    made = Plugins(tmp_path / "plugins")
    yield made
    made.unload()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the complete diagnoses."""
    calls, measure = list[str](), module._measure

    def counted(*arguments: Any) -> Any:
        calls.append("complete")
        return measure(*arguments)

    monkeypatch.setattr(module, "_measure", counted)
    return calls


@pytest.fixture
def run(
    bench: Callable[..., Any], plugin: Path, tmp_path: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    # The hash of all plug-ins is part of the id of the tiny network, which would be trained again.
    monkeypatch.setattr("bench.planning.request.plugin_sha", lambda: "")

    def call(*files: Path, more: tuple[str, ...] = ()) -> Any:
        plugins.unload()
        given = [argument for file in (plugin, *files) for argument in ("--plugin", file)]
        arguments = ("--models", "tiny", "--attacks", "none", "--epochs", "2", "--limit", "60")
        return bench("run", *given, *arguments, *more, "--results", tmp_path / "out", "--json")

    return call


def record_in(tmp_path: Path, variant: str = "baseline") -> DiagnosisRecord:
    store = Store(tmp_path / "out")
    (found,) = [run for run in store.runs() if run.variant == variant]
    record = store.read_diagnosis(found.run_id)
    assert record is not None
    return record


def column(tmp_path: Path, name: str) -> list[float]:
    return list(pd.read_csv(tmp_path / "out" / "results.csv")[name])


BASELINE = ("--variants", "baseline")


def test_changed_code_is_measured_again_and_nothing_else_is(
    run: Callable[..., Any], plugins: Plugins, measured: list[str], tmp_path: Path
) -> None:
    assert run(plugins.write("alpha", "return Value(1.0)"), more=BASELINE).code == 0
    first = record_in(tmp_path)
    assert run(plugins.write("alpha", "return Value(2.0)"), more=BASELINE).json["diagnosed"] == 1
    second = record_in(tmp_path)
    assert (first.values["collapse_alpha"], second.values["collapse_alpha"]) == (1.0, 2.0)
    assert (first.values["collapse_alpha_train"], second.values["collapse_alpha_train"]) == (1.0, 2.0)
    assert column(tmp_path, "collapse_alpha") == [2.0]
    assert first.plugins["collapse_alpha"].sha != second.plugins["collapse_alpha"].sha
    assert measured == ["complete"]
    unchanged = DIAGNOSTIC_COLUMNS.keys() & first.values.keys()
    assert {c: first.values[c] for c in unchanged} == {c: second.values[c] for c in unchanged}
    assert (second.created, second.environment, second.images) == (first.created, first.environment, first.images)
    assert "nothing to do" in run(plugins.write("alpha", "return Value(2.0)"), more=BASELINE).err


def test_plugins_in_turn_keep_the_values_of_each_other(
    run: Callable[..., Any], plugins: Plugins, measured: list[str], tmp_path: Path
) -> None:
    alpha, beta = plugins.write("alpha", "return Value(1.0)"), plugins.write("beta", "return Value(3.0)")
    for files, diagnosed in (((alpha,), 1), ((beta,), 1), ((alpha,), 0), ((beta,), 0), ((alpha, beta), 0), ((), 0)):
        assert run(*files, more=BASELINE).json["diagnosed"] == diagnosed
    assert column(tmp_path, "collapse_alpha") == [1.0]
    assert column(tmp_path, "collapse_beta_train") == [3.0]
    assert measured == ["complete"]
    assert (plugins.calls("alpha"), plugins.calls("beta")) == (2, 2), "on test and on training images, once each"
    assert run(beta, more=(*BASELINE, "--force")).json["diagnosed"] == 1
    assert column(tmp_path, "collapse_alpha") == [1.0], "kept, since alpha is not loaded"
    assert (len(measured), plugins.calls("alpha"), plugins.calls("beta")) == (2, 2, 4)


def test_a_column_has_values_of_one_code_only(run: Callable[..., Any], plugins: Plugins, tmp_path: Path) -> None:
    """The values of runs that were not measured by the newer code are kept in the store, but not shown with its own."""
    run(plugins.write("alpha", "return Value(1.0)"), more=("--variants", "baseline,lpc"))
    assert column(tmp_path, "collapse_alpha") == [1.0, 1.0]
    run(plugins.write("alpha", "return Value(2.0)"), more=BASELINE)
    table = pd.read_csv(tmp_path / "out" / "results.csv").set_index("variant")["collapse_alpha"]
    assert table["baseline"] == 2.0
    assert pd.isna(table["lpc"])
    assert record_in(tmp_path, "lpc").values["collapse_alpha"] == 1.0


def test_a_changed_plugin_that_fails_leaves_no_stale_value(
    run: Callable[..., Any], plugins: Plugins, measured: list[str], tmp_path: Path
) -> None:
    run(plugins.write("alpha", "return Value(1.0)"), more=BASELINE)
    outcome = run(plugins.write("alpha", "raise ValueError('no such thing')"), more=BASELINE)
    assert outcome.code == 3
    assert "diagnosis_error: ValueError: no such thing" in outcome.err
    record = record_in(tmp_path)
    assert record.status == "ok"
    assert "collapse_alpha" not in {*record.values, *record.plugins}
    assert record.values["collapse_nc1"] is not None
    assert "collapse_alpha" not in pd.read_csv(tmp_path / "out" / "results.csv")
    assert run(plugins.write("alpha", "return Value(1.0)"), more=BASELINE).code == 0
    assert column(tmp_path, "collapse_alpha") == [1.0]
    assert measured == ["complete"]


def test_a_value_without_a_hash_is_measured_again(run: Callable[..., Any], plugins: Plugins, tmp_path: Path) -> None:
    """Records of earlier versions state no code."""
    run(plugins.write("alpha", "return Value(1.0)"), more=BASELINE)
    (path,) = tmp_path.glob("out/runs/*/diagnosis.json")
    content = json.loads(path.read_text())
    del content["plugins"]
    content["values"]["collapse_alpha"] = 9.0
    path.write_text(json.dumps(sealed(content)))
    assert "collapse_alpha" in record_in(tmp_path).values
    assert run(more=BASELINE).json["diagnosed"] == 0, "no plug-in that could measure it is loaded"
    assert run(plugins.write("alpha", "return Value(1.0)"), more=BASELINE).json["diagnosed"] == 1
    assert record_in(tmp_path).values["collapse_alpha"] == 1.0


def test_a_diagnostic_without_a_plugin_file_is_measured_in_every_run(
    run: Callable[..., Any], measured: list[str], tmp_path: Path
) -> None:
    """Its code has no hash, so that a stored value may be stale."""
    for value in (1.0, 2.0):
        entry = DiagnosticEntry(
            summary="s", definition="d", invariant=True, better="", function=lambda _, value=value: Value(value)
        )
        DIAGNOSTICS.register("loose", entry, origin="this test")
        try:
            assert run(more=BASELINE).json["diagnosed"] == 1
        finally:
            DIAGNOSTICS.remove("loose")
        assert record_in(tmp_path).values["collapse_loose"] == value
    assert measured == ["complete"]


def test_diagnose_measures_changed_code(
    run: Callable[..., Any], bench: Callable[..., Any], plugin: Path, plugins: Plugins, tmp_path: Path
) -> None:
    run(plugins.write("alpha", "return Value(1.0)"), more=BASELINE)
    plugins.unload()
    file = plugins.write("alpha", "return Value(2.0)")
    arguments = ("diagnose", "tiny:baseline", "--results", tmp_path / "out", "--plugin", plugin, "--plugin", file)
    assert bench(*arguments, "--json").json["values"]["collapse_alpha"] == 2.0
    assert "| collapse_alpha " in bench(*arguments).out
    assert plugins.calls("alpha") == 4


def test_the_hash_is_that_of_one_plugin(plugins: Plugins, run: Callable[..., Any]) -> None:
    alpha, beta = plugins.write("alpha", "return Value(1.0)"), plugins.write("beta", "return Value(1.0)")
    hashes = []
    for files in ((alpha,), (alpha, beta)):
        run(*files, more=BASELINE)
        assert registered_by(alpha) == (Registration("diagnostic", "alpha"),)
        hashes.append(plugin_sha_of("diagnostic", "alpha"))
    assert hashes[0] == hashes[1] != plugin_sha_of("diagnostic", "beta")
    assert plugin_sha_of("diagnostic", "nc1") == ""


@pytest.mark.parametrize("names", [("n",), ("nc1_train",), ("alpha", "alpha_train")])
def test_a_column_of_another_quantity_is_refused(
    names: tuple[str, ...], run: Callable[..., Any], plugins: Plugins
) -> None:
    outcome = run(*(plugins.write(name, "return Value(1.0)") for name in names), more=BASELINE)
    assert outcome.code == 2
    assert f"diagnostic '{names[-1]}' (from " in outcome.err
    assert "which belongs to another quantity; rename the diagnostic" in outcome.err
