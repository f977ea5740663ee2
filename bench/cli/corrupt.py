"""``bench corrupt``: write corrupted test images in the layout of CIFAR-10-C."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click

from bench.attacks.corruptions.registry import resolve_kinds
from bench.attacks.corruptions.severities import SEVERITY_LEVELS
from bench.cli.config_options import Count, FilePath, Whole, config_options
from bench.cli.group import cli
from bench.cli.options import list_option
from bench.config import RunConfig
from bench.core.errors import BenchError, CellFailure
from bench.core.vocabulary import Exit
from bench.core.words import pluralize
from bench.data import load_dataset
from bench.data.corrupted.cache import GeneratedSet
from bench.data.corrupted.choose import choose_profile
from bench.data.corrupted.open import pixels_of
from bench.data.registry import DataRequest
from bench.data.split import take
from bench.runtime.console import say
from bench.runtime.files import check_writable
from bench.runtime.plugin import load_plugins


@cli.command(
    "corrupt",
    examples=(
        "bench corrupt --dataset cifar10 --data-dir data --out CIFAR-10-C",
        "bench corrupt --kinds fog,snow --limit 1000 --out corrupted",
    ),
)
@config_options(RunConfig, only=("dataset", "data_dir", "image_size", "class_order", "corruption_profile", "plugin"))
@list_option("--kinds", default=["all"], show_default="all", help="standard, all, families, or names; wildcards")
@click.option(
    "--limit", type=Count("all"), default="all", show_default=True, help="number of test images, proportional to class"
)
@click.option("--seed", type=Whole(min=0), default=0, show_default=True, help="seed of the corruptions")
@click.option("--out", type=FilePath(), required=True, help="folder to write into")
def corrupt_command(
    *,
    dataset: str,
    data_dir: Path | None,
    image_size: int | None,
    class_order: str | None,
    kinds: Sequence[str],
    corruption_profile: str | None,
    limit: int | Literal["all"],
    seed: int,
    out: Path,
    plugin: Sequence[Path],
) -> int:
    """Write corrupted test images in the layout of CIFAR-10-C.

    Writes one file <kind>.npy per corruption, with all severities stacked, and labels.npy.
    """
    from bench.data.tensors import select_images

    load_plugins(plugin)
    selected = resolve_kinds(kinds) if kinds else []
    if not selected:
        raise BenchError("no corruption given; write --kinds all, or names of corruptions.")
    check_writable(out, "--out")
    data = load_dataset(dataset, DataRequest(data_dir, image_size, class_order=class_order))
    indices = take(data.test, None if limit == "all" else limit)
    images = select_images(data.test, indices, dataset=data.name)
    profile, ids = choose_profile(corruption_profile, data.image_size), images.ids
    generated = GeneratedSet(out, pixels_of(images), ids, data.test.labels[indices], profile, seed, below=False)
    if foreign := generated.foreign_files():
        raise BenchError(
            f"--out {out} contains {foreign[0]} of other images, constants or seed; name another folder, or empty it."
        )
    for kind in selected:
        _generate(generated, kind)
        say(f"{out / f'{kind}.npy'}: {pluralize(len(ids), 'image')} at {len(SEVERITY_LEVELS)} severities")
    return Exit.OK


def _generate(generated: GeneratedSet, kind: str) -> None:
    """Generate the images of all severities. Raises BenchError if a plug-in's corruption fails."""
    from bench.context import failures_as

    try:
        with failures_as("corruption_error"):
            generated.images(kind, SEVERITY_LEVELS[0])
    except CellFailure as failure:
        raise BenchError(
            f"corruption {kind!r} failed: {failure.message.rstrip('.')}; correct its function."
        ) from failure
