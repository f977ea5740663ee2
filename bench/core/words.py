"""Numbers and lists in sentences."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, one: str, many: str = "") -> str:
    """A number and its noun.

    >>> counted(1, "cell"), counted(2, "cell"), counted(0, "diagnosis", "diagnoses")
    ('1 cell', '2 cells', '0 diagnoses')
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Names in a row.

    >>> listed(["a"]), listed(["a", "b"], "or"), listed(["a", "b", "c"])
    ('a', 'a or b', 'a, b and c')
    """
    return f" {last} ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])
