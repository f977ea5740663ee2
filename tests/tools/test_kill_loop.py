"""Kills at random moments change no table. The short form of ``tools/kill_loop.py``, and its full form."""

from __future__ import annotations

import subprocess
import sys

import pytest
from mutate import ROOT


def loop(*arguments: str) -> str:
    """Run the loop in a process of its own, because a process that has used many threads must not fork."""
    command = [sys.executable, str(ROOT / "tools/kill_loop.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_processes_survive_kills_and_signals() -> None:
    assert "all tables are equal" in loop("--kills", "3", "--processes", "2", "--signals", "KILL,TERM,INT")


@pytest.mark.nightly
@pytest.mark.parametrize("processes", ["1", "10"])
def test_many_kills(processes: str) -> None:
    assert "all tables are equal" in loop("--kills", "50", "--processes", processes)
