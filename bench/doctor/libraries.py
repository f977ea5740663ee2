"""Check Python and the libraries: versions, fit, and whether they can be imported."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

from bench.doctor.check import Check, judged, passed
from bench.doctor.probe import Probe, probe
from bench.runtime.versions import (
    install_command,
    installed_version,
    module_of,
    needs,
    out_of_range,
    required_python,
    requirements,
    torch_cuda,
    torch_misfits,
    torchvision_build,
)

OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


def library_checks() -> Iterator[Check]:
    """Yield the checks of Python, of every library that this program needs, and of their combinations."""
    yield _python()
    found = probe(tuple(map(module_of, _import_order())))
    for name in requirements():
        yield _library(name, found)
    if found.ended:
        untried = f" {', '.join(found.untried)} could not be tried after it." if found.untried else ""
        yield Check(
            "imports",
            "fail",
            f"{found.unfinished}: {found.ended}",
            f"reinstall it: python -m pip install --force-reinstall {found.unfinished}.{untried}",
        )
    yield _torch_pair()
    yield _other_requirements()
    yield from _opencv()


def probe_of_libraries() -> Probe:
    """Return the probe that the checks of libraries made, with the devices of torch."""
    return probe(tuple(map(module_of, _import_order())))


def _import_order() -> list[str]:
    """Return the libraries, those without torch first."""
    late = ("torch", "torchvision", "timm", "foolbox", "pyautoattack")
    return [*(name for name in requirements() if name not in late), *(name for name in late if name in requirements())]


def _python() -> Check:
    from packaging.specifiers import SpecifierSet

    version, wanted = platform.python_version(), required_python()
    fits = SpecifierSet(wanted).contains(version, prereleases=True)
    return judged("Python", version, fail="" if fits else f"this program needs Python {wanted}; install it.")


def _library(name: str, found: Probe) -> Check:
    version = installed_version(name)
    if version is None:
        return Check(name, "fail", "not installed", f"run: {install_command(name)}")
    outside = out_of_range(requirements()[name])
    if outside:
        return Check(name, "fail", f"{version}, needs {requirements()[name].specifier}", outside)
    error = found.errors.get(module_of(name), "")
    if error:
        reason = (torch_misfits() or [""])[0] if name in ("torchvision", "timm") else ""
        advice = reason or f"run: python -m pip install --force-reinstall '{name}=={version}'"
        return Check(name, "fail", f"{version}, but its import fails: {error}", advice)
    return passed(name, version)


def _torch_pair() -> Check:
    torch, torchvision = installed_version("torch"), installed_version("torchvision")
    problems = torch_misfits()
    cuda, label = torch_cuda(), torchvision_build()
    builds = (
        f"torch {torch} ({f'CUDA {cuda}' if cuda else 'no CUDA'}), torchvision {torchvision} ({label or 'unnamed'})"
    )
    if torch is None or torchvision is None:
        return Check("torch and torchvision", "fail", builds, f"run: {install_command('torch', 'torchvision')}")
    warn = ""
    if cuda and label == "cpu":
        warn = "torchvision is built without CUDA, so that its operators do not run on the GPU; install its CUDA build."
    return judged("torch and torchvision", builds, fail=problems[0] if problems else "", warn=warn)


def _other_requirements() -> Check:
    """Check, as ``pip check`` does, what the libraries need of each other."""
    problems = []
    for name in requirements():
        for needed in needs(name) if installed_version(name) else ():
            version = installed_version(needed.name)
            if version is None or not needed.specifier.contains(version, prereleases=True):
                problems.append(f"{name} needs {needed}, found {version or 'none'}")
    found = "; ".join(problems) or "they fit each other"
    return judged("requirements of libraries", found, warn="run: python -m pip check" if problems else "")


def _opencv() -> Iterator[Check]:
    """Check that packages which all install the module cv2 have one version."""
    versions = {name: version for name in OPENCV if (version := installed_version(name))}
    if len(set(versions.values())) > 1:
        found = ", ".join(f"{name} {version}" for name, version in versions.items())
        others = " ".join(name for name in versions if name != OPENCV[0])
        advice = f"they overwrite each other; run: python -m pip uninstall {others}, and then reinstall {OPENCV[0]}"
        yield Check("OpenCV", "warn", found, advice)


def duplicate_installs() -> Iterator[Check]:
    """Yield a warning for every library that is installed twice on the search path."""
    for name in requirements():
        found = {str(item.version) for item in metadata.distributions(name=name)}
        if len(found) > 1:
            advice = f"the first folder of sys.path wins; uninstall the others: python -m pip uninstall {name}"
            yield Check(f"{name} twice", "warn", f"versions {', '.join(sorted(found))} are installed", advice)
