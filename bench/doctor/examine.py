"""Run all checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.doctor.check import Check, guarded
from bench.doctor.devices import device_checks
from bench.doctor.folders import folder_checks
from bench.doctor.libraries import duplicate_installs, library_checks
from bench.doctor.names import name_checks
from bench.doctor.process import process_checks


def examine(results: Path) -> Iterator[Check]:
    """Yield all checks, area by area. ``results`` is the results folder, which need not exist."""
    yield from guarded("libraries", library_checks)
    yield from guarded("installations", duplicate_installs)
    yield from guarded("devices", device_checks)
    yield from guarded("module names", name_checks)
    yield from guarded("folders", lambda: folder_checks(results))
    yield from guarded("process", process_checks)
