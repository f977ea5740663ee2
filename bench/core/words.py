"""Format numbers and lists of names for sentences."""

from __future__ import annotations

from collections.abc import Sequence


def pluralize(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun in the singular or plural.

    >>> pluralize(1, "cell"), pluralize(2, "cell"), pluralize(0, "diagnosis", "diagnoses")
    ('1 cell', '2 cells', '0 diagnoses')
    """
    return f"{number} {singular if number == 1 else plural or f'{singular}s'}"


def join(names: Sequence[str], last: str = "and") -> str:
    """Join names to a list in a sentence.

    >>> join(["a"]), join(["a", "b"], "or"), join(["a", "b", "c"])
    ('a', 'a or b', 'a, b and c')
    """
    return f" {last} ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])


def format_bytes(size: float) -> str:
    """Return a number of bytes with its unit.

    >>> format_bytes(512), format_bytes(20_000_000)
    ('512 B', '20.0 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
