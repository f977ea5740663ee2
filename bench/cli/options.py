"""Options that several commands share, the types of their values, and the TOML file that may give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bench.config import as_typed, read_config
from bench.core.errors import BenchError
from bench.core.vocabulary import (
    BASELINE,
    ENCODINGS,
    MCE_REFERENCES,
    NATIVE,
    NORMS,
    PRECISIONS,
    PROTOCOLS,
    REFERENCE,
)
from bench.core.words import join

NETWORKS = "networks"  # tables of the config file, one per network


class Names(click.ParamType[Any]):
    """Names separated by commas; the option may also be repeated."""

    name = "NAME,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        parts = value if isinstance(value, list) else str(value).split(",")
        return [str(part).strip() for part in parts if str(part).strip()]


class Count(click.ParamType[Any]):
    """A number of images, or ``all`` (or ``auto``, where the option has it)."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.name = f"N|{word}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == self.word:
            return self.word
        try:
            number = int(value)
        except (TypeError, ValueError):
            self.fail(f"{value!r} is neither a whole number nor {self.word!r}.", param, ctx)
        if number < 1:
            self.fail(f"{number} is less than 1.", param, ctx)
        return number


def names(*flags: str, may_be_empty: bool = True, **options: Any) -> Callable[[Any], Any]:
    """An option that takes comma-separated names, once or several times, and gives one flat list.

    With ``may_be_empty`` False it is an error to give it without a name, as an unset variable in a script does.
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
        tables: dict[str, list[Mapping[str, Any]]] = {NETWORKS: []} if ctx.command.name == "evaluate" else {}
        found = read_config(value, options, _opposites(options), tables)
        ctx.meta.update(tables)
        ctx.default_map = {name: _default(value, options[name], content) for name, content in found.items()}
    return value


def _opposites(options: Mapping[str, click.Parameter]) -> dict[str, tuple[str, Any]]:
    """The ``no-`` forms of options, and what they mean: none of them may outdo what the command line says."""
    offs = [(flag, name) for name, option in options.items() for flag in option.secondary_opts]
    found: dict[str, tuple[str, Any]] = {f.removeprefix("--").replace("-", "_"): (name, False) for f, name in offs}
    return {**found, "no_audit": ("audit", "none")} if "no_audit" in options else found


def _default(path: Path, option: click.Parameter, content: Any) -> Any:
    """Convert the value of an option in the config file to a default of click.

    Raises BenchError for true or false if the option is not a flag.
    """
    if getattr(option, "is_flag", False) and isinstance(content, bool):
        return content
    try:
        typed = as_typed(content)
    except ValueError:
        key = (option.name or "").replace("_", "-")
        choices = option.type.choices if isinstance(option.type, click.Choice) else ()
        way = "a list or a string" if option.multiple else join(choices, "or") if choices else "a number or a string"
        raise BenchError(f"config {path}: {key!r} is not on or off; write {way} in place of true or false.") from None
    return typed if option.multiple else ",".join(typed)


baseline_option = click.option(
    "--baseline", type=click.Path(path_type=Path, dir_okay=False), required=True, help="the baseline file, JSON"
)
run_option = names("--run", help="runs that are meant: prefixes of ids, or model:variant[:seed]  [default: all]")
TOLERANCES = "points that may be lost: clean=0.5,autoattack=1  [default: the file's]"
tolerance_option = names("--tolerance", help=TOLERANCES, may_be_empty=False)
results_option = click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="results folder"
)
plugin_option = click.option(
    "--plugin", type=click.Path(path_type=Path), multiple=True, help="Python file that registers more names; repeatable"
)
data_dir_option = click.option("--data-dir", type=click.Path(path_type=Path), help="where the data set's files lie")
class_order_option = click.option(
    "--class-order",
    type=click.Choice(("natural", "string")),
    help="order of an image folder's classes: 2 before 10, as timm, or 10 before 2, as torchvision  "
    "[default: natural if all names are numbers]",
)
device_option = click.option(
    "--device", type=click.Choice(("auto", "cpu", "cuda", "mps")), default="auto", show_default=True
)
json_option = click.option("--json", "as_json", is_flag=True, help="machine-readable output on stdout")
mce_option = click.option(
    "--mce-reference",
    type=click.Choice(MCE_REFERENCES),
    default=BASELINE,
    show_default=True,
    help="whose errors the mean corruption error is measured in: this run's baseline, or AlexNet's on ImageNet-C",
)
against_option = click.option(
    "--against",
    metavar="VARIANT",
    default=BASELINE,
    show_default=True,
    help="paired reference of every comparison: a variant of the same backbone, recipe and seeds",
)
flagged_option = click.option(
    "--rank-flagged", is_flag=True, help="give rows a place whose numbers something speaks against, too"
)
config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_load_config,
    help="TOML file with these options as keys; the command line wins",
)


Decorator = Callable[[Any], Any]

DATA = (
    click.option("--dataset", default="digits", show_default=True, help="see 'bench list datasets'"),
    data_dir_option,
    click.option("--image-size", type=click.IntRange(min=8), help="side of the images of an image folder"),
    class_order_option,
)
ATTACKS = (
    names("--attacks", default=["fgsm", "pgd", "autoattack"], show_default="fgsm,pgd,autoattack", help="or 'none'"),
    click.option("--norm", type=click.Choice(NORMS), default="linf", show_default=True, help="of the perturbation"),
    names("--eps", help="budgets such as 8/255 or 0.05, in units of [0, 1] pixels  [default: the data set's]"),
    names("--attack-limit", help="test images for one attack: autoattack=1000"),
    click.option(
        "--attack-backend",
        type=click.Choice([NATIVE, REFERENCE]),
        default=NATIVE,
        show_default=True,
        help="our own attacks, or foolbox and pyautoattack",
    ),
    click.option(
        "--attack-precision",
        type=click.Choice(PRECISIONS),
        default="fp32",
        show_default=True,
        help="of the search by our own attacks; verdicts are float32's. auto: bf16 where there is hardware for it",
    ),
    click.option(
        "--protocol",
        type=click.Choice(tuple(PROTOCOLS)),
        default="standard",
        show_default=True,
        help="prefiltered: AutoAttack only on what FGSM and PGD left standing",
    ),
    click.option(
        "--max-queries",
        type=click.IntRange(min=1),
        help="stop every search after N forward passes per image; its row is then another's, such as autoattack-q500",
    ),
    click.option(
        "--save-adversarials",
        type=click.Choice(ENCODINGS),
        default="none",
        show_default=True,
        help="keep the images that the attacks break, for 'bench verify'; uint8: rounded to 8 bits and judged again",
    ),
)
CORRUPTIONS = (
    names(
        "--corruptions",
        default=["standard"],
        show_default="standard",
        help="standard (15 kinds), all (19), none, families, or names; wildcards",
    ),
    names("--severities", default=["1", "2", "3", "4", "5"], show_default="1,2,3,4,5", help="of the corruptions"),
    click.option("--corruption-profile", help="cifar, tiny_imagenet or imagenet  [default: nearest to the image size]"),
    click.option(
        "--corruptions-dir",
        type=click.Path(path_type=Path),
        help="official files to read, such as CIFAR-10-C/, in place of corrupting here",
    ),
    mce_option,
)
WORK = (
    click.option("--batch-size", type=Count("auto"), default="auto", show_default=True, help="of the evaluation"),
    device_option,
    click.option(
        "--audit",
        type=click.Choice(("default", "full", "none")),
        default="default",
        show_default=True,
        help="whether the attacks' numbers can be believed; full: every budget, ten times the steps, more images",
    ),
    click.option("--no-audit", is_flag=True, help="as --audit none"),
)


def with_options(*groups: Sequence[Decorator]) -> Decorator:
    """Return a decorator that adds the options of all groups, in the order of the help."""

    def add(command: Any) -> Any:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add
