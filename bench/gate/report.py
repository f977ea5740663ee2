"""Output formats of the gate: Markdown, JSON and JUnit XML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from tabulate import tabulate

from bench.core.inert import markdown, one_line
from bench.core.words import join, pluralize
from bench.gate.checks import Check, passed
from bench.gate.rules import WEIGHTS, Rules
from bench.gate.verdict import Verdict

HEADERS = ("run", "metric", "on", "baseline", "now", "drop", "n_regressed", "n_improved", "tolerance", "verdict", "why")
WORST = (Verdict.FAIL, Verdict.UNDECIDED, Verdict.PASS)
FILES_ONLY = (
    "Scope weights: these checks hold for the compared weights on these images. They do not show that the training "
    "recipe is better or worse, because another training may give a different result."
)
#: Sign printed in front of each verdict.
SIGNS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.UNDECIDED: "?"}


def summary(lines: Sequence[Check]) -> str:
    """Return one sentence with the number of checks per verdict."""
    counts = Counter(line.verdict for line in lines)
    parts = [f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]]
    return f"{pluralize(len(lines), 'check')}: {join(parts)}."


def gate_markdown(lines: Sequence[Check], rules: Rules) -> str:
    """Return a Markdown table of the checks, failures first, with a caption and a summary."""
    ordered = sorted(lines, key=lambda line: WORST.index(line.verdict))
    table = tabulate([_row(line) for line in ordered], HEADERS, tablefmt="pipe", disable_numparse=True)
    caption = (
        "Accuracies and floors in percent, drops and tolerances in points. Each bound of a drop is one-sided at "
        f"confidence {1 - rules.alpha:.4g}. FAIL: a drop beyond chance and beyond the tolerance, or an accuracy below "
        "its floor; PASS: a drop beyond the tolerance is excluded, or no image changed."
    )
    parts = [table, caption, *([FILES_ONLY] if rules.scope == WEIGHTS else []), summary(lines)]
    return "\n\n".join(parts)


def numbers(lines: Sequence[Check]) -> list[str]:
    """Return one short line per check with the accuracies before and now. The text is ASCII if all names are ASCII."""
    has_several_names = len({line.name for line in lines}) > 1
    texts = [f"{line.name} {_numbers(line)}" if has_several_names else _numbers(line) for line in lines]
    return [one_line(text) for text in texts]


def _numbers(line: Check) -> str:
    if line.before is None and line.after is None:
        return f"{line.metric}: {line.verdict} ({line.why})"
    limit = f"tolerance {line.tolerance:g}" if line.tolerance is not None else ""
    limit = f"floor {line.floor:g}" if line.floor is not None else limit
    drop = f"drop {100 * line.judgement.drop:+.2f}" if line.judgement is not None else ""
    figures = f"baseline {_percent(line.before) or 'none'}, now {_percent(line.after) or 'none'}"
    return f"{line.metric}: {', '.join(filter(None, [figures, drop, limit]))}: {line.verdict} ({line.why})"


def _row(line: Check) -> tuple[str, ...]:
    return (
        markdown(line.name),
        markdown(line.metric),
        line.size,
        _percent(line.before),
        _percent(line.after),
        _drop(line),
        "" if line.n_regressed is None else str(line.n_regressed),
        "" if line.n_improved is None else str(line.n_improved),
        f"floor {line.floor:g}" if line.floor is not None else "" if line.tolerance is None else f"{line.tolerance:g}",
        f"{SIGNS[line.verdict]} {line.verdict}",
        markdown(line.why),
    )


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.1f}"


def _drop(line: Check) -> str:
    judgement = line.judgement
    return (
        ""
        if judgement is None
        else f"{100 * judgement.drop:+.2f} [{100 * judgement.low:+.2f}, {100 * judgement.high:+.2f}]"
    )


def gate_data(lines: Sequence[Check]) -> list[dict[str, Any]]:
    """Return the checks as JSON data: accuracies in percent, drops in points, null for missing values."""
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
            "n_regressed": line.n_regressed,
            "n_improved": line.n_improved,
            "tolerance": line.tolerance,
            "floor": line.floor,
            "on": line.size,
        }
        for line in lines
    ]


def _points(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, 4)


def gate_junit(lines: Sequence[Check], rules: Rules) -> bytes:
    """Return JUnit XML with one test case per check.

    A check that does not pass the gate is a failure. An undecided check that passes is skipped.
    """
    from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

    suite = TestSuite("bench check")
    for line in lines:
        metric = line.metric if line.floor is None else f"{line.metric} floor"
        case = TestCase(one_line(metric), classname=one_line(line.name))
        message = one_line(_numbers(line)) + (f"; drop {_drop(line)} points" if line.judgement else "")
        if not passed(line, rules):
            case.result = [Failure(message)]
        elif line.verdict is Verdict.UNDECIDED:
            case.result = [Skipped(message)]
        case.system_out = message
        suite.add_testcase(case)
    document, content = JUnitXml("collapse-bench"), BytesIO()
    document.add_testsuite(suite)
    document.write(content)
    return content.getvalue()
