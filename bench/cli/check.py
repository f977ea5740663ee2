"""``bench check``: check whether a run is less accurate or less robust than a baseline file says.

Does not import torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from bench.cli.config_options import Decimal, FilePath, config_options
from bench.cli.group import cli
from bench.cli.options import baseline_option, json_option, list_option, run_option, tolerance_option
from bench.config import RunConfig
from bench.core.errors import BenchError
from bench.core.inert import shell_word
from bench.core.vocabulary import DEFAULT_ALPHA, SCOPES, Exit
from bench.gate.baseline import read_baseline
from bench.gate.checks import passed
from bench.gate.report import gate_data, gate_junit, gate_markdown, summary
from bench.gate.rules import FLOOR, Rules, Scope, parse_points
from bench.gate.run_checks import check, unchecked
from bench.gate.sequential import sealed_rules
from bench.gate.snapshot import take_snapshot
from bench.results.store import Store
from bench.runtime.console import say
from bench.runtime.output_files import append_output, check_output, write_output

alpha_option = click.option(
    "--alpha",
    type=Decimal(0, 0.5, min_open=True, max_open=True),
    help="level of each check: the maximum probability of a false alarm  "
    f"[default: {DEFAULT_ALPHA}; the file's with --sequential]",
)
FLOOR_HELP = "minimum accuracy of each run, in percent: clean=90,pgd=40"


@cli.command(
    "check",
    examples=(
        "bench check --baseline robustness.json --scope recipe --junit report.xml",
        "bench check --baseline robustness.json --sequential",
    ),
)
@config_options(RunConfig, only=("results",))
@baseline_option
@run_option
@alpha_option
@tolerance_option
@list_option("--floor", help=FLOOR_HELP, may_be_empty=False)
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default=SCOPES[0],
    show_default=True,
    help="for weights other than the baseline's: 'recipe' compares five or more trainings on each side, 'weights' "
    "compares two networks image by image",
)
@click.option(
    "--sequential",
    is_flag=True,
    help="use the images one by one in the order that the baseline seals, with its level and tolerances, and stop when "
    "the verdict is decided; for comparisons image by image",
)
@click.option("--allow-inconclusive", is_flag=True, help="exit code 0 also for NOT ENOUGH EVIDENCE")
@click.option("--junit", type=FilePath(dir_okay=False), help="JUnit XML to write")
@click.option(
    "--summary",
    "summary_file",
    type=FilePath(dir_okay=False),
    help='Markdown file to which the table is appended, such as "$GITHUB_STEP_SUMMARY"',
)
@json_option
def check_command(
    *,
    baseline: Path,
    run: Sequence[str],
    results: Path,
    scope: Scope,
    alpha: float | None,
    tolerance: Sequence[str],
    floor: Sequence[str],
    sequential: bool,
    allow_inconclusive: bool,
    junit: Path | None,
    summary_file: Path | None,
    as_json: bool,
) -> int:
    """Check whether a run is less accurate or less robust than a baseline file says.

    The verdict per metric is PASS, FAIL or NOT ENOUGH EVIDENCE.

    Exit code 1 unless all checks pass.
    """
    stored = read_baseline(baseline)
    for path, option, other in ((junit, "--junit", summary_file), (summary_file, "--summary", junit)):
        if path is not None:
            check_output(path, option, inputs=(baseline, other))
    if sequential and (alpha is not None or tolerance):
        raise BenchError(
            "--alpha and --tolerance of a sequential check are sealed in the baseline; choose them in "
            "'bench baseline write'."
        )
    level, points = DEFAULT_ALPHA if alpha is None else alpha, parse_points(tolerance)
    rules = sealed_rules(
        stored, Rules(level, points, parse_points(floor, FLOOR), scope, allow_inconclusive, sequential)
    )
    current = take_snapshot(Store(results), run)
    checks, not_compared = check(stored, current, rules), unchecked(stored, current, rules)
    if junit is not None:
        write_output(junit, gate_junit(checks, rules), "--junit")
    if summary_file is not None:
        append_output(summary_file, f"### Robustness\n\n{gate_markdown(checks, rules)}\n", "--summary")
    if as_json:
        data = {
            "alpha": rules.alpha,
            "scope": scope,
            "sequential": sequential,
            "summary": summary(checks),
            "checks": gate_data(checks),
        }
        print(json.dumps({**data, "unchecked": not_compared}, indent=2))
    else:
        print(gate_markdown(checks, rules))
    if not_compared:
        say(f"not compared with the baseline: {', '.join(not_compared)}")
    if all(passed(c, rules) for c in checks):
        return Exit.OK
    say(
        f"If the change is intended, 'bench baseline write --baseline {shell_word(str(baseline))} --results "
        f"{shell_word(str(results))}' writes these outcomes as the new baseline."
    )
    return Exit.NOT_VERIFIED
