"""The command line. Only declarations: what a command does lies in bench.commands and is imported when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bench.core.errors import BenchError
from bench.core.vocabulary import (
    ENCODINGS,
    KINDS,
    NATIVE,
    NORMS,
    PRECISIONS,
    PROTOCOLS,
    REFERENCE,
    Exit,
)
from bench.options import (
    Count,
    config_option,
    data_dir_option,
    device_option,
    flagged_option,
    json_option,
    mce_option,
    names,
    plugin_option,
    results_option,
)

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="collapse-bench", prog_name="bench")
def cli() -> None:
    """Decide whether a training-time idea makes image classifiers really robust.

    Exit codes: 0 done, 1 a verification or a gate that failed, 2 usage or input error, 3 some cells failed.
    """


@cli.command()
@names("--models", help="timm architectures or registered models; wildcards")
@names("--variants", default=["baseline", "lpc"], show_default="baseline,lpc", help="training-time ideas; wildcards")
@click.option("--dataset", default="digits", show_default=True, help="see 'bench list datasets'")
@data_dir_option
@click.option("--image-size", type=click.IntRange(min=8), help="side of the images of an image folder")
@names("--attacks", default=["fgsm", "pgd", "autoattack"], show_default="fgsm,pgd,autoattack", help="or 'none'")
@click.option("--norm", type=click.Choice(NORMS), default="linf", show_default=True, help="norm of the perturbation")
@names("--eps", help="budgets such as 8/255 or 0.05, in units of [0, 1] pixels  [default: the data set's]")
@names("--seeds", default=["0"], show_default="0", help="seeds of training and attack")
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
@click.option(
    "--limit", type=Count("all"), help="images of each split, training too; stratified  [default: the data set's]"
)
@click.option("--train-limit", type=Count("all"), help="training images, in place of --limit")
@names("--attack-limit", help="test images for one attack: autoattack=1000")
@click.option(
    "--attack-backend",
    type=click.Choice([NATIVE, REFERENCE]),
    default=NATIVE,
    show_default=True,
    help="our own attacks, or foolbox and pyautoattack",
)
@click.option(
    "--attack-precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="of the search by our own attacks; verdicts are float32's. auto: bf16 where there is hardware for it",
)
@names(
    "--corruptions",
    default=["standard"],
    show_default="standard",
    help="standard (15 kinds), all (19), none, families, or names; wildcards",
)
@names("--severities", default=["1", "2", "3", "4", "5"], show_default="1,2,3,4,5", help="of the corruptions")
@click.option("--corruption-profile", help="cifar, tiny_imagenet or imagenet  [default: nearest to the image size]")
@click.option(
    "--corruptions-dir",
    type=click.Path(path_type=Path),
    help="official files to read, such as CIFAR-10-C/, in place of corrupting here",
)
@mce_option
@click.option(
    "--protocol",
    type=click.Choice(tuple(PROTOCOLS)),
    default="standard",
    show_default=True,
    help="prefiltered: AutoAttack only on what FGSM and PGD left standing",
)
@click.option(
    "--max-queries",
    type=click.IntRange(min=1),
    help="stop every search after N forward passes an image; its row is then another's, such as autoattack-q500",
)
@click.option("--batch-size", type=Count("auto"), default="auto", show_default=True, help="evaluation and attack batch")
@device_option
@click.option("--pretrained", is_flag=True, help="start from timm's weights")
@click.option("--checkpoint-path", type=click.Path(path_type=Path), help="start from local backbone weights")
@click.option("--diagnose/--no-diagnose", default=True, show_default=True, help="collapse, gradients and DeepFool")
@click.option(
    "--audit",
    type=click.Choice(("default", "full", "none")),
    default="default",
    show_default=True,
    help="whether the attacks' numbers can be believed; full: every budget, ten times the steps, more images",
)
@click.option("--no-audit", is_flag=True, help="as --audit none")
@flagged_option
@click.option(
    "--save-adversarials",
    type=click.Choice(ENCODINGS),
    default="none",
    show_default=True,
    help="keep the images that the attacks break, for 'bench verify'; uint8: rounded to 8 bits and judged again",
)
@plugin_option
@config_option
@results_option
@click.option("--dry-run", is_flag=True, help="print the plan and an estimate of its time")
@click.option("--force", is_flag=True, help="compute again what is already there")
@json_option
def run(**options: Any) -> int:
    """Train every model × variant × seed, attack it, and write the leaderboard."""
    del options["config"]
    from bench.commands.run import run_command

    return run_command(**options)


@cli.command(name="list")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("pattern", default="*")
@plugin_option
@json_option
def list_(kind: str, pattern: str, plugin: tuple[Path, ...], as_json: bool) -> int:
    """What there is to choose from: models, variants, attacks, corruptions, data sets or recipes."""
    from bench.commands.listing import list_command

    return list_command(kind, pattern, plugins=plugin, as_json=as_json)


@cli.command()
@click.argument("run", metavar="RUN|corruptions")
@results_option
@json_option
@click.option("--dataset", help="whose first test image 'show corruptions' corrupts  [default: a photograph]")
@data_dir_option
@click.option("--image-size", type=click.IntRange(min=8), help="side of the photograph, or of an image folder's images")
@click.option("--out", type=click.Path(path_type=Path), help="PNG of 'show corruptions'  [default: corruptions.png]")
def show(run: str, results: Path, as_json: bool, **options: Any) -> int:
    """Everything known of one run, or a picture of all corruptions.

    RUN is a prefix of its id, or model:variant[:seed]. 'corruptions' draws the 19 kinds at their 5 severities as a PNG.
    """
    if run == "corruptions":
        from bench.commands.sheet import sheet_command

        return sheet_command(**options, as_json=as_json)
    from bench.commands.show import show_command

    return show_command(run, results=results, as_json=as_json)


@cli.command()
@click.option("--dataset", default="digits", show_default=True, help="see 'bench list datasets'")
@data_dir_option
@click.option("--image-size", type=click.IntRange(min=8), help="side of the images of an image folder")
@names("--kinds", default=["all"], show_default="all", help="standard, all, families, or names; wildcards")
@click.option("--corruption-profile", help="cifar, tiny_imagenet or imagenet  [default: nearest to the image size]")
@click.option("--limit", type=Count("all"), default="all", show_default=True, help="test images; stratified")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="of the corruptions")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder to write into")
@plugin_option
def corrupt(**options: Any) -> int:
    """Write corrupted test images in CIFAR-10-C's layout: one <kind>.npy each, severities stacked, and labels.npy."""
    from bench.commands.corrupt import corrupt_command

    return corrupt_command(**options)


@cli.command()
@results_option
@click.option(
    "--intervals",
    is_flag=True,
    help="in leaderboard.csv, add intervals and spreads beside clean, every attack and corruptions_acc",
)
@mce_option
@flagged_option
@json_option
def leaderboard(**options: Any) -> int:
    """Rebuild all tables from the cells; print the board and the comparison with the baseline."""
    from bench.commands.board import board_command

    return board_command(**options)


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
    from bench.commands.diagnose import diagnose_command

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
    from bench.commands.audit import audit_command

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
    from bench.commands.verify import verify_command

    return verify_command(run, **options)


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
    from bench.commands.plot import plot_command

    return plot_command(what, run, **options)


baseline_option = click.option(
    "--baseline", type=click.Path(path_type=Path, dir_okay=False), required=True, help="the baseline file, JSON"
)
alpha_option = click.option(
    "--alpha",
    type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    help="share of false alarms that each check may raise",
)
run_option = names("--run", help="runs that are meant: prefixes of ids, or model:variant[:seed]  [default: all]")
tolerance_option = names("--tolerance", help="points that may be lost: clean=0.5,autoattack=1  [default: the file's]")


@cli.command()
@baseline_option
@run_option
@results_option
@alpha_option
@tolerance_option
@click.option("--allow-inconclusive", is_flag=True, help="exit code 0 although something is not decided")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="JUnit XML to write")
@click.option(
    "--summary",
    "summary_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help='Markdown file to add the table to, such as "$GITHUB_STEP_SUMMARY"',
)
@json_option
def check(**options: Any) -> int:
    """Whether a run has lost robustness against a baseline file: PASS, FAIL or NOT ENOUGH EVIDENCE, image by image.

    Exit code 1 unless everything passes.
    """
    from bench.commands.check import check_command

    return check_command(**options)


@cli.command()
@baseline_option
@click.option("--update", is_flag=True, help="write the file from the runs; without it, show what the file holds")
@run_option
@results_option
@names("--cells", help="metrics to keep, named as in leaderboard.csv; wildcards  [default: all]")
@tolerance_option
@alpha_option
@json_option
def baseline(**options: Any) -> int:
    """Write the outcomes of runs as a baseline for 'bench check', or show one."""
    from bench.commands.baseline import baseline_command

    return baseline_command(**options)


@cli.command()
@click.argument("run", metavar="[RUN]", required=False)
@results_option
@click.option(
    "--robustbench",
    type=click.Path(path_type=Path),
    help="your checkout of RobustBench, all of whose models take the place of those that come with this package",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(("markdown", "csv", "html", "latex")),
    default="markdown",
    show_default=True,
    help="of the tables",
)
@click.option("--out", type=click.Path(path_type=Path), help="file to write them into  [default: stdout]")
@json_option
def compare(run: str | None, **options: Any) -> int:
    """Put rows beside published ones: ranked together where the protocols agree, else with the reason.

    RUN is a prefix of a run's id, or model:variant[:seed]; without it all rows of the board are compared.
    """
    from bench.commands.compare import compare_command

    return compare_command(run, **options)


@cli.command()
@click.argument("run", metavar="RUN")
@results_option
@click.option(
    "--format",
    "format_",
    type=click.Choice(("robustbench", "timm", "huggingface")),
    required=True,
    help="model_info JSON, a row of results/*.csv, or the model-index of a model card",
)
@click.option("--threat", type=click.Choice(("Linf", "L2", "corruptions")), help="of several numbers, for robustbench")
@click.option("--eps", help="budget of the number, for robustbench")
@click.option(
    "--additional-data/--no-additional-data",
    default=None,
    help="whether more than the training data was used, for robustbench  [default: whether it began from weights]",
)
@click.option(
    "--allow-departures",
    is_flag=True,
    help="export a number that is not under the form's protocol, such as of fewer images, and say so in it",
)
@click.option("--out", type=click.Path(path_type=Path), help="file to write  [default: stdout]")
def export(run: str, **options: Any) -> int:
    """A run's numbers in the form of RobustBench, timm or Hugging Face."""
    from bench.commands.export import export_command

    return export_command(run, **options)


def invoke(arguments: list[str]) -> int:
    """Run the command line. Returns its exit code; prints a user's mistake as one sentence."""
    try:
        code = cli.main(arguments, prog_name="bench", standalone_mode=False)
        return int(code) if code is not None else Exit.OK
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        print(
            "interrupted; finished trainings and cells are kept, and of a longer training the state of at most about a "
            "minute ago; the same command goes on from there.",
            file=sys.stderr,
        )
        return 130
