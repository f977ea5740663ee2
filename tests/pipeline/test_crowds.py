"""Several processes on one results folder compute each cell once; ``--force`` computes it once per process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PLUGIN = """
import os
from bench.attacks.registry import ATTACKS, AttackEntry

def logged(model, inputs, labels, *, norm, eps, rng):
    with open(os.environ["WORK_LOG"], "a", encoding="utf-8") as file:
        file.write(f"{eps}\\n")
    return inputs

ENTRY = AttackEntry(summary="does nothing", source="this test", function=logged, uses_gradient=False)
ATTACKS.register("logged", ENTRY, origin=__file__)
"""
EPS = ("0.01", "0.02", "0.03", "0.04", "0.05", "0.06")


def together(folder: Path, processes: int, *options: str) -> Counter[str]:
    """Run the same command in several processes at once. Return how often each budget was attacked."""
    plugin, log = folder / "plugin.py", folder / "log"
    plugin.write_text(PLUGIN, encoding="utf-8")
    log.unlink(missing_ok=True)
    grid = (
        "--models",
        "two_layers",
        "--variants",
        "baseline",
        "--limit",
        "40",
        "--epochs",
        "1",
        "--corruptions",
        "none",
    )
    example = Path(__file__).parents[2] / "examples/plugin.py"
    command = [
        *(sys.executable, "-m", "bench", "run", *grid, "--attacks", "logged", "--eps", ",".join(EPS), "--no-diagnose"),
        *(
            "--plugin",
            str(example),
            "--plugin",
            str(plugin),
            "--audit",
            "none",
            "--corruptions",
            "none",
            "--results",
            str(folder / "out"),
        ),
    ]
    environment = {**os.environ, "WORK_LOG": str(log), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([*command, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(processes)
    ]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    return Counter(log.read_text(encoding="utf-8").split())


@pytest.mark.slow
def test_each_cell_is_computed_once(tmp_path: Path) -> None:
    assert together(tmp_path, 4) == dict.fromkeys(EPS, 1)
    assert together(tmp_path, 2, "--force") == dict.fromkeys(EPS, 2)
    assert not [path for pattern in ("*.claim", "*.tmp") for path in tmp_path.rglob(pattern)]
