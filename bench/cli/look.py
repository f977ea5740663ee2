"""Commands that show what there is: names, runs, tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.cli.group import cli
from bench.cli.options import (
    against_option,
    data_dir_option,
    device_option,
    flagged_option,
    json_option,
    mce_option,
    plugin_option,
    results_option,
)
from bench.core.vocabulary import KINDS


@cli.command(name="list")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("pattern", default="*")
@plugin_option
@json_option
def list_(kind: str, pattern: str, plugin: tuple[Path, ...], as_json: bool) -> int:
    """List the available models, variants, attacks, corruptions, data sets or recipes."""
    from bench.cli.listing import list_command

    return list_command(kind, pattern, plugins=plugin, as_json=as_json)


@cli.command()
@click.argument("run", metavar="RUN|corruptions|duplicates")
@results_option
@json_option
@click.option("--dataset", help="for 'show duplicates', and whose first test image 'show corruptions' corrupts")
@data_dir_option
@click.option("--image-size", type=click.IntRange(min=8), help="side of the photograph, or of an image folder's images")
@click.option("--out", type=click.Path(path_type=Path), help="PNG of 'show corruptions'  [default: corruptions.png]")
@plugin_option
def show(run: str, results: Path, as_json: bool, plugin: tuple[Path, ...], out: Path | None, **options: Any) -> int:
    """Everything known of one run, a picture of all corruptions, or the copies among a data set's images.

    RUN is a prefix of its id, or model:variant[:seed]. 'corruptions' draws the 19 kinds at their 5 severities as a PNG,
    of a photograph without --dataset. 'duplicates' lists the test images of --dataset that are also training images or
    equal other test images.
    """
    from bench.runtime.plugin import load_plugins

    load_plugins(plugin)
    if run == "duplicates":
        from bench.cli.duplicates import duplicates_command

        return duplicates_command(**options, as_json=as_json)
    if run == "corruptions":
        from bench.cli.sheet import sheet_command

        return sheet_command(**options, out=out, as_json=as_json)
    from bench.cli.show import show_command

    return show_command(run, results=results, as_json=as_json)


@cli.command()
@results_option
@click.option(
    "--intervals",
    is_flag=True,
    help="in leaderboard.csv, add intervals and spreads beside clean, every attack and corruptions_acc",
)
@mce_option
@against_option
@flagged_option
@json_option
def leaderboard(**options: Any) -> int:
    """Rebuild all tables from the cells; print the board and the comparison with the paired reference."""
    from bench.cli.leaderboard import board_command

    return board_command(**options)


@cli.command()
@click.argument("what", type=click.Choice(("latents",)))
@click.argument("run", metavar="RUN")
@results_option
@click.option("--out", type=click.Path(path_type=Path), help="folder for the figures  [default: the run's own]")
@data_dir_option
@device_option
@plugin_option
def plot(what: str, run: str, **options: Any) -> int:
    """Draw the latents of a run: their histograms and a projection, as PNG and SVG."""
    from bench.cli.plot import plot_command

    return plot_command(what, run, **options)
