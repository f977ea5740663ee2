"""``bench doctor``: check the installation and the machine. Imports no library but click."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from bench.cli.config_options import config_options
from bench.cli.group import cli
from bench.cli.options import json_option
from bench.config import RunConfig
from bench.core.vocabulary import Exit
from bench.doctor.check import as_text
from bench.doctor.examine import examine


@cli.command(
    "doctor",
    examples=(
        "bench doctor",
        "bench doctor --results /scratch/results --json",
    ),
)
@config_options(RunConfig, only=("results",))
@json_option
def doctor_command(*, results: Path, as_json: bool) -> int:
    """Check the installation and the machine: versions, devices, folders, names, encodings and clock.

    Every check prints pass, warn or fail, and what to do. The exit code is 1 if a check failed.
    """
    checks = list(examine(results))
    click.echo(json.dumps([asdict(check) for check in checks], indent=2) if as_json else as_text(checks))
    return Exit.NOT_VERIFIED if any(check.status == "fail" for check in checks) else Exit.OK
