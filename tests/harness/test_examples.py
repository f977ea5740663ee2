"""What lies under examples/ works as it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_plugin_of_every_kind(tmp_path: Path) -> None:
    """By the command in its own docstring, in a process of its own."""
    text = (ROOT / "examples" / "plugin.py").read_text()
    command = text[text.index("bench run") : text.index('"""', 3)].split()
    shown = subprocess.run(
        [sys.executable, "-m", *command, "--results", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert "noise@linf-0.2" in lines[0]
    assert sum("stripes" in line for line in lines) == 2
