"""``bench doctor``: every check passes here, and each one notices what it is for."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.doctor import devices, examine, folders, libraries, names, process
from bench.doctor.check import Check, as_text, guarded, judged
from bench.doctor.probe import Probe, probe

ROOT = Path(__file__).parents[2]


def one(checks: Any, name: str) -> Check:
    (found,) = [check for check in checks if check.name == name]
    assert isinstance(found, Check)
    return found


@pytest.mark.parametrize("imported", [("numpy", "torch"), pytest.param(None, marks=pytest.mark.slow)])
def test_this_machine_can_run_it(
    imported: tuple[str, ...] | None, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No check fails. Warnings depend on the machine. Nothing is left behind in the results folder."""
    if imported:  # the others take long to import
        monkeypatch.setattr(libraries, "_import_order", lambda: imported)
    found = bench("doctor", "--results", tmp_path / "new", "--json")
    checks = {check["name"]: check for check in found.json}
    assert [check for check in found.json if check["status"] == "fail"] == []
    assert found.code == 0
    assert {"Python", "torch", "torch and torchvision", "CUDA", "results folder", "encoding", "clock"} <= set(checks)
    assert all(bool(check["advice"]) == (check["status"] != "pass") for check in found.json)
    assert list(tmp_path.iterdir()) == []


def test_a_torch_that_cannot_be_imported(tmp_path: Path) -> None:
    """The command line works without torch, says so, and exits with 1. A crash of a library does not end it."""
    (tmp_path / "lib" / "torch").mkdir(parents=True)
    (tmp_path / "lib" / "torch" / "__init__.py").write_text("raise OSError('libcudart.so.13: cannot open')")
    (tmp_path / "lib" / "timm.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'lib'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "bench", "doctor", "--results", "new", "--json"]
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    checks = {check["name"]: check for check in json.loads(shown.stdout)}
    assert shown.returncode == 1, shown.stderr
    assert "OSError: libcudart.so.13: cannot open" in checks["torch"]["found"]
    assert "timm: the process was ended by SIGILL" in checks["imports"]["found"]
    assert "torch cannot be imported" in checks["devices"]["found"]
    assert f"{tmp_path / 'lib'} has timm, torch" in checks["hidden libraries"]["found"]
    assert checks["numpy"]["status"] == "pass"


def test_the_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prints_and_fails.py").write_text("print('noise', end='')\nraise ValueError('first\\nsecond')")
    (tmp_path / "leaves.py").write_text("import os\nos._exit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    assert probe(("json", "prints_and_fails")) == Probe({"json": "", "prints_and_fails": "ValueError: first"})
    expected = Probe({}, None, "the process ended with exit code 3", "leaves", ("json",))
    assert probe(("leaves", "json")) == expected
    monkeypatch.setattr("bench.doctor.probe.TIMEOUT_S", 1)
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(60)")
    assert probe(("hangs",)).ended == "it did not finish within 1 s"


def test_versions_and_imports_of_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, outside of the range, and broken libraries fail, each with a command."""
    given: dict[str, str | None] = {"numpy": "1.0", "scipy": None}
    real = libraries.installed_version
    for module in (libraries, sys.modules["bench.runtime.versions"]):
        monkeypatch.setattr(module, "installed_version", lambda name: given.get(name, real(name)))
    monkeypatch.setattr(libraries, "probe", lambda modules: Probe({"PIL": "ImportError: libjpeg"}))
    monkeypatch.setattr(libraries.platform, "python_version", lambda: "3.9.1")
    checks = list(libraries.library_checks())
    assert {check.name for check in checks if check.status == "fail"} == {"Python", "numpy", "scipy", "pillow"}
    assert "python -m pip install --upgrade 'numpy>=" in one(checks, "numpy").advice
    assert one(checks, "scipy").found == "not installed"
    assert "ImportError: libjpeg" in one(checks, "pillow").found
    assert "needs scipy" in one(checks, "requirements of libraries").found


def test_threads_and_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, Any] = {"threads": 8, "built": "12.4", "cuda": [], "error": "", "mps": False}
    monkeypatch.setattr(devices, "probe_of_libraries", lambda: Probe({}, given))
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda pid: range(8), raising=False)
    monkeypatch.setattr(devices, "CGROUP", tmp_path / "cpu.max")
    monkeypatch.setattr(devices.shutil, "which", lambda name: None)
    assert {check.status for check in devices.device_checks()} == {"pass"}
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert "OMP_NUM_THREADS=2" in one(devices.device_checks(), "processor").advice
    monkeypatch.setattr(devices.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert one(devices.device_checks(), "CUDA").status == "warn"
    given |= {"cuda": ["H100"], "error": "no kernel image is available"}
    assert one(devices.device_checks(), "CUDA") == Check(
        "CUDA", "fail", "H100: no kernel image is available", one(devices.device_checks(), "CUDA").advice
    )


@pytest.mark.parametrize("kind", ["file", "read-only", "dangling link"])
def test_a_results_folder_that_cannot_be_written(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "results"
    if kind == "file":
        folder.write_text("")
    elif kind == "dangling link":
        folder.symlink_to(tmp_path / "nothing")
    else:
        folder.mkdir()
        monkeypatch.setattr(folders.tempfile, "TemporaryDirectory", _denied)
    check = next(iter(folders.folder_checks(folder)))
    assert (check.name, check.status) == ("results folder", "fail")
    assert "--results" in check.advice


def _denied(**_: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_free_space_and_the_clock_of_the_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = 50 * folders.MIB
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    assert one(folders.folder_checks(tmp_path / "a" / "b"), "results folder").status == "fail"
    free = folders.GIB
    assert one(folders.folder_checks(tmp_path), "results folder").status == "warn"
    real = folders.time.time
    for ahead, status in ((0.0, "pass"), (10.0, "warn"), (-10.0, "warn"), (3600.0, "fail"), (-3600.0, "fail")):
        monkeypatch.setattr(folders.time, "time", lambda ahead=ahead: real() + ahead)
        assert one(folders.folder_checks(tmp_path), "clock of the results folder").status == status
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_exclusive_creation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(folders.os, "O_EXCL", 0)
    assert "two processes create the same file" in one(folders.folder_checks(tmp_path), "results folder").advice


def test_names_that_hide_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files of the user with the name of a library, another ``bench``, and two ``models`` beside each other."""
    project = tmp_path / "project"
    (project / "models").mkdir(parents=True)
    (project / "models" / "net.py").write_text("")
    others = [entry for entry in sys.path if not Path(entry or ".").resolve().is_relative_to(ROOT)]
    monkeypatch.setattr(sys, "path", [str(project), *others])
    assert [check.status for check in names.name_checks()] == ["pass"]
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    assert "finds yours" in one(names.name_checks(), "module models").advice
    (project / "cv2.py").write_text("")
    (project / "random").mkdir()
    (project / "random" / "__init__.py").write_text("")
    (project / "bench.py").write_text("")
    checks = list(names.name_checks())
    assert one(checks, "hidden libraries") == Check(
        "hidden libraries", "fail", f"{project.resolve()} has cv2", one(checks, "hidden libraries").advice
    )
    assert one(checks, "hidden modules of Python").found == f"{project.resolve()} has random"
    assert str(project / "bench.py") in one(checks, "module bench").advice
    monkeypatch.setattr(names, "PACKAGE", project)
    assert one(names.name_checks(), "packages of bench").status == "fail"


def test_the_own_console_script_and_the_installed_copy_hide_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scripts, installed, foreign = tmp_path / "bin", tmp_path / "site-packages", tmp_path / "foreign"
    for folder in (scripts, installed / "bench", installed / "collapse_bench-0.1.dist-info", foreign / "bench"):
        folder.mkdir(parents=True)
    (scripts / "bench").write_text("#!/usr/bin/env python3\n")
    for folder in (installed, foreign):
        (folder / "bench" / "__init__.py").write_text("")
    metadata = installed / "collapse_bench-0.1.dist-info"
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: collapse-bench\nVersion: 0.1\n")
    (metadata / "RECORD").write_text("bench/__init__.py,,\n")
    others = [entry for entry in sys.path if not Path(entry or ".").resolve().is_relative_to(ROOT)]
    monkeypatch.setattr(sys, "path", [str(scripts), *others, str(installed)])
    (check,) = names.name_checks()
    assert (check.status, check.advice) == ("pass", "")
    assert f"the installed copy {installed / 'bench'} is not used" in check.found
    monkeypatch.setattr(sys, "path", [*sys.path, str(foreign)])
    assert one(names.name_checks(), "module bench").advice.endswith(f"rename them: {foreign / 'bench'}.")


def test_encodings_clock_and_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = process.RELEASED - datetime.timedelta(days=1)
    assert process.clock(before).status == "fail"
    assert process.clock(process.RELEASED).status == "pass"
    monkeypatch.setattr(process.sys, "getfilesystemencoding", lambda: "ascii")
    assert one(process.process_checks(), "encoding").status == "fail"
    resource = pytest.importorskip("resource")
    for limit, status in ((1024, "pass"), (100, "warn"), (20, "fail"), (resource.RLIM_INFINITY, "pass")):
        monkeypatch.setattr(resource, "getrlimit", lambda what, limit=limit: (limit, 4096))
        assert one(process.process_checks(), "open files").status == status
    monkeypatch.setattr(process, "MEMORY", tmp_path / "meminfo")
    process.MEMORY.write_text("MemTotal: 9 kB\nMemAvailable: 1000 kB\n")
    assert one(process.process_checks(), "memory").status == "warn"
    monkeypatch.setattr(process, "SHARED", tmp_path)
    monkeypatch.setattr(process.shutil, "disk_usage", lambda path: type("Usage", (), {"total": 64 * process.MIB}))
    assert one(process.process_checks(), "shared memory").status == "warn"


def test_a_check_that_fails_itself_is_a_failed_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> list[Check]:
        raise ValueError("odd\nlines")

    def incomplete() -> list[Check]:
        raise ModuleNotFoundError("No module named 'packaging'", name="packaging")

    assert [check.found for check in guarded("area", broken)] == ["ValueError: odd"]
    assert [check.advice for check in guarded("area", incomplete)] == ["run: python -m pip install packaging"]
    for area in ("library_checks", "duplicate_installs", "device_checks", "name_checks"):
        monkeypatch.setattr(examine, area, broken)
    found = list(examine.examine(tmp_path))
    assert [check.status for check in found[:4]] == ["fail"] * 4
    assert one(found, "clock").status == "pass"


def test_the_table() -> None:
    checks = [judged("a", "1"), judged("long name", "2", warn="do it."), judged("b", "3", warn="no", fail="do that.")]
    assert as_text(checks).splitlines() == [
        "pass  a          1",
        "warn  long name  2",
        "                 → do it.",
        "fail  b          3",
        "                 → do that.",
        "",
        "1 passed, 1 with a warning, 1 failed",
    ]
