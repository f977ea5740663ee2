"""Parse and format perturbation budgets such as ``8/255``, ``0.05`` or ``1``."""

from __future__ import annotations

from fractions import Fraction

from bench.core.errors import BenchError
from bench.core.number_text import is_decimal, quoted
from bench.core.vocabulary import NORMS


def parse_eps(text: str, norm: str) -> float:
    """Return the budget in units of [0, 1] pixels.

    Raises BenchError unless ``text`` is a positive number or fraction. An Linf budget must be at most 1, because a
    budget of 1 already reaches every image.

    >>> parse_eps("8/255", "linf") == 8 / 255
    True
    """
    if norm not in NORMS:
        raise BenchError(f"unknown norm {norm!r}; the norms are {', '.join(NORMS)}.")
    try:
        numerator, slash, denominator = text.partition("/")
        parts = [numerator.strip(), denominator.strip() if slash else "1"]
        if not all(map(is_decimal, parts)):
            raise ValueError
        value = float(Fraction(parts[0]) / Fraction(parts[1]))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise BenchError(
            f"eps {quoted(text)} is not a number; write a decimal like 0.05 or a fraction like 8/255."
        ) from None
    check_eps(value, norm, shown=text)
    return value


def check_eps(value: float, norm: str, *, shown: str | None = None) -> None:
    """Raise BenchError unless 0 < ``value``, and ``value`` ≤ 1 for Linf. The message shows ``shown``."""
    shown = repr(value) if shown is None else shown
    if not 0 < value < float("inf"):
        raise BenchError(f"eps {shown} must be a finite number > 0: images have values in [0, 1].")
    if norm == "linf" and value > 1:
        raise BenchError(f"eps {shown} is > 1, but Linf eps is in units of [0, 1] pixels; did you mean {shown}/255?")


def format_eps(value: float) -> str:
    """Format an eps for column names: a decimal with up to three places, else k/255, else all digits.

    >>> [format_eps(e) for e in (8 / 255, 0.5 / 255, 0.05, 0.2, 0.5, 1.0)]
    ['8/255', '0.5/255', '0.05', '0.2', '0.5', '1']
    """
    if round(value, 3) == value:
        return f"{value:g}"
    doubled = round(value * 255 * 2)
    if doubled and doubled / 2 / 255 == value:
        return f"{doubled / 2:g}/255"
    return repr(value)
