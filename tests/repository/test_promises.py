"""Promises of the documents: commands, columns, the wheel, and the cost of asking for help."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import column_tables
import pytest

from bench.cli import cli
from bench.core import columns, vocabulary
from bench.leaderboard.metrics import METRICS
from bench.leaderboard.registry import BUILTIN

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def command_after(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```sh\n(.+?)\n```", README, re.DOTALL)
    assert found
    return found[1]


def test_ci_runs_the_commands_of_the_readme() -> None:
    """.ci/run takes its commands out of the README by these markers, and each is one line."""
    script = (ROOT / ".ci" / "run").read_text()
    for marker in re.findall(r"^run_command '(.+)'$", script, re.MULTILINE):
        assert "\n" not in command_after(marker)
    assert "run_command 'tests'" in script
    shown = subprocess.run(["bash", str(ROOT / ".ci" / "run"), "--show"], capture_output=True, text=True, check=True)
    assert command_after("tests") in shown.stdout


def test_the_main_job_is_the_promised_one() -> None:
    assert command_after("main job").endswith("python -m bench run --models resnet18 --variants baseline,lpc")


def test_results_readme_has_the_tables_of_all_columns() -> None:
    """The page is what tools/column_tables.py writes, and it has a table of every set of columns."""
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    assert column_tables.with_tables(text) == text
    tables = {found["name"] for found in column_tables.TABLE.finditer(text)}
    described = {name for name in columns.__all__ if name.endswith("_COLUMNS")} - {"RATIO_COLUMNS", "TIME_COLUMNS"}
    described -= {"DIAGNOSTIC_COLUMNS", "INTERVAL_COLUMNS"}  # unions and parts of other tables
    assert {*described, "METRIC_SUFFIXES", "REASONS", "FLAGS", "PROTOCOLS"} <= tables
    scopes = {scope for name in tables if name.startswith("metrics ") for scope in name.split()[1:]}
    assert {METRICS.get(name).scope for name in METRICS if METRICS.origin(name) == BUILTIN} == scopes


def test_every_command_is_in_the_readme_and_in_the_help() -> None:
    help_text = cli.get_help(click.Context(cli))
    for command in vocabulary.COMMANDS:
        assert f"`bench {command}" in README
        assert re.search(rf"^  {command} ", help_text, re.MULTILINE)


@pytest.mark.parametrize("command", vocabulary.COMMANDS)
def test_the_list_of_commands_says_what_their_help_says(command: str) -> None:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    assert (found.help or "").startswith(vocabulary.COMMANDS[command])


def test_help_imports_no_torch() -> None:
    """Nor does the help of any command; that of the program as a whole needs little else."""
    code = (
        "import sys, click; from bench.cli import cli, invoke; from bench.core.vocabulary import COMMANDS\n"
        "invoke(['--help']); print(sorted(sys.modules))\n"
        "for name in COMMANDS: cli.get_command(click.Context(cli), name).get_help(click.Context(cli))\n"
        "print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    *_, modules, torch_is_loaded = shown.splitlines()
    assert "'click'" in modules
    for heavy in ("torch", "numpy", "pandas", "timm", "rich", "pydantic"):
        assert f"'{heavy}'" not in modules
    assert torch_is_loaded == "False"


def test_finding_everything_done_imports_no_torch(tmp_path: Path, bench: Callable[..., Any], plugin: Path) -> None:
    """A second identical run answers from the files: what it imports is what it costs."""
    arguments = [
        "run",
        "--models",
        "test_resnet",
        "--no-diagnose",
        "--attacks",
        "none",
        "--epochs",
        "0",
        "--limit",
        "20",
    ]
    arguments += ["--variants", "baseline", "--corruptions", "none", "--results", str(tmp_path)]
    assert bench(*arguments).code == 0
    code = (
        f"import sys; from bench.cli import invoke; code = invoke({arguments!r}); print(code, 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.splitlines()[-1] == "0 False"
    assert "nothing to do" in shown.stderr
