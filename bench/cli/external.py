"""The command that evaluates networks which were trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.cli.group import cli
from bench.cli.measuring import ATTACKS, CORRUPTIONS, DATA, WORK, with_options
from bench.cli.options import (
    NETWORKS,
    Count,
    against_option,
    config_option,
    flagged_option,
    json_option,
    plugin_option,
    results_option,
)


@cli.command()
@click.argument("checkpoints", metavar="[CHECKPOINT]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--model", help="architecture of a checkpoint of weights: timm's, torchvision:NAME, or a plug-in's")
@click.option("--module", multiple=True, metavar="FILE.py:FACTORY", help="function that returns a module; repeatable")
@click.option("--name", help="name in the tables  [default: the file's, or the architecture with --as-variant]")
@click.option(
    "--as-variant",
    "variant",
    metavar="VARIANT",
    default="external",
    help="role in a comparison, such as baseline or lpc  [default: none]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="of the first; others count on")
@click.option(
    "--normalize",
    metavar="HOW",
    help="imagenet, cifar10, half, clip, none, dataset, from-config, or mean and std as numbers  "
    "[default: the checkpoint's own, or timm's pretrained_cfg]",
)
@click.option(
    "--input-size",
    default="auto",
    show_default="the images' own",
    metavar="PIXELS",
    help="side to which images are resized: a number, native, or from-config",
)
@click.option("--stem", type=click.Choice(("native", "small")), help="of the architecture  [default: by the weights]")
@click.option(
    "--class-names",
    type=click.Path(path_type=Path),
    help="file with the class names in the order of the outputs, one per line, or JSON",
)
@click.option(
    "--trust-normalization", is_flag=True, help="go on if the probe finds a better normalisation or class order"
)
@with_options(DATA)
@click.option("--limit", type=Count("all"), help="test images; proportional to class  [default: the data set's]")
@with_options(ATTACKS, CORRUPTIONS, WORK)
@against_option
@flagged_option
@plugin_option
@config_option
@results_option
@click.option("--force", is_flag=True, help="compute again what is already there")
@json_option
@click.pass_context
def evaluate(ctx: click.Context, /, **options: Any) -> int:
    """Attack networks that were trained elsewhere, and write the leaderboard.

    A CHECKPOINT is a file of weights, a TorchScript archive, a torch.export program or an ONNX model. Several under one
    name are seeds. A TOML file (--config) may list networks as [[networks]] tables.
    """
    del options["config"]
    from bench.cli.evaluate import evaluate_command

    return evaluate_command(networks=ctx.meta.get(NETWORKS, ()), **options)
