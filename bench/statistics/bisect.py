"""The smallest whole number from which on something holds."""

from __future__ import annotations

from collections.abc import Callable


def smallest(holds: Callable[[int], bool], above: int, most: int) -> int | None:
    """The smallest number > ``above`` at which ``holds``, if it does from some number on; None beyond ``most``.

    >>> smallest(lambda n: n * n > 50, 0, 100), smallest(lambda n: False, 0, 100)
    (8, None)
    """
    low, high = above, above + 1
    while not holds(high):
        low, high = high, 2 * high
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
