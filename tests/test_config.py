"""Every option stands once: the command line, TOML, Python and run.toml agree."""

from __future__ import annotations

import dataclasses
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from bench import pipeline
from bench.api import FailedCellsWarning, evaluate, run
from bench.cli import invoke
from bench.cli import run as run_commands
from bench.cli.group import PlainHelp, cli
from bench.config import GROUPS, RunConfig
from bench.core.errors import BenchError
from bench.core.options import from_options, options_of
from bench.core.vocabulary import COMMANDS
from bench.planning.request import make_request

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

    def heard(store: Any, config: Any) -> Any:
        asked.append(config.rank_flagged)
        return real(store, config)

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


def test_the_recorded_configuration_of_a_run_runs_again(bench: Bench, plugin: Path, tmp_path: Path) -> None:
    """run.toml has every option that has a value, but not where the results go."""
    tiny = ("--models", "tiny", "--plugin", plugin, "--limit", "60", "--epochs", "1", "--variants", "baseline")
    quick = ("--attacks", "fgsm", "--eps", "0.1", "--corruptions", "fog", "--severities", "1,3", "--no-diagnose")
    assert bench("run", *tiny, *quick, "--attack-limit", "fgsm=30", "--results", tmp_path / "a").code == 0
    recorded = tomllib.loads((tmp_path / "a" / "run.toml").read_text())
    assert recorded["attack-limit"] == ["fgsm=30"]
    assert recorded["diagnose"] is False
    assert "results" not in recorded
    assert invoke(["run", "--config", str(tmp_path / "a" / "run.toml"), "--results", str(tmp_path / "b")]) == 0
    tables = [pd.read_csv(tmp_path / folder / "results.csv") for folder in "ab"]
    times = ["time_s", "train_time_s", "created"]
    pd.testing.assert_frame_equal(*(table.drop(columns=times) for table in tables))


def test_python_runs_what_the_command_line_runs(
    plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = run(
        models="tiny", plugin=plugin, variants=["baseline"], limit=60, epochs=1, attacks="fgsm", eps=0.1,
        corruptions="fog", severities=[1, 3], diagnose=False, results=tmp_path / "python",
    )  # fmt: skip
    folder = tmp_path / "python"
    assert invoke(["run", "--config", str(folder / "run.toml"), "--results", str(folder)]) == 0
    assert "nothing to do: all 4 cells are already stored" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "python" / "results.csv")
    assert list(rows["cell_id"]) == list(table["cell_id"])
    assert list(rows["acc"]) == pytest.approx(list(table["acc"]))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epoch": 3}, "unknown option 'epoch'; did you mean 'epochs'?"),
        ({"norm": "l3"}, "norm 'l3' is unknown; write linf, l2 or l1"),
        ({"limit": 0}, "limit 0 must be at least 1"),
        ({"limit": 2.5}, "limit 2.5 is not a whole number or 'all'"),
        ({"limit": True}, "limit True is not a whole number or 'all'"),
        ({"lr": 0.0}, "lr 0.0 must be above 0"),
        ({"latent_dim": 65537}, "latent_dim 65537 must be at most 65536"),
        ({"diagnose": 1}, "diagnose 1 is neither true nor false"),
        ({"batch_size": None}, "batch_size must have a value"),
        ({"data_dir": 3}, "data_dir 3 is not a path"),
        ({"recipe": ["short"]}, "recipe ['short'] is not text"),
    ],
)
def test_a_value_of_another_type_or_range_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BenchError, match=re.escape(sentence)):
        from_options(RunConfig, options)


def test_values_from_python_are_converted() -> None:
    config = RunConfig(models="a, b", eps=[8 / 255, "0.1"], severities=range(1, 3), attack_limit={"pgd": 5})
    assert (config.models, config.eps, config.severities) == (("a", "b"), ("8/255", "0.1"), ("1", "2"))
    assert (config.attack_limit, config.plugin) == (("pgd=5",), ())


def test_two_numbers_of_images_for_one_attack_are_refused() -> None:
    config = RunConfig(
        models=("resnet10t",), attacks=("fgsm",), attack_limit=("fgsm=3", "fgsm=4"), corruptions=("none",)
    )
    with pytest.raises(BenchError, match="gives 3 and 4 images for fgsm"):
        make_request(config)
    request, _ = make_request(dataclasses.replace(config, attack_limit=("fgsm=3", "fgsm=3")))
    assert request.attack_limits == {"fgsm": 3}


def test_the_number_of_threads_is_that_of_the_configuration(
    bench: Bench, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While cells are evaluated; afterwards it is the caller's."""
    seen, real, before = [], pipeline.run_cells, torch.get_num_threads()

    def watched(*arguments: Any) -> Any:
        seen.append(torch.get_num_threads())
        return real(*arguments)

    monkeypatch.setattr(pipeline, "run_cells", watched)
    tiny = ("--models", "tiny", "--plugin", plugin, "--limit", "60", "--epochs", "0", "--variants", "baseline")
    for threads in (3, 1):
        out = tmp_path / str(threads)
        assert bench("run", *tiny, "--attacks", "none", "--threads", threads, "--results", out).code == 0
    assert (seen, torch.get_num_threads()) == ([3, 1], before)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_two_examples_that_parse(command: str) -> None:
    """The examples name options and choices that exist."""
    found = cli.get_command(click.Context(cli), command)
    assert isinstance(found, PlainHelp)
    assert len(found.examples) == 2
    for example in found.examples:
        program, name, *arguments = shlex.split(example)
        assert (program, name) == ("bench", command)
        if "--config" not in arguments:
            found.make_context(name, arguments)


def test_every_option_of_a_run_is_in_its_help_under_its_group() -> None:
    text = CliRunner().invoke(cli, ["run", "--help"]).output
    places = [text.index(f"\n{group}:") for group in (*GROUPS, "Other")]
    assert places == sorted(places)
    for name, option in options_of(RunConfig).items():
        start = text.index(f"\n{option.group}:")
        place = text.index(f"  --{name.replace('_', '-')}")
        assert start < place, name


def test_a_training_that_fails_is_reported_to_python(plugin: Path, tmp_path: Path) -> None:
    """Its cells are skipped, which is no success."""
    options = {"models": "tiny", "plugin": plugin, "variants": "exploding", "limit": 60, "attacks": "none"}
    options |= {"corruptions": "none", "epochs": 3, "results": tmp_path}
    with pytest.raises(BenchError, match="1 of 1 cell failed; first failure: training_failed"):
        run(failures="raise", **options)
    with pytest.warns(FailedCellsWarning):
        assert list(run(**options)["status"]) == ["skipped"]


@pytest.mark.parametrize("option", ["module", "checkpoint"])
def test_the_network_is_the_first_argument(option: str) -> None:
    with pytest.raises(BenchError, match=f"{option}= is not an option of evaluate"):
        evaluate("net.pth", **{option: "other"})


def test_an_audit_that_fails_is_reported_to_python(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise ValueError("no suite today")

    monkeypatch.setattr("bench.audit.audit.by_budget", broken)
    options = {"models": "tiny", "plugin": plugin, "variants": "baseline", "limit": 60, "attacks": "fgsm"}
    with pytest.raises(BenchError, match="no suite today"):
        run(failures="raise", corruptions="none", eps=0.1, epochs=1, diagnose=False, results=tmp_path, **options)
