"""Versions that do not fit are named in one sentence, where they are first needed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.cli import invoke
from bench.core.errors import BenchError
from bench.runtime import versions

ROOT = Path(__file__).parents[2]
Install = Callable[..., None]
BROKEN = "raise RuntimeError('operator torchvision::nms does not exist')\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package of any version before the installed ones."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(name: str, release: str, /, *needed: str, **files: str) -> None:
        metadata = tmp_path / f"{name}-{release}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        needs = "".join(f"Requires-Dist: {text}\n" for text in needed)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n{needs}", encoding="utf-8")
        for stem, content in files.items():
            path = tmp_path / name / f"{stem}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, encoding="utf-8")
        versions._problems.cache_clear()

    yield add
    versions._problems.cache_clear()


def test_the_installed_versions_fit() -> None:
    versions.check_versions(*versions.requirements())
    assert versions.torch_misfits() == []


def test_a_version_below_the_range(install: Install) -> None:
    install("numpy", "1.20.3")
    with pytest.raises(BenchError, match=r"numpy 1\.20\.3 is installed.*numpy>=.*pip install --upgrade 'numpy>="):
        versions.check_versions("pandas", "numpy")


def test_an_excluded_version_and_a_local_or_development_one(install: Install) -> None:
    install("torch", "2.13.0+cpu")
    with pytest.raises(BenchError, match=r"torch 2\.13\.0\+cpu is installed, but this program needs torch>=.*!=2\.13"):
        versions.check_versions("torch")
    assert versions.out_of_range(versions.requirements()["torch"])
    for fine in ("99.0.0.dev20260101+cu132", "99.0+cpu"):
        assert versions.requirements()["torch"].specifier.contains(fine, prereleases=True)


def test_torchvision_for_another_torch(install: Install) -> None:
    install("torch", "2.7.1")
    install("torchvision", "0.21.0", "numpy", "torch (==2.6.0)", "pillow (!=8.3.*,>=5.3.0)", "odd (>=1.*)")
    with pytest.raises(
        BenchError, match=r"torchvision 0\.21\.0 is built for torch==2\.6\.0, but torch 2\.7\.1 is inst"
    ):
        versions.check_versions(*versions.TORCH_FAMILY)
    install("torchvision", "0.22.1", "torch==2.7.1")


@pytest.mark.parametrize(
    ("torch_cuda", "label", "sentence"),
    [
        ("None", "+cu124", "built for CUDA, but torch 99.0 is built without CUDA"),
        ("'11.8'", "+cu126", "built for CUDA, but torch 99.0 is built for CUDA 11.8"),
        ("'12.4'", "+cu126", ""),
        ("'12.4'", "+cpu", ""),
        ("None", "+cpu", ""),
        ("None", "", ""),
    ],
)
def test_builds_for_cuda(torch_cuda: str, label: str, sentence: str, install: Install) -> None:
    install("torch", "99.0", version=f"__version__ = '99.0'\ncuda: Optional[str] = {torch_cuda}\n", __init__="")
    install("torchvision", "99.0", version=f"__version__ = '99.0{label}'\ngit_version = 'a'\n", __init__="")
    # torch is imported already, so that its place is looked up again
    with pytest.MonkeyPatch.context() as patch:
        for name in ("torch", "torchvision"):
            patch.delitem(sys.modules, name, raising=False)
        found = versions.torch_misfits()
    assert (sentence in found[0]) if sentence else found == []


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An import error of a required library is one sentence; that of another module is not hidden."""
    error = ModuleNotFoundError("No module named 'cv2'", name="cv2.nothing")
    assert versions.import_problem(error).startswith("opencv-python-headless 5") or "cannot be imported" in (
        versions.import_problem(error)
    )
    monkeypatch.setattr(versions, "installed_version", lambda name: None)
    assert versions.import_problem(error).startswith("opencv-python-headless is not installed; run: python -m pip")
    assert versions.import_problem(ImportError("x", name="packaging")).startswith("packaging is not installed")
    assert versions.import_problem(ImportError("x", name="bench.models")) == ""

    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'timm'", name="timm")

    monkeypatch.setattr("bench.models.registry._in_timm", fail)
    assert invoke(["run", "--models", "resnet18", "--results", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: timm is not installed; run: python -m pip install")


def test_every_entry_point_names_the_versions(install: Install, tmp_path: Path) -> None:
    """The command line and the Python API, in a process that has not imported torchvision yet."""
    install("torchvision", "0.21.0", "torch==1.13.1", __init__=BROKEN)
    checkpoint = tmp_path / "net.pth"
    checkpoint.write_bytes(b"none")
    code = f"""
from bench.cli import invoke
print(invoke(["list", "models", "resnet18"]))
print(invoke(["run", "--models", "resnet18", "--results", "new"]))
print(invoke(["evaluate", {str(checkpoint)!r}, "--model", "resnet18", "--dataset", "digits", "--results", "new"]))
for name in ("bench.api", "bench.external.load_file", "bench.training.train", "bench.evaluation.evaluate"):
    try:
        __import__(name)
    except Exception as error:
        print(type(error).__name__, str(error)[:40])
"""
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    expected = "torchvision 0.21.0 is built for torch==1.13.1, but torch"
    assert shown.stdout.splitlines() == ["2"] * 3 + [f"BenchError {expected[:40]}"] * 4, shown.stderr
    assert [line.startswith(f"error: {expected}") for line in shown.stderr.splitlines()] == [True] * 3
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("error", "arguments"),
    [("ModuleNotFoundError('No module', name='click')", ["list", "models"]), ("RuntimeError('damaged')", ["doctor"])],
)
def test_a_machine_without_click(error: str, arguments: list[str], tmp_path: Path) -> None:
    """The library reads the command line. Without it, the doctor runs, and all other commands are one sentence."""
    (tmp_path / "click").mkdir()
    (tmp_path / "click/__init__.py").write_text(f"raise {error}\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    if arguments == ["doctor"]:
        assert (done.returncode, done.stderr) == (1, "")
        (line,) = (line for line in done.stdout.splitlines() if line.split()[:2] == ["fail", "click"])
        assert line.endswith("its import fails: RuntimeError: damaged")
    else:
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: click ")
        assert done.stderr.count("\n") == 1
