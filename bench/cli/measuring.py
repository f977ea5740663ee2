"""Options of every command that measures networks: which data, which attacks and corruptions, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from bench.cli.options import (
    Count,
    class_order_option,
    data_dir_option,
    device_option,
    mce_option,
    names,
)
from bench.core.vocabulary import ENCODINGS, NATIVE, NORMS, PRECISIONS, PROTOCOLS, REFERENCE

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
