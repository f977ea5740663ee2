"""Results of others with hostile names and messages: every command prints and writes them inert."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml
from records import cell_record, run_record, samples_of

from bench.config import RunConfig
from bench.core.errors import BenchError
from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import AttackSpec
from bench.results.store import Store
from bench.runtime.config_file import write_config

Bench = Callable[..., Any]

RIGHT = [True] * 60 + [False] * 40
HOSTILE = "=1+1\x1b[31m|<b>\u202e`x`\r\n# new [a](b) $y$ \x00\x9b"


def has_no_control(text: str) -> bool:
    return not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text.replace("\n", ""))


def run_called(variant: str) -> RunRecord:
    """A run of a hostile model, as a record that was not written by us may hold it."""
    run = run_record(variant)
    assert run.spec is not None
    spec = dataclasses.replace(
        run.spec,
        data=dataclasses.replace(run.spec.data, name=HOSTILE),
        model=dataclasses.replace(run.spec.model, name=HOSTILE),
        variant=variant,
    )
    ids = {"run_id": spec.run_id, "config_sha": spec.config_sha}
    return dataclasses.replace(run, dataset=HOSTILE, model=HOSTILE, spec=spec, **ids)


def cells_of(run: RunRecord) -> list[EvalRecord]:
    clean = dataclasses.replace(cell_record(run, "clean", RIGHT), notes=(HOSTILE,), flags=(HOSTILE,), backend=HOSTILE)
    attack = AttackSpec(name=HOSTILE, norm="linf", eps=0.1)
    spec = dataclasses.replace(clean.spec, attack=attack)
    failure = {"status": "failed", "reason": HOSTILE, "message": HOSTILE, "n_correct": None}
    failed = dataclasses.replace(clean, spec=spec, cell_id=spec.cell_id, **failure)
    spec = dataclasses.replace(clean.spec, attack=AttackSpec(name=f"{HOSTILE}2", norm="linf", eps=0.1))
    return [clean, failed, dataclasses.replace(clean, spec=spec, cell_id=spec.cell_id)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    store = Store(folder)
    for variant in ("baseline", HOSTILE):
        run = run_called(variant)
        store.write_run(run, None)
        for cell in cells_of(run):
            store.write_cell(cell, samples_of(RIGHT) if cell.status == "ok" else None)
    return folder


COMMANDS = (
    ("leaderboard",),
    ("leaderboard", "--json"),
    ("show", "RUN"),
    ("show", "RUN", "--json"),
    ("show", HOSTILE),
    ("compare",),
    ("compare", "--format", "csv"),
    ("compare", "--format", "html"),
    ("compare", "--format", "latex"),
    ("compare", "--json"),
    ("export", "RUN", "--format", "timm", "--allow-protocol-mismatch"),
    ("export", "RUN", "--format", "huggingface"),
    ("export", "RUN", "--format", "robustbench"),
    ("baseline", "write", "--baseline", "BASE", "--cells", "clean"),
    ("baseline", "show", "--baseline", "BASE"),
    ("check", "--baseline", "BASE", "--junit", "JUNIT", "--summary", "PAGE"),
    ("check", "--baseline", "BASE", "--run", HOSTILE),
    ("verify", "RUN"),
    ("verify", "--all"),
    ("gc",),
    ("audit", HOSTILE),
    ("audit", "RUN"),
    ("diagnose", HOSTILE),
    ("diagnose", "RUN"),
    ("plot", "latents", HOSTILE),
    ("plot", "latents", "RUN"),
    ("rm", HOSTILE),
    ("list", "models", "--plugin", HOSTILE.replace("\0", "")),
)


def test_every_command_prints_and_writes_inert_text(results: Path, bench: Bench, tmp_path: Path) -> None:
    """Without the filter of the console, which tests of ``bench.runtime.console`` cover."""
    run = next(run for run in Store(results).runs() if run.variant == HOSTILE)
    files = {"RUN": run.run_id, "BASE": tmp_path / "base.json", "JUNIT": tmp_path / "j.xml", "PAGE": tmp_path / "p.md"}
    for command in COMMANDS:
        arguments = [files.get(word, word) for word in command]
        reads_results = command[0] != "list" and "show" not in command[1:2]
        shown = bench(*arguments, *(["--results", results] if reads_results or command[0] == "show" else []))
        assert shown.code in (0, 1, 2), command
        assert has_no_control(shown.out), command
        assert has_no_control(shown.err), command
        assert shown.out or shown.err, command
        if shown.code == 2:
            assert shown.err.count("\n") == 1, command
    assert sum(1 for suite in JUnitXml.fromfile(str(files["JUNIT"])) for _ in suite) > 0
    written = [*results.glob("*.csv"), *results.rglob("*.samples.csv"), tmp_path / "base.json", tmp_path / "p.md"]
    assert len(written) > 6
    for path in written:
        text = path.read_bytes().decode()
        assert has_no_control(text), path
        assert not any(cell.startswith("=") for line in text.splitlines() for cell in line.split(","))


def test_a_path_that_is_not_utf8_is_loaded_or_named(bench: Bench, tmp_path: Path) -> None:
    plugin = Path(os.fsdecode(os.fsencode(tmp_path) + b"/p\xff\x1b.py"))
    plugin.write_text("from bench.core.registry import Registry\n", encoding="utf-8")
    assert bench("list", "metrics", "--plugin", plugin).code == 0
    shown = bench("check-plugin", plugin)
    assert (shown.code, shown.err.count("\n"), has_no_control(shown.err)) == (2, 1, True)
    with pytest.raises(BenchError, match=r"run.toml cannot hold '\"/.*p.udcff.*, which is not UTF-8; rename") as caught:
        write_config(RunConfig(plugin=(plugin,)), tmp_path / "run.toml")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run.toml").exists()
