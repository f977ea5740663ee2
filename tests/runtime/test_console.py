"""Output that survives every console: encodings, closed pipes, no terminal. Exit codes stay what they mean."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from records import store_with

from bench.cli import invoke
from bench.runtime.console import ASCII, plain

RIGHT = [True] * 300 + [False] * 100
WORSE = [False] * 60 + RIGHT[60:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline, a run that passes and one that fails, under a name that no console but UTF-8 can show."""
    folder = tmp_path_factory.mktemp("ε✓ü")
    for name, fgsm in (("same", RIGHT), ("worse", WORSE)):
        store_with(folder / name, {("baseline", 0): {"clean": RIGHT, "fgsm": fgsm}, ("lpc", 0): {"clean": RIGHT}})
    arguments = ["baseline", "write", "--baseline", folder / "b.json", "--results", folder / "same"]
    assert invoke([str(argument) for argument in arguments]) == 0
    return folder


def start(
    folder: Path, *arguments: str, shell: str = "", command: Sequence[str] = ("-m", "bench"), **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """``bench`` in a process of its own, as of a shell with this environment."""
    settings = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", **environment}
    if shell:
        return subprocess.run(["bash", "-c", shell], cwd=folder, env=settings, capture_output=True, check=False)
    return subprocess.run(
        [sys.executable, *command, *arguments], cwd=folder, env=settings, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    ("encoding", "results", "code", "word"),
    [("ascii", "worse", 1, "FAIL"), ("cp1252", "same", 0, "PASS"), ("cp932", "worse", 1, "FAIL")],
)
def test_a_check_says_the_same_in_every_encoding(
    folder: Path, encoding: str, results: str, code: int, word: str
) -> None:
    found = start(folder, "check", "--baseline", "b.json", "--results", results, PYTHONIOENCODING=encoding)
    assert found.returncode == code, found.stderr
    assert word in found.stdout.decode(encoding)
    assert b"Traceback" not in found.stderr


COMMANDS = {
    "help": (0, "run", "--help"),
    "usage": (2, "check", "--baseline", "ε✓", "--unknown"),
    "mistake": (2, "show", "ε✓", "--results", "same"),
    "list": (0, "list", "variants"),
    "leaderboard": (0, "leaderboard", "--results", "same"),
    "show": (0, "show", "tiny:baseline", "--results", "same"),
    "compare": (0, "compare", "--results", "same"),
    "export": (0, "export", "tiny:baseline", "--results", "same", "--format", "huggingface"),
    "baseline": (0, "baseline", "show", "--baseline", "b.json", "--json"),
}


#: Runs each command as ``python -m bench`` does, and writes between them which one follows and how it ended.
ALL_COMMANDS = """
import json, sys
from bench.cli import invoke
from bench.runtime.console import flush, harden

harden()
for command in json.loads(sys.argv[1]):
    code = invoke(command)
    for stream in (sys.stdout, sys.stderr):
        print(f"===={code}", file=stream)
flush()
"""


def test_every_kind_of_command_survives_ascii(folder: Path) -> None:
    """All in one process, as each costs its imports."""
    commands = json.dumps([arguments for _, *arguments in COMMANDS.values()])
    found = start(folder, command=["-c", ALL_COMMANDS, commands], PYTHONIOENCODING="ascii", LANG="C", PYTHONUTF8="0")
    assert found.returncode == 0, found.stderr
    parts = [re.split("====([0-9]+)\n", stream.decode("ascii")) for stream in (found.stdout, found.stderr)]
    for stream in parts:
        assert [int(code) for code in stream[1::2]] == [code for code, *_ in COMMANDS.values()]
        assert not any("Traceback" in text for text in stream)
    for (code, *arguments), out, err in zip(COMMANDS.values(), parts[0][::2], parts[1][::2], strict=False):
        assert err if code else out, arguments


@pytest.mark.parametrize(
    ("end", "results", "code"),
    [
        ("| head -0", "same", 0),
        ("> /dev/full", "worse", 1),
        (">&-", "same", 0),
        (">&- 2>&-", "worse", 1),
        ("2>&1 | head -1", "worse", 1),
    ],
)
def test_a_reader_that_goes_away_changes_no_exit_code(folder: Path, results: str, code: int, end: str) -> None:
    if "/dev/full" in end and not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    command = f"{sys.executable} -m bench check --baseline b.json --results {results} {end}; exit ${{PIPESTATUS[0]}}"
    found = start(folder, shell=command)
    assert found.returncode == code
    assert b"Traceback" not in found.stderr
    assert b"BrokenPipe" not in found.stderr


def test_messages_without_stderr_are_no_part_of_the_output(folder: Path) -> None:
    """A closed descriptor would be given to the next file, and print() without a stream writes to stdout."""
    code = "import os, sys; from bench.runtime.console import harden, say; harden(); say('message'); print('output')"
    code += "; file = open('written', 'wb'); os.write(2, b'message'); file.close()"
    found = start(folder, shell=f'{sys.executable} -c "{code}" 2>&-')
    assert (found.returncode, found.stdout) == (0, b"output\n")
    assert (folder / "written").read_bytes() == b""


def test_reports_are_utf8_on_every_console(folder: Path, tmp_path: Path) -> None:
    junit, page = tmp_path / "ü.xml", tmp_path / "page.md"
    arguments = ["check", "--baseline", "b.json", "--results", "worse", "--junit", str(junit), "--summary", str(page)]
    start(folder, *arguments, PYTHONIOENCODING="ascii", LANG="C", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert "✗ FAIL" in page.read_text(encoding="utf-8")
    assert "encoding='utf-8'" in junit.read_text(encoding="utf-8").lower().replace('"', "'")


def test_signs_are_spelt_in_ascii() -> None:
    assert plain("ε ≤ 8/255: ✓", "ascii") == "eps <= 8/255: +"
    assert plain("ε ü ✓", "cp1252") == "eps ü +"
    assert plain("Müller, 10⁻⁴, 日, \udcff", "ascii") == "Muller, 10-4, ?, \\xff"
    assert all(spelling.isascii() for spelling in ASCII.values())
