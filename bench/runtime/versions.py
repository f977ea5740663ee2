"""Compare the versions of installed libraries with the ranges in pyproject.toml, and torchvision with torch.

The versions are read from the metadata of the installed packages. No library is imported.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import re
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import BenchError, first_line

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "collapse-bench"
#: Modules of the libraries whose module has another name than the library.
MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL", "scikit-learn": "sklearn"}
TORCH_FAMILY = ("torch", "torchvision", "timm")
_CUDA = re.compile(r"^cuda\b[^=]*= *'(?P<version>[^']+)'", re.MULTILINE)
_LABEL = re.compile(r"^__version__ *= *'[^'+]*\+(?P<label>[^']+)'", re.MULTILINE)


def check_versions(*names: str) -> None:
    """Check the installed libraries ``names``. A library that is not installed is left to its import.

    Raises BenchError, with both versions and the command that repairs them, if a version is outside the range of
    pyproject.toml, or if torchvision does not fit torch.
    """
    problems = _problems(names)
    if problems:
        raise BenchError(problems[0])


@functools.cache
def _problems(names: tuple[str, ...]) -> list[str]:
    problems = [problem for name in names if (problem := out_of_range(requirements()[name]))]
    return problems + (torch_misfits() if "torchvision" in names else [])


@functools.cache
def requirements() -> dict[str, Requirement]:
    """Return the required libraries by name: of pyproject.toml in a checkout, of the installed metadata elsewhere."""
    from packaging.requirements import Requirement

    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    texts: Iterable[str]
    if project.is_file():
        texts = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        texts = metadata.requires(DISTRIBUTION) or ()
    return {found.name: found for found in map(Requirement, texts) if _is_needed(found)}


def module_of(library: str) -> str:
    """Return the name under which a library is imported."""
    return MODULES.get(library, library.replace("-", "_"))


def required_python() -> str:
    """Return the range of Python versions, such as ``>=3.11``."""
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if project.is_file():
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["requires-python"])
    return str(metadata.metadata(DISTRIBUTION)["Requires-Python"])


def installed_version(name: str) -> str | None:
    """Return the version of an installed library; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def out_of_range(requirement: Requirement) -> str:
    """Return a sentence if the installed version is outside the range, else an empty text."""
    found = installed_version(requirement.name)
    if found is None or requirement.specifier.contains(found, prereleases=True):
        return ""
    return (
        f"{requirement.name} {found} is installed, but this program needs {_text(requirement)}; run: "
        f"{install_command(requirement.name)}"
    )


def install_command(*names: str) -> str:
    """Return the command that installs the libraries ``names`` in the versions that this program needs."""
    return "python -m pip install --upgrade " + " ".join(f"'{_text(requirements()[name])}'" for name in names)


def import_problem(error: ImportError) -> str:
    """Return a sentence if ``error`` says that a required library cannot be imported, else an empty text."""
    module = (error.name or "").partition(".")[0]
    if module == "packaging":  # without it no range can be read
        return "packaging is not installed; run: python -m pip install packaging"
    library = next((name for name in requirements() if module_of(name) == module), None)
    if library is None:
        return ""
    version = installed_version(library)
    if version is None:
        return f"{library} is not installed; run: {install_command(library)}"
    problem = out_of_range(requirements()[library])
    return problem or f"{library} {version} cannot be imported ({first_line(error)}); 'bench doctor' shows the reason."


def torch_misfits() -> list[str]:
    """Return one sentence per reason why the installed torchvision cannot be imported beside the installed torch.

    torchvision declares the versions of torch for which it is built. Its operators are missing, or it refuses to be
    imported, if it was built for CUDA and torch was built without CUDA or for another major version of CUDA.
    """
    torch, torchvision = installed_version("torch"), installed_version("torchvision")
    if torch is None or torchvision is None:
        return []
    repair = install_command("torch", "torchvision")
    problems = [
        f"torchvision {torchvision} is built for {_text(needed)}, but torch {torch} is installed; run: {repair}"
        for needed in needs("torchvision")
        if needed.name == "torch" and not needed.specifier.contains(torch, prereleases=True)
    ]
    built, vision = torch_cuda(), torchvision_build()
    if vision.startswith("cu") and built is not None and vision[2:-1] != built.partition(".")[0]:
        other = f"for CUDA {built}" if built else "without CUDA"
        problems.append(
            f"torchvision {torchvision}+{vision} is built for CUDA, but torch {torch} is built {other}; run: "
            f"{repair} --force-reinstall, with both from the same package index"
        )
    return problems


def needs(name: str) -> list[Requirement]:
    """Return the requirements of an installed library that hold here, without those of its extras.

    A requirement in a form from before PEP 440 cannot be read, and is left out.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    for text in metadata.requires(name) or ():
        with contextlib.suppress(InvalidRequirement):
            found.append(Requirement(text))
    return [requirement for requirement in found if _is_needed(requirement)]


def torch_cuda() -> str | None:
    """Return the CUDA version for which torch is built, empty for a build without CUDA; None if unknown."""
    text = _version_file("torch")
    if text is None or "cuda" not in text:
        return None
    found = _CUDA.search(text)
    return found["version"] if found else ""


def torchvision_build() -> str:
    """Return the label of the build of torchvision, such as ``cu132`` or ``cpu``; empty if it has none."""
    found = _LABEL.search(_version_file("torchvision") or "")
    return found["label"] if found else ""


def _version_file(module: str) -> str | None:
    """Return the text of ``version.py`` of a package, which is not imported; None if there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "version.py"
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
    return None


def _is_needed(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _text(requirement: Requirement) -> str:
    """Return the name and the range, lower bound first."""
    parts = sorted(map(str, requirement.specifier), key=lambda part: (not part.startswith(">"), part))
    return requirement.name + ",".join(parts)
