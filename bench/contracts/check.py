"""Run contract checks and store their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from bench.core.errors import BenchError, CellFailure, first_line
from bench.core.inert import one_line
from bench.runtime.foreign_code import foreign_code

#: Description of a rule, and its test: a function that returns a note or None, and raises BenchError on a violation.
Rule = tuple[str, Callable[[], str | None]]


@dataclass(frozen=True, kw_only=True)
class Check:
    """Result of the check of one rule for one entry.

    >>> print(Check(subject="attack noise", rule="repeatable"))
    attack noise: repeatable … ok
    """

    subject: str  # kind and name of the entry
    rule: str
    problem: str = ""  # value, rule, and how to fix the problem; empty if the rule holds
    note: str = ""  # a measured value
    skipped: str = ""  # reason why the rule was not tested; empty if it was tested

    def __str__(self) -> str:
        """Format the result as a line of ``bench check-plugin``."""
        result = f"FAILED: {self.problem}" if self.problem else f"skipped: {self.skipped}" if self.skipped else "ok"
        return one_line(f"{self.subject}: {self.rule} … {result}{f' ({self.note})' if self.note else ''}")


def run_check(subject: str, rule: str, test: Callable[[], str | None]) -> Check:
    """Run one test. Any exception of the test is a violation of the rule."""
    try:
        with foreign_code():
            note = test() or ""
    except (BenchError, CellFailure) as error:
        return Check(subject=subject, rule=rule, problem=str(error).rstrip("."))
    except Exception as error:  # noqa: BLE001 - plug-in code may raise any exception
        return Check(subject=subject, rule=rule, problem=f"it raised {type(error).__name__}: {first_line(error)}")
    return Check(subject=subject, rule=rule, note=note)


def run_checks(subject: str, rules: Iterable[Rule]) -> Iterator[Check]:
    """Run the tests of all ``rules`` in order, including those after a violated rule."""
    for rule, test in rules:
        yield run_check(subject, rule, test)


def require(holds: bool, problem: str) -> None:
    """Raise BenchError with ``problem`` unless the rule holds."""
    if not holds:
        raise BenchError(problem)


def check_documented(subject: str, summary: str, source: str) -> Check:
    """Check that an entry has a summary and a source for ``bench list``."""

    def test() -> None:
        for field, text in (("summary", summary), ("source", source)):
            require(bool(text.strip()), f"its {field} is empty; write one line, which 'bench list' shows")
            require("\n" not in text, f"its {field} has several lines; write one line, which 'bench list' shows")

    return run_check(subject, "has a summary and a source", test)
