"""Order class folders by name. The position of a class in this order is its label."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from bench.core.errors import BenchError
from bench.core.words import join

NATURAL, STRING = "natural", "string"
CLASS_ORDERS = (NATURAL, STRING)
USED_BY = {NATURAL: "timm", STRING: "torchvision's ImageFolder"}
SHOWN = 12  # maximum number of class names in a note


def order_classes(names: Collection[str], requested: str | None) -> tuple[list[str], tuple[str, ...]]:
    """Return the class names in the order of their labels, and a note if the two usual orders differ.

    timm sorts in natural order (2 before 10) and ignores case. torchvision's ImageFolder sorts names as strings.
    ``requested`` selects one of CLASS_ORDERS. By default, names are sorted in natural order if all of them are numbers,
    otherwise as strings. Raises BenchError for an unknown order.
    """
    if requested not in (None, *CLASS_ORDERS):
        raise BenchError(f"class order {requested!r} is unknown; write {join(CLASS_ORDERS, 'or')}.")
    orders: dict[str, list[str]] = {NATURAL: sorted(names, key=natural_key), STRING: sorted(names)}
    numbers = all(re.fullmatch("[0-9]+", name) for name in names)
    chosen = requested or (NATURAL if numbers else STRING)
    alternative = STRING if chosen == NATURAL else NATURAL
    if orders[chosen] == orders[alternative]:
        return orders[chosen], ()
    note = (
        f"class names {'are numbers and ' if numbers else ''}were taken in {chosen} order "
        f"({_short(orders[chosen])}), as by {USED_BY[chosen]}, so weights trained in {alternative} order "
        f"({USED_BY[alternative]}: {_short(orders[alternative])}) need --class-order {alternative}"
    )
    return orders[chosen], (note,)


def natural_key(name: str) -> tuple[Any, ...]:
    """Return a sort key that compares runs of digits as numbers and ignores case.

    >>> sorted(["b10", "B9", "10", "9"], key=natural_key)
    ['9', '10', 'B9', 'b10']
    """
    parts = re.split(r"(\d+)", name.lower())
    return ([int(part) if part.isdecimal() else part for part in parts], name)


def _short(names: Sequence[str]) -> str:
    """Return the first names as one line. They suffice to recognise the order."""
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
