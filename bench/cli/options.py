"""Options that several commands share, and options from a TOML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from bench.cli.config_options import FilePath, Names
from bench.core.errors import BenchError
from bench.core.words import join
from bench.runtime.config_file import as_typed, read_config

NETWORKS = "networks"  # tables of the config file, one per network


def list_option(*flags: str, may_be_empty: bool = True, **options: Any) -> Callable[[Any], Any]:
    """Return a repeatable option that takes a comma-separated list. Its value is one flat list.

    If ``may_be_empty`` is False, an empty value, such as an unset variable in a script, is an error.
    """

    def flatten(ctx: click.Context, param: click.Parameter, value: Any) -> list[str]:
        found = list(dict.fromkeys(name for group in value for name in group))
        if value and not found and not may_be_empty:
            raise click.BadParameter("it is empty; write a value, or leave the option out.", ctx, param)
        return found

    return click.option(*flags, type=Names(), multiple=True, callback=flatten, **options)


def _load_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        options = {p.name: p for p in ctx.command.params if p.name and p.name not in ("config", "help")}
        keys = {flag.lstrip("-").replace("-", "_"): name for name, p in options.items() for flag in p.opts}
        tables: dict[str, list[Mapping[str, Any]]] = {NETWORKS: []} if ctx.command.name == "evaluate" else {}
        found = read_config(value, keys, _opposites(options), tables)
        ctx.meta.update(tables)
        ctx.default_map = {name: _default(value, options[name], content) for name, content in found.items()}
    return value


def _opposites(options: Mapping[str, click.Parameter]) -> dict[str, tuple[str, Any]]:
    """Map the keys of ``no-`` forms, such as no_diagnose, to the name of the option and the value False."""
    offs = [(flag, name) for name, option in options.items() for flag in option.secondary_opts]
    return {flag.removeprefix("--").replace("-", "_"): (name, False) for flag, name in offs}


def _default(path: Path, option: click.Parameter, content: Any) -> Any:
    """Convert the value of an option in the config file to a click default.

    Raises BenchError for true or false if the option is not a flag.
    """
    if getattr(option, "is_flag", False) and isinstance(content, bool):
        return content
    try:
        typed = as_typed(content)
    except ValueError:
        key = (option.name or "").replace("_", "-")
        choices = option.type.choices if isinstance(option.type, click.Choice) else ()
        expected = (
            "a list or a string" if option.multiple else join(choices, "or") if choices else "a number or a string"
        )
        raise BenchError(
            f"config {path}: {key!r} is not on or off; write {expected} in place of true or false."
        ) from None
    return typed if option.multiple else ",".join(typed)


baseline_option = click.option(
    "--baseline", type=FilePath(dir_okay=False), required=True, help="the baseline file, JSON"
)
run_option = list_option("--run", help="selected runs: prefixes of ids, or model:variant[:seed]  [default: all]")
TOLERANCE_HELP = "allowed drop in points: clean=0.5,autoattack=1  [default: the file's]"
tolerance_option = list_option("--tolerance", help=TOLERANCE_HELP, may_be_empty=False)
json_option = click.option("--json", "as_json", is_flag=True, help="machine-readable output on stdout")
config_option = click.option(
    "--config",
    type=FilePath(),
    is_eager=True,
    expose_value=False,
    callback=_load_config,
    help="TOML file with these options as keys; the command line takes precedence",
)
