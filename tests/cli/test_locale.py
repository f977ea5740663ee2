"""UTF-8 whatever the locale: file names, arguments, names in tables, and every text file that the source opens."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
FOLDERS = ("bench", "models", "attacks", "examples", "benchmarks")
SOURCES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PLUGIN = """
from torch import nn
from bench.models.registry import ModelEntry, register_model

def build(*, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, 8))

register_model("modèle", ModelEntry(summary="é", source="é", build=build), __file__)
"""


def start(folder: Path, *command: str) -> subprocess.CompletedProcess[bytes]:
    """Python in a process whose locale knows ASCII only."""
    others = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    settings = {**others, **C_LOCALE, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *command], cwd=folder, env=settings, capture_output=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Image files under names that are not ASCII, and a plug-in with such a model."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label, name in enumerate(("été", "冬")):
            for i in range(6):
                path = tmp_path / "données" / split / name / f"Bild_ü{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((rng.integers(0, 99, (8, 8, 3)) + 120 * label).astype(np.uint8)).save(path)
    (tmp_path / "modèle.py").write_text(PLUGIN, encoding="utf-8")
    return tmp_path


def check_results(results: Path, model: str) -> None:
    rows = pd.read_csv(results / "results.csv")
    assert set(rows["model"]) == {model}
    assert set(rows["dataset"]) == {"données"}
    assert set(rows["status"]) == {"ok"}
    samples = pd.concat(map(pd.read_csv, results.rglob("*.samples.csv")))
    assert {f"test/{name}/Bild_ü{i}.png" for name in ("été", "冬") for i in range(6)} == set(samples["sample_id"])


def test_a_run_in_the_c_locale(folder: Path) -> None:
    found = start(
        folder, "-m", "bench", "run", "--plugin", "modèle.py", "--models", "modèle", "--variants", "baseline",
        "--dataset", "imagefolder", "--data-dir", "données", "--results", "ergebnisse_é", "--epochs", "1",
        "--attacks", "fgsm", "--eps", "0.1", "--corruptions", "none", "--audit", "none", "--no-diagnose",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr.decode()
    assert "modèle" in found.stdout.decode()
    check_results(folder / "ergebnisse_é", "modèle")
    shown = start(folder, "-m", "bench", "show", "modèle:baseline", "--results", "ergebnisse_é")
    assert shown.returncode == 0, shown.stderr.decode()
    assert "modèle" in shown.stdout.decode()


def test_the_api_in_the_c_locale(folder: Path) -> None:
    (folder / "own.py").write_text(
        "from torch import nn\n"
        "from bench.api import evaluate\n"
        "net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))\n"
        "evaluate(net, name='réseau', dataset='imagefolder', data_dir='données', attacks='fgsm', eps='0.1',\n"
        "         corruptions='none', audit='none', results='ergebnisse_é')\n",
        encoding="utf-8",
    )
    found = start(folder, "own.py")
    assert found.returncode == 0, found.stderr.decode()
    check_results(folder / "ergebnisse_é", "réseau")


def _lacks_encoding(call: ast.Call) -> bool:
    """Whether the call opens a text file, or a program's output as text, in the locale's encoding."""
    keywords = {keyword.arg for keyword in call.keywords}
    if "encoding" in keywords:
        return False
    function = call.func
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    owner = getattr(function.value, "id", "") if isinstance(function, ast.Attribute) else ""
    if name in ("read_text", "write_text", "fdopen", "TextIOWrapper") and isinstance(function, ast.Attribute):
        return True
    if keywords & {"text", "universal_newlines"} and name in ("run", "Popen", "check_output", "check_call"):
        return True
    if name != "open" or owner in ("Image", "archive", "os", "tarfile"):
        return False
    modes = [a.value for a in (*call.args, *(k.value for k in call.keywords)) if isinstance(a, ast.Constant)]
    return not any(isinstance(mode, str) and re.fullmatch("[rwxa]?[+]?b[rwxa]?[+]?", mode) for mode in modes)


def test_every_text_file_has_an_encoding() -> None:
    assert len(SOURCES) > 100
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _lacks_encoding(node)
    ]
    assert calls == []


@pytest.mark.parametrize(
    ("code", "lacks"),
    [
        ("path.read_text()", True),
        ("path.write_text('a')", True),
        ("open(path)", True),
        ("path.open('w')", True),
        ("gzip.open(path, 'rt')", True),
        ("subprocess.run(a, text=True)", True),
        ("open(path, 'rb')", False),
        ("open(path, encoding='utf-8')", False),
        ("subprocess.run(a, encoding='utf-8')", False),
        ("Image.open(path)", False),
    ],
)
def test_what_counts_as_a_text_file(code: str, lacks: bool) -> None:
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert _lacks_encoding(call) == lacks
