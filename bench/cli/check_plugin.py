"""``bench check-plugin``: check the entries of plug-ins against their contracts."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.config_options import FilePath, Whole, config_options
from bench.cli.group import cli
from bench.config import RunConfig
from bench.core.vocabulary import Exit
from bench.core.words import pluralize

DEFAULT_SIZE = 32


@cli.command(
    "check-plugin",
    examples=(
        "bench check-plugin examples/plugin.py",
        "bench check-plugin my_attack.py my_variant.py --image-size 64",
    ),
)
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=FilePath())
@click.option(
    "--image-size",
    type=Whole(min=8),
    default=DEFAULT_SIZE,
    show_default=True,
    help="side in pixels of the images for models",
)
@config_options(RunConfig, only=("data_dir",))
def check_plugin_command(files: tuple[Path, ...], image_size: int, data_dir: Path | None) -> int:
    """Check every entry that a plug-in registers against the contract of its kind.

    The kinds are models, variants, attacks, corruptions, data sets, diagnostics and metrics. Prints one line per check.
    Exit codes: 0 all checks passed, 1 a check failed, 2 a file cannot be loaded.
    """
    from bench.contracts.plugin_contract import check_plugin

    failed = skipped = passed = 0
    for path in files:
        for check in check_plugin(path, image_size=image_size, data_dir=data_dir):
            print(check, flush=True)
            failed += bool(check.problem)
            skipped += bool(check.skipped)
            passed += not check.problem and not check.skipped
    print(f"{pluralize(passed, 'check')} passed, {failed} failed, {skipped} skipped")
    return Exit.NOT_VERIFIED if failed else Exit.OK
