"""Options from a TOML file: they mean what they mean when typed, and give way to what is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.cli import invoke
from bench.cli import run as run_commands

Bench = Callable[..., Any]


@pytest.mark.parametrize(
    ("content", "arguments", "diagnoses", "audit"),
    [
        ("", [], 1, "of up to 200 passes"),
        ("no-diagnose = true\naudit = 'none'", [], 0, None),
        ("no_diagnose = false", [], 1, "of up to 200 passes"),
        ("diagnose = false\naudit = 'full'", [], 0, "without a bound"),
        ("no-diagnose = true\naudit = 'none'", ["--diagnose", "--audit", "full"], 1, "without a bound"),
        ("audit = 'full'", ["--audit", "none"], 1, None),
    ],
)
def test_options_that_are_on_or_off_in_a_config(
    capsys: pytest.CaptureFixture[str],
    plugin: Path,
    tmp_path: Path,
    content: str,
    arguments: list[str],
    diagnoses: int,
    audit: str | None,
) -> None:
    config = tmp_path / "c.toml"
    tiny = f'models = "tiny"\nplugin = "{plugin}"\nvariants = "baseline"\nepochs = 0\nlimit = 20\n'
    config.write_text(f"{tiny}{content}\n")
    others = ["--attacks", "none", "--corruptions", "none", "--results", str(tmp_path), "--dry-run"]
    assert invoke(["run", "--config", str(config), *others, *arguments]) == 0
    said = capsys.readouterr().out
    assert f"1 of 1 cell and {diagnoses} {'diagnosis' if diagnoses == 1 else 'diagnoses'} to do" in said
    assert ("then an audit of every run" in said) == (audit is not None)
    assert audit is None or audit in said


def test_a_config_ranks_what_is_flagged(
    bench: Bench, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = run_commands.write_tables

    def heard(*arguments: Any, rank_flagged: bool, **others: Any) -> Any:
        asked.append(rank_flagged)
        return real(*arguments, rank_flagged=rank_flagged, **others)

    monkeypatch.setattr(run_commands, "write_tables", heard)
    (tmp_path / "c.toml").write_text("rank-flagged = true\n")
    for config in ([], ["--config", tmp_path / "c.toml"]):
        tiny = ("--models", "tiny", "--plugin", plugin, "--limit", "60", "--epochs", "0", "--results", tmp_path / "out")
        assert bench("run", *tiny, "--attacks", "none", "--variants", "baseline", "--no-diagnose", *config).code == 0
    assert asked == [False, True]


def test_config_files_give_way_to_the_command_line(bench: Bench, plugin: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        f'models = ["tiny"]\nplugin = ["{plugin}"]\nlimit = 60\nepochs = 1\neps = ["0.1"]\nattacks = "fgsm"\n'
        'variants = ["lpc"]\ntrain-limit = 40\n'
    )
    out = tmp_path / "out"
    assert bench("run", "--config", config, "--variants", "baseline", "--results", out).code == 0
    table = pd.read_csv(out / "results.csv")
    assert set(table.variant) == {"baseline"}
    assert set(table.n_train) == {40}
    assert set(table.attack) == {"clean", "fgsm"}


def test_values_of_a_config_are_judged_like_typed_ones(bench: Bench, tmp_path: Path) -> None:
    for content, sentence in (("epochs = 1.5", "1.5"), ("lr = 1979-05-27", "1979-05-27")):
        (tmp_path / "c.toml").write_text(content)
        outcome = bench("run", "--config", tmp_path / "c.toml", "--models", "resnet18", "--results", tmp_path / "out")
        assert (outcome.code, sentence in outcome.err) == (2, True)
