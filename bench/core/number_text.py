"""Parse numbers that are written in files and options: ASCII digits, bounded length, finite.

``float`` and ``int`` of Python also accept ``1_0``, digits of other scripts, white space, ``nan`` and ``inf``. An exact
fraction of ``1e-999999999`` takes hours. These texts are errors here.
"""

from __future__ import annotations

import re

LONGEST = 60  # characters of a number; the shortest exact form of a float64 has at most 24
MAX_INTEGER = 2**63 - 1  # integers of TOML, pandas and most tools have 64 bits

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


def is_decimal(text: str) -> bool:
    """Return whether ``text`` is a decimal number, such as ``12``, ``0.05`` or ``1e-5``.

    >>> [is_decimal(text) for text in ("1e-5", "1_0", "nan", " 1", "1e-999999999")]
    [True, False, False, False, False]
    """
    return len(text) <= LONGEST and _DECIMAL.fullmatch(text) is not None


def is_whole(text: str) -> bool:
    """Return whether ``text`` is a whole number of at most 64 bits in digits only.

    >>> [is_whole(text) for text in ("007", "1_0", "-1", "٣", "9" * 5000)]
    [True, False, False, False, False]
    """
    return len(text) < 20 and text.isascii() and text.isdecimal() and int(text) <= MAX_INTEGER


def parse_number(text: str) -> float:
    """Return the finite number that ``text`` states. Raise ValueError for any other text.

    >>> parse_number("66.56")
    66.56
    """
    value = float(text) if is_decimal(text) else float("nan")
    if value - value != 0:
        raise ValueError(f"{quoted(text)} is not a finite decimal number")
    return value


def parse_integer(text: str) -> int:
    """Return the whole number that ``text`` states. Raise ValueError for other text, and for more than 64 bits.

    >>> parse_integer("-12")
    -12
    """
    if len(text) < 19 and text.isascii() and text.isdecimal():  # the common case, three times as fast
        return int(text)
    if _INTEGER.fullmatch(text) is None or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"{quoted(text)} is not a whole number of at most 64 bits")
    return int(text)


def quoted(text: str) -> str:
    """Return ``text`` in quotes for a message, cut after LONGEST characters.

    >>> quoted("1_0")
    "'1_0'"
    """
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")
