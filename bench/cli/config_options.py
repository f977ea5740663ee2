"""Create command-line options from the fields of a configuration, and format their help in groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.config import GROUPS
from bench.core.number_text import parse_integer, parse_number, quoted
from bench.core.options import Config, Kind, Option, kinds_of, options_of, split_list
from bench.core.paths import check_path

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic since click 8.4

OTHER = "Other"


class GroupedOption(click.Option):
    """Option with a help text under the heading ``group``."""

    def __init__(self, *declarations: Any, group: str = OTHER, **attributes: Any) -> None:
        super().__init__(*declarations, **attributes)
        self.group = group


class Names(ParamType):
    """List of values separated by commas outside parentheses."""

    name = "NAME,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Return the values as a list, without empty ones."""
        parts = value if isinstance(value, list) else split_list(str(value))
        return [str(part).strip() for part in parts if str(part).strip()]


class FilePath(click.Path):
    """Path of a file or a folder that the system can handle and that is not empty."""

    def __init__(self, *, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, dir_okay=dir_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. Fail with a usage error if it is empty; raise BenchError if it is too long or in a loop."""
        if not str(value):
            self.fail("it is empty; write a path, or leave the option out.", param, ctx)
        check_path(Path(value), param.opts[0] if param is not None else "")
        return super().convert(value, param, ctx)


class Count(ParamType):
    """Whole number of at least 1, or a word such as ``all`` or ``auto``."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.name = f"N|{word}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number or the word. Fail with a usage error for other values and for numbers below 1."""
        if value == self.word:
            return self.word
        try:
            number = parse_integer(str(value))
        except ValueError:
            self.fail(f"{quoted(str(value))} is neither a whole number nor {self.word!r}.", param, ctx)
        if number < 1:
            self.fail(f"{number} is less than 1.", param, ctx)
        return number


class Whole(click.IntRange):
    """Whole number in ASCII digits. Python's ``int`` also accepts ``1_0`` and digits of other scripts."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Fail with a usage error for any other text, and for a number out of range."""
        try:
            number = parse_integer(str(value))
        except ValueError:
            self.fail(f"{quoted(str(value))} is not a valid integer.", param, ctx)
        return super().convert(number, param, ctx)


class Decimal(click.FloatRange):
    """Finite number in ASCII digits, such as ``0.05`` or ``1e-5``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Fail with a usage error for any other text, and for a number out of range."""
        try:
            number = parse_number(str(value))
        except ValueError:
            self.fail(f"{quoted(str(value))} is not a finite number.", param, ctx)
        return super().convert(number, param, ctx)


def config_options(
    config: type, *, only: Collection[str] | None = None, without: Collection[str] = ()
) -> Callable[[Any], Any]:
    """Return a decorator that adds an option for every field of ``config``, or only for the fields ``only``."""
    defaults = {entry.name: entry.default for entry in dataclasses.fields(config)}
    kinds = kinds_of(config)
    selected = [name for name in options_of(config) if name not in without and (only is None or name in only)]

    def add(command: Any) -> Any:
        for name in reversed(selected):
            command = _click_option(name, options_of(config)[name], kinds[name], defaults[name])(command)
        return command

    return add


def _click_option(name: str, described: Option, kind: Kind, default: Any) -> Callable[[Any], Any]:
    flag = "--" + (described.flag or name).replace("_", "-")
    declarations = [f"{flag}/--no-{flag[2:]}" if described.no_form else flag, name]
    attributes: dict[str, Any] = {"help": described.help, "group": described.group, "cls": GroupedOption}
    default_list = ",".join(map(str, default)) if isinstance(default, tuple) else ""
    if described.default_text or default_list:
        attributes["help"] += f"  [default: {described.default_text or default_list}]"
    elif default not in (None, ()) and (kind.base is not bool or described.no_form):
        attributes["show_default"] = True
    if described.metavar:
        attributes["metavar"] = described.metavar
    if kind.base is bool:
        return click.option(*declarations, is_flag=True, default=default, **attributes)
    if kind.many:
        values = FilePath() if kind.base is Path else Names()
        return click.option(
            *declarations, multiple=True, type=values, callback=_flat, default=list(default), **attributes
        )
    return click.option(*declarations, type=_type(described, kind), default=default, **attributes)


def _flat(ctx: click.Context, param: click.Parameter, value: Any) -> list[Any]:
    flat = [item for group in value for item in (group if isinstance(group, list) else [group])]
    return list(dict.fromkeys(flat))


def _type(described: Option, kind: Kind) -> Any:
    if described.choices:
        return click.Choice(described.choices)
    if kind.base is Path:
        return FilePath()
    if kind.word:
        return Count(kind.word)
    if kind.base in (int, float) and (described.minimum is not None or described.maximum is not None):
        low, high = described.minimum, described.maximum
        if kind.base is int:
            return Whole(None if low is None else int(low), None if high is None else int(high))
        return Decimal(low, high, min_open=described.above)
    return {int: Whole(), float: Decimal()}.get(kind.base, kind.base)


def format_groups(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the help of the options under the headings of their groups. Options without a group are last."""
    by_group: dict[str, list[tuple[str, str]]] = {group: [] for group in (*GROUPS, OTHER)}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            by_group[getattr(parameter, "group", OTHER)].append(record)
    for group, records in by_group.items():
        if records:
            heading = "Options" if group == OTHER and not any(by_group[name] for name in GROUPS) else group
            with formatter.section(heading):
                formatter.write_dl(records)


def pop_config(config: type[Config], options: dict[str, Any]) -> Any:
    """Remove the options of ``config`` from ``options`` and return a ``config`` object with their values."""
    return config(**{name: options.pop(name) for name in options_of(config) if name in options})
