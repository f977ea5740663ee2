"""Result of one check, and its format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Status = Literal["pass", "warn", "fail"]
ORDER: tuple[Status, ...] = ("pass", "warn", "fail")


@dataclass(frozen=True)
class Check:
    """Result of one check: a fact, and one sentence on what to do unless it passed."""

    name: str
    status: Status
    found: str
    advice: str = ""


def passed(name: str, found: str) -> Check:
    """Return a passed check."""
    return Check(name, "pass", found)


def judged(name: str, found: str, *, warn: str = "", fail: str = "") -> Check:
    """Return a check that failed if ``fail`` is given, that warns if ``warn`` is given, and that passed otherwise."""
    return Check(name, "fail" if fail else "warn" if warn else "pass", found, fail or warn)


def guarded(name: str, checks: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """Yield the checks of one area. An error of the area is a failed check, so that the other areas still run."""
    try:
        yield from checks()
    except ModuleNotFoundError as error:
        yield Check(name, "fail", str(error), f"run: python -m pip install {error.name}")
    except Exception as error:  # noqa: BLE001  # reported as a failed check
        text = str(error).splitlines()[0] if str(error) else ""
        yield Check(name, "fail", f"{type(error).__name__}: {text}", "this check itself failed; please report it.")


def as_text(checks: Iterable[Check]) -> str:
    """Return one line per check, with the advice on a line below, and a last line with the counts."""
    rows = list(checks)
    width = max((len(row.name) for row in rows), default=0)
    lines = []
    for row in rows:
        lines.append(f"{row.status}  {row.name:<{width}}  {row.found}".rstrip())
        if row.advice:
            lines.append(f"{'':4}  {'':<{width}}  → {row.advice}")
    counts = {status: sum(row.status == status for row in rows) for status in ORDER}
    lines.append(f"\n{counts['pass']} passed, {counts['warn']} with a warning, {counts['fail']} failed")
    return "\n".join(lines)
