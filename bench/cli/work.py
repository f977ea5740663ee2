"""Commands that compute: training, attacking, corrupting, diagnosing, auditing and verifying."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.cli.group import cli
from bench.cli.measuring import ATTACKS, CORRUPTIONS, DATA, WORK, with_options
from bench.cli.options import (
    Count,
    against_option,
    config_option,
    data_dir_option,
    device_option,
    flagged_option,
    json_option,
    names,
    plugin_option,
    results_option,
)


@cli.command()
@names("--models", help="timm architectures or registered models; wildcards")
@names("--variants", default=["baseline", "lpc"], show_default="baseline,lpc", help="training-time ideas; wildcards")
@names("--seeds", default=["0"], show_default="0", help="seeds of training and attack")
@with_options(DATA)
@click.option(
    "--limit",
    type=Count("all"),
    help="images of each split, training too; proportional to class  [default: the data set's]",
)
@click.option("--train-limit", type=Count("all"), help="training images, in place of --limit")
@click.option("--recipe", default="auto", show_default=True, help="auto, short, paper, or see 'bench list recipes'")
@click.option("--latent-dim", type=click.IntRange(1, 65536), help="width of penultimate layers  [default: variant's]")
@click.option("--epochs", type=click.IntRange(min=0), help="0 evaluates the first weights  [default: the data set's]")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="learning rate  [default: the data set's]")
@click.option(
    "--train-precision",
    type=click.Choice(("fp32", "bf16")),
    default="fp32",
    show_default=True,
    help="bf16: the backbone's passes in bfloat16 while it trains, several times faster where there is hardware for it",
)
@click.option("--train-eps", help="Linf budget that pgd_at trains at, as in --eps  [default: the data set's largest]")
@click.option("--train-batch-size", type=click.IntRange(min=2), help="training batch  [default: the data set's]")
@click.option("--pretrained", is_flag=True, help="start from timm's weights, normalised as timm does")
@click.option(
    "--checkpoint-path",
    type=click.Path(path_type=Path),
    help="start from local backbone weights; those of timm's architectures are normalised as timm does",
)
@with_options(ATTACKS, CORRUPTIONS, WORK)
@click.option("--diagnose/--no-diagnose", default=True, show_default=True, help="collapse, gradients and DeepFool")
@against_option
@flagged_option
@plugin_option
@config_option
@results_option
@click.option("--dry-run", is_flag=True, help="print the plan and an estimate of its time")
@click.option("--force", is_flag=True, help="compute again what is already there")
@json_option
def run(**options: Any) -> int:
    """Train every model × variant × seed, attack it, and write the leaderboard."""
    del options["config"]
    from bench.cli.run import run_command

    return run_command(**options)


@cli.command()
@with_options(DATA)
@names("--kinds", default=["all"], show_default="all", help="standard, all, families, or names; wildcards")
@click.option("--corruption-profile", help="cifar, tiny_imagenet or imagenet  [default: nearest to the image size]")
@click.option("--limit", type=Count("all"), default="all", show_default=True, help="test images; proportional to class")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="of the corruptions")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder to write into")
@plugin_option
def corrupt(**options: Any) -> int:
    """Write corrupted test images in CIFAR-10-C's layout: one <kind>.npy each, severities stacked, and labels.npy."""
    from bench.cli.corrupt import corrupt_command

    return corrupt_command(**options)


@cli.command()
@click.argument("run", metavar="RUN")
@results_option
@data_dir_option
@device_option
@plugin_option
@click.option("--force", is_flag=True, help="measure again what is already there")
@json_option
def diagnose(run: str, **options: Any) -> int:
    """Collapse of the latents, steepness and DeepFool distances of one run."""
    from bench.cli.diagnose import diagnose_command

    return diagnose_command(run, **options)


@cli.command()
@click.argument("run", metavar="RUN")
@results_option
@data_dir_option
@device_option
@plugin_option
@click.option("--full", is_flag=True, help="every budget, ten times the steps, up to 1000 images")
@click.option("--force", is_flag=True, help="audit again what is already audited")
@json_option
def audit(run: str, **options: Any) -> int:
    """Whether the numbers of one run can be believed: masked gradients, order of attacks, transfer.

    Exit code 1 when something speaks against them.
    """
    from bench.cli.audit import audit_command

    return audit_command(run, **options)


@cli.command()
@click.argument("run", metavar="RUN")
@results_option
@data_dir_option
@device_option
@plugin_option
@json_option
def verify(run: str, **options: Any) -> int:
    """Check the stored adversarial images of a run: ball, box, and what its weights say of them."""
    from bench.cli.verify import verify_command

    return verify_command(run, **options)
