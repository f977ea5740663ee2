"""Commands that put a run beside something else: a baseline, published tables, the forms of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.cli.group import cli
from bench.cli.options import json_option, names, results_option
from bench.core.vocabulary import DEFAULT_ALPHA, SCOPES

baseline_option = click.option(
    "--baseline", type=click.Path(path_type=Path, dir_okay=False), required=True, help="the baseline file, JSON"
)
alpha_option = click.option(
    "--alpha",
    type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    default=DEFAULT_ALPHA,
    show_default=True,
    help="share of false alarms that each check may raise",
)
run_option = names("--run", help="runs that are meant: prefixes of ids, or model:variant[:seed]  [default: all]")
FLOORS = "least accuracy in percent that every network must have now: clean=90,pgd=40"
TOLERANCES = "points that may be lost: clean=0.5,autoattack=1  [default: the file's]"
tolerance_option = names("--tolerance", help=TOLERANCES, may_be_empty=False)


@cli.command()
@baseline_option
@run_option
@results_option
@alpha_option
@tolerance_option
@names("--floor", help=FLOORS, may_be_empty=False)
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default=SCOPES[0],
    show_default=True,
    help="other weights: 'recipe' compares five trainings or more, 'weights' the two files, image by image",
)
@click.option("--allow-inconclusive", is_flag=True, help="exit code 0 although the evidence does not decide")
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
    from bench.cli.check import check_command

    return check_command(**options)


@cli.command()
@baseline_option
@click.option("--update", is_flag=True, help="write the file from the runs; without it, show what the file holds")
@run_option
@results_option
@names("--cells", help="metrics to keep, named as in --tolerance or leaderboard.csv; wildcards  [default: all]")
@tolerance_option
@click.option(
    "--alpha",
    type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    default=DEFAULT_ALPHA,
    show_default=True,
    help="level of the later check, by which it is warned of tolerances that the images cannot resolve; not stored",
)
@json_option
def baseline(**options: Any) -> int:
    """Write the outcomes of runs as a baseline for 'bench check', or show one."""
    from bench.cli.baseline import baseline_command

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
    from bench.cli.compare import compare_command

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
    from bench.cli.export import export_command

    return export_command(run, **options)
