"""Measure which columns depend on threads, batch size, hash seed and order, and which never do.

    python tools/determinism.py --out DIR            # the whole grid, about ten minutes on one core
    python tools/determinism.py --out DIR --short    # one network and one variation, about twenty seconds

Runs a small grid on the digits (two networks, baseline and LPC; FGSM, PGD, a short ensemble of AutoAttack, two
corruptions, the audit, the diagnosis) in fresh processes under several settings, and compares all tables and the
outcome of every image. Writes DIR/determinism.md. Exits with 1 if a verdict differs where it must not.

Variations on stored weights copy the networks of the first run, and evaluate them again. Training with another number
of threads sums in another order, so that its weights differ by rounding and everything after it may differ: this
variation is shown, and nothing is promised for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from column_differences import ROUNDING, Difference, all_columns, breaks_promise, differences, kind_of
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = """
from torch import nn
from bench.models.registry import ModelEntry, register_model


def network(width):
    def build(*, image_size):
        layers = [nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())

    return build


for name, width in (("narrow", 16), ("wide", 32)):
    register_model(name, ModelEntry(summary="two convolutions", source="determinism", build=network(width)), __file__)
"""


@dataclass(frozen=True)
class Grid:
    """Names of one run, in their order, and its other options."""

    models: Sequence[str]
    variants: Sequence[str]
    attacks: Sequence[str]
    corruptions: Sequence[str]
    options: Sequence[str]

    def arguments(self, *, reverse: bool) -> list[str]:
        """Return the arguments of ``bench run``, with all lists in reverse order if ``reverse``."""
        found = []
        for flag in ("models", "variants", "attacks", "corruptions"):
            names = list(getattr(self, flag))
            found += [f"--{flag}", ",".join(names[::-1] if reverse else names)]
        return [*found, *self.options]


WHOLE = Grid(
    models=("narrow", "wide"),
    variants=("baseline", "lpc"),
    attacks=("fgsm", "pgd", "autoattack-apgd-ce+fab-t+square-i10-s100"),
    corruptions=("gaussian_noise", "fog"),
    options=("--eps", "0.1", "--severities", "1,3", "--limit", "100", "--epochs", "3"),
)
SHORT = Grid(
    models=("narrow",),
    variants=("lpc",),
    attacks=("fgsm", "autoattack-apgd-ce+square-i5-s20"),
    corruptions=("gaussian_noise",),
    options=("--eps", "0.1", "--severities", "3", "--limit", "40", "--epochs", "2", "--no-diagnose"),
)


@dataclass(frozen=True)
class Variation:
    """One setting that differs from the first run."""

    name: str
    threads: int = 1
    hash_seed: int = 0
    batch_size: str = "auto"
    reverse: bool = False
    stored_weights: bool = False
    promised: bool = True


BASE = Variation("first run")
VARIATIONS = (
    Variation("again"),
    Variation("hash seed", hash_seed=12345),
    Variation("order", reverse=True),
    Variation("batch size", batch_size="7", stored_weights=True),
    Variation("2 threads", threads=2, stored_weights=True),
    Variation("2 threads in training", threads=2, promised=False),
)
EVERYTHING = (Variation("all at once", threads=2, hash_seed=1, batch_size="7", reverse=True, stored_weights=True),)


def run(grid: Grid, variation: Variation, folder: Path, plugin: Path) -> None:
    """Run the grid in a fresh process. Raises SystemExit if it fails."""
    command = [sys.executable, "-m", "bench", "run", *grid.arguments(reverse=variation.reverse)]
    command += ["--plugin", str(plugin), "--device", "cpu", "--threads", str(variation.threads)]
    command += ["--batch-size", variation.batch_size, "--results", str(folder)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": str(variation.hash_seed),
        "OMP_NUM_THREADS": str(variation.threads),
    }
    found = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)
    if found.returncode:
        raise SystemExit(f"{variation.name}: exit code {found.returncode}\n{found.stderr}")


def copy_networks(before: Path, after: Path) -> None:
    """Copy the networks of a results folder without its cells, audits, diagnoses and corrupted images."""
    for folder in (before / "runs").iterdir():
        (after / "runs" / folder.name).mkdir(parents=True)
        for name in ("run.json", "weights.safetensors"):
            shutil.copy2(folder / name, after / "runs" / folder.name / name)


def measure(grid: Grid, variations: Sequence[Variation], out: Path) -> dict[str, dict[tuple[str, str], Difference]]:
    """Run the grid under all variations. Return the columns that differ from the first run, by variation."""
    plugin = out / "networks.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    run(grid, BASE, out / "first_run", plugin)
    found = {}
    for variation in variations:
        folder = out / variation.name.replace(" ", "_")
        if variation.stored_weights:
            copy_networks(out / "first_run", folder)
        run(grid, variation, folder, plugin)
        found[variation.name] = differences(out / "first_run", folder)
        click.echo(f"{variation.name}: {len(found[variation.name])} columns differ", err=True)
    return found


def table(found: dict[str, dict[tuple[str, str], Difference]]) -> str:
    """Return a Markdown table of all columns that differ: one row per column, one table column per variation."""
    differing = sorted({name for columns in found.values() for name in columns}, key=lambda name: (name[0], name[1]))
    rows = [
        [f"{file}: {column}", kind_of(column), *(_entry(columns.get((file, column))) for columns in found.values())]
        for file, column in differing
    ]
    return str(tabulate(rows, headers=["column", "class", *found], tablefmt="pipe", disable_numparse=True))


def _entry(difference: Difference | None) -> str:
    if difference is None:
        return ""
    size = "differs" if difference.relative == float("inf") else f"{difference.relative:.1e}"
    return f"{size} ({difference.rows} rows)"


def page(found: dict[str, dict[tuple[str, str], Difference]], names: Sequence[tuple[str, str]]) -> str:
    """Return the page: the table, and the number of columns that never differ where verdicts are promised."""
    promised = {variation.name for variation in (*VARIATIONS, *EVERYTHING) if variation.promised}
    differing = {name for variation, columns in found.items() if variation in promised for name in columns}
    never = [column for file, column in names if (file, column) not in differing]
    verdicts = sum(kind_of(column) == "verdict" for _, column in names)
    return (
        f"{len(names)} columns of all tables and of the outcomes of images, {verdicts} of them verdicts. Entries: the "
        f"largest relative difference from the first run, and the number of rows that differ. "
        f"{len(never)} columns never differ where the weights are the same.\n\n{table(found)}\n"
    )


def broken_promises(found: dict[str, dict[tuple[str, str], Difference]]) -> list[str]:
    """Return one line per verdict that differs, and per measurement that differs by more than rounding."""
    unpromised = {variation.name for variation in VARIATIONS if not variation.promised}
    return [
        f"{variation}: {file}, {column}: {_entry(difference)}"
        for variation, columns in found.items()
        if variation not in unpromised
        for (file, column), difference in columns.items()
        if breaks_promise(column, difference)
    ]


@click.command(help=__doc__)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="new or empty folder")
@click.option("--short", is_flag=True, help="one network, and all settings changed at once")
def main(*, out: Path, short: bool) -> None:
    """Measure, write the page, and exit with 1 if a promise is broken."""
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise SystemExit(f"--out {out} is not empty; name a new folder.")
    out = out.resolve()
    found = measure(SHORT if short else WHOLE, EVERYTHING if short else VARIATIONS, out)
    text = page(found, all_columns(out / "first_run"))
    (out / "determinism.md").write_text(text, encoding="utf-8")
    click.echo(text)
    broken = broken_promises(found)
    click.echo("\n".join(broken) or f"no verdict differs; measurements differ by at most {ROUNDING:g}, relatively")
    raise SystemExit(bool(broken))


if __name__ == "__main__":
    main()
