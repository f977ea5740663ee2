"""The gate's lines as people and programs read them: Markdown, JSON and JUnit XML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from tabulate import tabulate

from bench.core.words import counted, listed
from bench.gate.lines import Check
from bench.gate.verdict import Verdict, passed

HEADERS = ("run", "metric", "on", "baseline", "now", "drop", "lost", "gained", "tolerance", "verdict", "why")
WORST = (Verdict.FAIL, Verdict.UNDECIDED, Verdict.PASS)
#: What stands before a verdict, so that the eye finds it.
SIGNS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.UNDECIDED: "?"}


def summary(lines: Sequence[Check]) -> str:
    """One sentence on all of it."""
    counts = Counter(line.verdict for line in lines)
    parts = [f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]]
    return f"{counted(len(lines), 'check')}: {listed(parts)}."


def gate_markdown(lines: Sequence[Check], alpha: float) -> str:
    """A table, the worst first, and what its figures are."""
    ordered = sorted(lines, key=lambda line: WORST.index(line.verdict))
    table = tabulate([_row(line) for line in ordered], HEADERS, tablefmt="pipe", disable_numparse=True)
    caption = (
        f"Accuracies in percent, drops and tolerances in points; a drop's bounds hold one by one at {1 - alpha:.4g}. "
        "FAIL: a drop beyond chance and beyond the tolerance; PASS: a drop beyond the tolerance is excluded, or no "
        "image changed."
    )
    return f"{table}\n\n{caption}\n\n{summary(lines)}"


def _row(line: Check) -> tuple[str, ...]:
    return (
        line.name,
        line.metric,
        line.size,
        _percent(line.before),
        _percent(line.after),
        _drop(line),
        "" if line.lost is None else str(line.lost),
        "" if line.gained is None else str(line.gained),
        "" if line.tolerance is None else f"{line.tolerance:g}",
        f"{SIGNS[line.verdict]} {line.verdict}",
        _plain(line.why).replace("|", "\\|").replace("<", "\\<"),
    )


def _plain(text: str) -> str:
    """Without line breaks and control characters: messages of foreign code hold them, and XML and terminals suffer."""
    return "".join(character if character.isprintable() else " " for character in text)


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.1f}"


def _drop(line: Check) -> str:
    found = line.judgement
    return "" if found is None else f"{100 * found.drop:+.2f} [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"


def gate_data(lines: Sequence[Check]) -> list[dict[str, Any]]:
    """JSON data: accuracies in percent, drops in points, as in the table; null where there is none."""
    return [
        {
            "run": line.name,
            "metric": line.metric,
            "verdict": str(line.verdict),
            "why": line.why,
            "baseline": _points(line.before),
            "now": _points(line.after),
            "drop": _points(line.judgement.drop if line.judgement else None),
            "drop_lo": _points(line.judgement.low if line.judgement else None),
            "drop_hi": _points(line.judgement.high if line.judgement else None),
            "lost": line.lost,
            "gained": line.gained,
            "tolerance": line.tolerance,
            "on": line.size,
        }
        for line in lines
    ]


def _points(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, 4)


def gate_junit(lines: Sequence[Check], *, allow_inconclusive: bool) -> bytes:
    """A test case a line: failures are failed, what is undecided too unless it is allowed, and then skipped."""
    from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

    suite = TestSuite("bench check")
    for line in lines:
        case = TestCase(line.metric, classname=line.name)
        message = f"{line.verdict}: {_plain(line.why)}" + (f"; drop {_drop(line)} points" if line.judgement else "")
        if not passed(line.verdict, allow_inconclusive):
            case.result = [Failure(message)]
        elif line.verdict is Verdict.UNDECIDED:
            case.result = [Skipped(message)]
        case.system_out = message
        suite.add_testcase(case)
    document, content = JUnitXml("collapse-bench"), BytesIO()
    document.add_testsuite(suite)
    document.write(content)
    return content.getvalue()
