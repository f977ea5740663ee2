"""Installed beside other people's code: projects with their own ``models``, ``attacks`` and ``tests``.

Every project runs the same three lines against the wheel or an editable install, far from the checkout.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("bench", "models", "attacks", "pyproject.toml", "README.md", "LICENSE")
NET = "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10))\n"
OPTIONS = 'dataset="digits", attacks="fgsm", eps="0.1", corruptions="none", audit="none", limit=20'
SCRIPT = f"""from {{package}} import net
from bench.api import evaluate
print(evaluate(net(), name="own", {OPTIONS}).status.tolist())
"""
TEST = f"""import pytest
from {{package}} import net
@pytest.mark.robustness("own.json", tolerance={{{{"clean": 100, "fgsm": 100}}}})
def test_own(robustness):
    robustness(net(), {OPTIONS})
"""


def install(folder: Path, *what: str) -> Path:
    """Install into a fresh environment that borrows the dependencies of this one; return its ``bin`` folder."""
    venv.create(folder)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    if what:
        subprocess.run([*pip, "install", "-q", "--no-deps", *what], check=True, capture_output=True)
    site = next(folder.glob("lib/python*/site-packages"))
    # the folder itself, not the installation of this project in it
    (site / "dependencies.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n", encoding="utf-8")
    return folder / "bin"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare checkout: links are kept, nothing is built."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(sources)]
    subprocess.run(build, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def from_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("wheel") / "venv", "--no-index", str(wheel))


@pytest.fixture(scope="module")
def editable(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("editable") / "venv", "-e", str(sources))


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    return subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False, env={**clean, **environment}
    )


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def assert_measured(found: subprocess.CompletedProcess[str]) -> None:
    assert "['ok', 'ok']" in found.stdout, found.stdout + found.stderr


def test_the_wheel_brings_one_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"bench"}
    wanted = ("compare/robustbench.csv", "compare/lpc_published.csv", "models/heads.py", "attacks/pgd_attack.py")
    assert {f"bench/{name}" for name in wanted} <= set(names)
    assert len(names) == len(set(names))


def files_of(environment: Path) -> set[str]:
    return {str(path.relative_to(environment)) for path in environment.rglob("*")}


def test_uninstalling_leaves_nothing(wheel: Path, tmp_path: Path) -> None:
    """``pip check`` finds nothing wrong, and ``pip uninstall`` removes every file, also those that a call compiled."""
    environment = tmp_path / "venv"
    python = install(environment) / "python"
    before = files_of(environment)
    pip = (sys.executable, "-m", "pip", "--python", python)
    assert run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path).returncode == 0
    assert "bench, version" in run(environment / "bin" / "bench", "--version", cwd=tmp_path).stdout
    checked = run(*pip, "check", cwd=tmp_path)
    assert checked.stdout.strip() == "No broken requirements found.", checked.stdout + checked.stderr
    assert files_of(environment) > before
    assert run(*pip, "uninstall", "--yes", "collapse-bench", cwd=tmp_path).returncode == 0
    assert files_of(environment) == before


@pytest.mark.slow
def test_a_machine_without_git(from_wheel: Path, tmp_path: Path) -> None:
    """The wheel measures and checks itself where no program but Python is on the path; no revision is recorded."""
    write(tmp_path / "nets.py", NET)
    text = SCRIPT.format(package="nets").replace("limit=20", 'limit=20, results="out"')
    write(tmp_path / "use.py", text)
    assert_measured(run(from_wheel / "python", "use.py", cwd=tmp_path, PATH=str(tmp_path)))
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        assert {row["git_sha"] for row in csv.DictReader(file)} == {""}
    reference = run(
        from_wheel / "python", "-c", "import bench.attacks.reference.fgsm", cwd=tmp_path, PATH=str(tmp_path)
    )
    assert reference.returncode == 0, reference.stderr
    found = run(from_wheel / "python", "-m", "bench", "doctor", "--results", "out", cwd=tmp_path, PATH=str(tmp_path))
    assert found.returncode == 0, found.stdout + found.stderr
    assert "bench is" in found.stdout


@pytest.mark.parametrize("init", ["models/__init__.py", pytest.param(None, marks=pytest.mark.slow)])
def test_a_project_with_its_own_packages(init: str | None, from_wheel: Path, tmp_path: Path) -> None:
    """Packages beside the script, with and without ``__init__.py``; the command line works there, too."""
    write(tmp_path / "models" / "nets.py", NET)
    write(tmp_path / "attacks" / "pgd.py", "raise ImportError('not the project that was asked for')")
    if init:
        write(tmp_path / init)
        write(tmp_path / "attacks" / "__init__.py", "raise ImportError('not the project that was asked for')")
    write(tmp_path / "use.py", SCRIPT.format(package="models.nets"))
    assert_measured(run(from_wheel / "python", "use.py", cwd=tmp_path))
    shown = run(from_wheel / "python", "-m", "bench", "list", "models", "resnet18", cwd=tmp_path)
    assert "resnet18 " in shown.stdout, shown.stderr


@pytest.mark.slow
def test_a_script_beside_flat_modules(from_wheel: Path, tmp_path: Path) -> None:
    write(tmp_path / "models.py", NET)
    write(tmp_path / "attacks.py", "raise ImportError('not the project that was asked for')")
    write(tmp_path / "use.py", SCRIPT.format(package="models"))
    assert_measured(run(from_wheel / "python", tmp_path / "use.py", cwd=tmp_path.parent))


@pytest.mark.slow
def test_a_src_layout(from_wheel: Path, tmp_path: Path) -> None:
    write(tmp_path / "src" / "models" / "__init__.py", NET)
    write(tmp_path / "scripts" / "use.py", SCRIPT.format(package="models"))
    found = run(from_wheel / "python", "scripts/use.py", cwd=tmp_path, PYTHONPATH=str(tmp_path / "src"))
    assert_measured(found)


@pytest.mark.slow
def test_a_notebook(from_wheel: Path, tmp_path: Path) -> None:
    write(tmp_path / "models.py", NET)
    write(
        tmp_path / "kernel" / "kernels" / "own" / "kernel.json",
        json.dumps(
            {
                "argv": [str(from_wheel / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": "own",
                "language": "python",
            }
        ),
    )
    cells = [nbformat.v4.new_code_cell(SCRIPT.format(package="models"))]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(tmp_path / "kernel"))
        patch.delenv("PYTHONPATH", raising=False)
        client = nbclient.NotebookClient(
            notebook, timeout=300, kernel_name="own", resources={"metadata": {"path": str(tmp_path)}}
        )
        client.execute()
    assert any("['ok', 'ok']" in str(output) for output in notebook.cells[0].outputs)


@pytest.mark.slow
@pytest.mark.parametrize("rootdir", [".", "elsewhere"])
def test_the_pytest_plugin_in_a_project_with_its_own_models(rootdir: str, from_wheel: Path, tmp_path: Path) -> None:
    write(tmp_path / "project" / "models" / "__init__.py", NET)
    write(tmp_path / "project" / "conftest.py")
    write(tmp_path / "project" / "tests" / "__init__.py")
    write(tmp_path / "project" / "tests" / "test_own.py", TEST.format(package="models"))
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / ("project" if rootdir == "." else rootdir)
    command = (from_wheel / "python", "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={root}", "project/tests")
    written = run(*command, "--robustness-update", cwd=tmp_path)
    assert "1 skipped" in written.stdout, written.stdout + written.stderr


@pytest.mark.slow
def test_an_editable_install(editable: Path, sources: Path, tmp_path: Path) -> None:
    write(tmp_path / "models" / "__init__.py", NET)
    write(tmp_path / "use.py", SCRIPT.format(package="models") + "import bench.models\nprint(bench.models.__file__)")
    found = run(editable / "python", "use.py", cwd=tmp_path)
    assert_measured(found)
    assert str(sources) in found.stdout


def test_a_bare_checkout(sources: Path) -> None:
    shown = run(sys.executable, "-m", "bench", "list", "models", "resnet18", cwd=sources)
    assert "resnet18 " in shown.stdout, shown.stderr
