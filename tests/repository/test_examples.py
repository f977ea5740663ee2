"""Check that the files under examples/ work as they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.nightly
def test_networks_that_are_trained_anew_pass_the_committed_baseline(tmp_path: Path) -> None:
    """On another machine their weights differ, and the gate compares seeds."""
    trained = run("run", "--config", "examples/ci-smoke.toml", "--results", tmp_path)
    assert trained.returncode == 0, trained.stderr
    checked = run("check", "--baseline", "results/baselines/digits.json", "--results", tmp_path, "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    checks = json.loads(checked.stdout)["checks"]
    assert {check["metric"] for check in checks} == {"clean", "fgsm@linf-0.03", "pgd-10@linf-0.03"}
    assert {check["verdict"] for check in checks} == {"PASS"}


def test_the_workflow_runs_the_pytest_of_its_project() -> None:
    """Its commands are on files that exist, and nothing is installed from an index that does not have it."""
    project = ROOT / "examples" / "own_model"
    workflow = yaml.safe_load((project / ".github" / "workflows" / "robustness.yml").read_text(encoding="utf-8"))
    commands = [step["run"] for step in workflow["jobs"]["pytest"]["steps"] if "run" in step]
    assert commands == ["pip install -r requirements.txt", "pytest --robustness-required --junitxml=robustness.xml"]
    lines = (project / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["./collapse-bench", "pytest"]
    for readme in (ROOT / "README.md", project / "README.md"):
        assert "pip install collapse-bench" not in readme.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "more", [("--audit", "none"), pytest.param((), marks=pytest.mark.slow)], ids=["short", "whole"]
)
def test_the_plugin_of_every_kind(more: tuple[str, ...], tmp_path: Path) -> None:
    """By the command in its own docstring, twice in a process of their own, and then the tables without it."""
    text = (ROOT / "examples" / "plugin.py").read_text(encoding="utf-8")
    command = text[text.index("bench run") : text.index('"""', 3)].split()[1:]
    command += [*more, "--results", str(tmp_path)]
    code = f"from bench.cli import invoke; print([invoke({command}), invoke({command})])"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert shown.stdout.endswith("[0, 0]\n"), shown.stderr
    assert "nothing to do: all 16 cells are already stored" in shown.stderr
    lines = shown.stdout.splitlines()
    assert "noise@linf-0.2" in lines[0]
    assert sum("stripes" in line for line in lines) == 2 * 2
    rows = pd.read_csv(tmp_path / "results.csv")
    dusty = rows[rows["corruption"] == "dust"]
    assert sorted(dusty["severity"]) == sorted([1, 2, 3, 4, 5] * 2)
    assert (dusty["status"] == "ok").all()
    assert dusty["notes"].str.startswith("defined by a plug-in").all()
    assert rows["collapse_sparsity"].between(0, 1).all()
    board = pd.read_csv(tmp_path / "leaderboard.csv")
    assert board["dust_acc"].notna().all()
    assert pd.read_csv(tmp_path / "corruptions.csv", header=[0, 1], index_col=0).columns.levels[0].tolist() == ["dust"]
    without = run("leaderboard", "--results", tmp_path)
    assert without.returncode == 0, without.stderr
    assert pd.read_csv(tmp_path / "results.csv")["collapse_sparsity"].equals(rows["collapse_sparsity"])
    assert pd.read_csv(tmp_path / "leaderboard.csv")["dust_acc"].equals(board["dust_acc"]), "the plug-in is not needed"
