"""Constraints of the lowest versions come from pyproject.toml, and fit its ranges."""

from __future__ import annotations

from pathlib import Path

import lowest_versions
import pytest
from packaging.requirements import Requirement

from bench.runtime.versions import requirements


def test_every_required_library_has_its_lower_bound() -> None:
    pins = {pin.name: pin for pin in map(Requirement, lowest_versions.lowest_versions())}
    assert pins.keys() == requirements().keys()
    for name, needed in requirements().items():
        (pinned,) = pins[name].specifier
        assert needed.specifier.contains(pinned.version)
        assert f">={pinned.version}" in {str(part) for part in needed.specifier}


@pytest.mark.parametrize("text", ["numpy", "numpy<3", "numpy==2.0", "numpy>1"])
def test_a_library_without_a_lower_bound(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[project]\ndependencies = ["click>=8.1", "{text}"]')
    with pytest.raises(ValueError, match="has no lower bound"):
        lowest_versions.lowest_versions(tmp_path / "pyproject.toml")


def test_exclusions_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch>=2.6,!=2.13.*"]')
    assert lowest_versions.lowest_versions(tmp_path / "pyproject.toml") == ["torch==2.6"]
