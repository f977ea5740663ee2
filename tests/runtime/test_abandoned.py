"""Temporary files of killed processes are deleted; those of live and of other machines' processes are not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.runtime.claims import Claims
from bench.runtime.files import check_writable
from bench.runtime.processes import machine, owner_token


@pytest.fixture(scope="module")
def dead() -> str:
    """Return the token of a process that has ended."""
    code = "from bench.runtime.processes import owner_token; print(owner_token())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def temporary(folder: Path, token: str) -> Path:
    path = folder / f".results.csv.{token}.x7_a.tmp"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    return path


def test_a_run_deletes_what_a_killed_run_was_writing(tmp_path: Path, dead: str) -> None:
    _, pid, start = dead.split("-")
    removed = temporary(tmp_path, dead)
    kept = [temporary(tmp_path, token) for token in (owner_token(), f"000000000000-{pid}-{start}", "other")]
    check_writable(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert not removed.exists()


def test_whoever_takes_work_over_deletes_its_temporary_files(tmp_path: Path, dead: str) -> None:
    claims = tmp_path / "claims"
    left = [temporary(folder, dead) for folder in (tmp_path, tmp_path / "cells", claims)]
    owner = {**machine(), "pid": int(dead.split("-")[1]), "started": dead.split("-")[2]}
    (claims / "work.0.claim").write_text(json.dumps(owner), encoding="utf-8")
    with Claims().claim(claims, "work") as mine:
        assert mine
        assert not any(path.exists() for path in left)
