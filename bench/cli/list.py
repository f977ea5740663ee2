"""``bench list``: print the entries of a registry, one line per entry."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from tabulate import tabulate

from bench.cli.config_options import config_options
from bench.cli.group import cli
from bench.cli.options import json_option
from bench.config import RunConfig
from bench.core.inert import one_line
from bench.core.registry import is_pattern
from bench.core.vocabulary import KINDS, Exit
from bench.runtime.plugin import load_plugins

Row = tuple[str, str, str]  # name, summary, source


@cli.command(
    "list",
    examples=(
        "bench list models 'resnet1*' --json",
        "bench list attacks foolbox",
    ),
)
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("pattern", default="*")
@config_options(RunConfig, only=("plugin",))
@json_option
def list_command(kind: str, pattern: str, *, plugin: Sequence[Path], as_json: bool) -> int:
    """List the available models, variants, attacks, corruptions, data sets, recipes or leaderboard metrics."""
    load_plugins(plugin)
    rows = _LISTINGS[kind](pattern if is_pattern(pattern) else f"*{pattern}*")
    if as_json:
        print(json.dumps([dict(zip(("name", "summary", "source"), row, strict=True)) for row in rows], indent=2))
    else:
        shown = [[one_line(text) for text in row] for row in rows]
        print(tabulate(shown, tablefmt="plain", disable_numparse=True))
    return Exit.OK


def _models(pattern: str) -> list[Row]:
    from bench.models.registry import expand_models, model_summary

    return [(name, *model_summary(name)) for name in expand_models(pattern)]


def _variants(pattern: str) -> list[Row]:
    from bench.models.variants import VARIANTS

    return [(n, VARIANTS.get(n).summary, VARIANTS.get(n).source) for n in VARIANTS.expand(pattern)]


def _attacks(pattern: str) -> list[Row]:
    """List our own attacks and the libraries, or the attacks of a library whose prefix is in the pattern."""
    from bench.attacks import ATTACKS
    from bench.attacks.libraries.listing import library_rows

    other = library_rows(pattern)
    own = fnmatch.filter(ATTACKS, pattern) if other else ATTACKS.expand(pattern)
    return [*((name, ATTACKS.get(name).summary, ATTACKS.get(name).source) for name in own), *other]


def _corruptions(pattern: str) -> list[Row]:
    from bench.attacks.corruptions import builtin  # noqa: F401 - fills the registry
    from bench.attacks.corruptions.registry import CORRUPTIONS

    found = {name: CORRUPTIONS.get(name) for name in CORRUPTIONS.expand(pattern)}
    return [(n, f"{e.family}{'' if e.standard else ', not standard'}: {e.summary}", e.source) for n, e in found.items()]


def _datasets(pattern: str) -> list[Row]:
    from bench.data import DATASETS

    return [(n, DATASETS.get(n).summary, DATASETS.get(n).source) for n in DATASETS.expand(pattern)]


def _recipes(pattern: str) -> list[Row]:
    from bench.planning.recipes import RECIPES

    return [(n, RECIPES.get(n).summary, RECIPES.get(n).source) for n in RECIPES.expand(pattern)]


def _metrics(pattern: str) -> list[Row]:
    from bench.leaderboard.metrics import METRICS

    found = {name: METRICS.get(name) for name in METRICS.expand(pattern)}
    return [(name, f"{entry.unit}: {entry.meaning}", entry.source) for name, entry in found.items()]


_LISTINGS: dict[str, Callable[[str], list[Row]]] = {
    "models": _models,
    "variants": _variants,
    "attacks": _attacks,
    "corruptions": _corruptions,
    "datasets": _datasets,
    "recipes": _recipes,
    "metrics": _metrics,
}
