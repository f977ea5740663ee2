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


def summary(checks: Sequence[Check]) -> str:
    """Return the number of checks per verdict and, for sequential checks, the number of images used, in sentences."""
    counts = Counter(check.verdict for check in checks)
    parts = [f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]]
    used = [check.used for check in checks if check.used is not None]
    images = f" Images used: {sum(u.n_used for u in used)} of {sum(u.n for u in used)}." if used else ""
    return f"{pluralize(len(checks), 'check')}: {join(parts)}.{images}"


def gate_markdown(checks: Sequence[Check], rules: Rules) -> str:
    """Return a Markdown table of the checks, failures first, with a caption and a summary."""
    ordered = sorted(checks, key=lambda check: WORST.index(check.verdict))
    table = tabulate([_row(check) for check in ordered], HEADERS, tablefmt="pipe", disable_numparse=True)
    used = (
        "Sequential checks use the images in the order that the baseline seals. Their figures are over the images "
        "used, and their bounds hold at every number of images. "
        if any(check.used for check in checks)
        else ""
    )
    caption = (
        f"{used}Accuracies and floors in percent, drops and tolerances in points. Each bound of a drop is one-sided at "
        f"confidence {1 - rules.alpha:.4g}. FAIL: a drop beyond chance and beyond the tolerance, or an accuracy below "
        "its floor; PASS: a drop beyond the tolerance is excluded, or no image changed."
    )
    parts = [table, caption, *([FILES_ONLY] if rules.scope == WEIGHTS else []), summary(checks)]
    return "\n\n".join(parts)


def numbers(checks: Sequence[Check]) -> list[str]:
    """Return one short line per check with the accuracies before and now. The text is ASCII if all names are ASCII."""
    has_several_names = len({check.name for check in checks}) > 1
    texts = [f"{check.name} {_numbers(check)}" if has_several_names else _numbers(check) for check in checks]
    return [one_line(text) for text in texts]


def _numbers(check: Check) -> str:
    if check.before is None and check.after is None:
        return f"{check.metric}: {check.verdict} ({check.why})"
    limit = f"tolerance {check.tolerance:g}" if check.tolerance is not None else ""
    limit = f"floor {check.floor:g}" if check.floor is not None else limit
    drop = f"drop {100 * check.judgement.drop:+.2f}" if check.judgement is not None else ""
    figures = f"baseline {_percent(check.before) or 'none'}, now {_percent(check.after) or 'none'}"
    images = f"{check.used.text} used" if check.used is not None else ""
    return f"{check.metric}: {', '.join(filter(None, [figures, drop, limit, images]))}: {check.verdict} ({check.why})"


def _row(check: Check) -> tuple[str, ...]:
    return (
        markdown(check.name),
        markdown(check.metric),
        check.size,
        _percent(check.before),
        _percent(check.after),
        _drop(check),
        "" if check.n_regressed is None else str(check.n_regressed),
        "" if check.n_improved is None else str(check.n_improved),
        f"floor {check.floor:g}"
        if check.floor is not None
        else ""
        if check.tolerance is None
        else f"{check.tolerance:g}",
        f"{SIGNS[check.verdict]} {check.verdict}",
        markdown(check.why),
    )


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.1f}"


def _drop(check: Check) -> str:
    judgement = check.judgement
    return (
        ""
        if judgement is None
        else f"{100 * judgement.drop:+.2f} [{100 * judgement.low:+.2f}, {100 * judgement.high:+.2f}]"
    )


def gate_data(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Return the checks as JSON data: accuracies in percent, drops in points, null for missing values."""
    return [
        {
            "run": check.name,
            "metric": check.metric,
            "verdict": str(check.verdict),
            "why": check.why,
            "baseline": _points(check.before),
            "now": _points(check.after),
            "drop": _points(check.judgement.drop if check.judgement else None),
            "drop_lo": _points(check.judgement.low if check.judgement else None),
            "drop_hi": _points(check.judgement.high if check.judgement else None),
            "n_regressed": check.n_regressed,
            "n_improved": check.n_improved,
            "tolerance": check.tolerance,
            "floor": check.floor,
            "on": check.size,
            "n_used": check.used.n_used if check.used else None,
            "n": check.used.n if check.used else None,
            "drop_of_all_lo": _points(check.used.bounds_of_all.low if check.used else None),
            "drop_of_all_hi": _points(check.used.bounds_of_all.high if check.used else None),
        }
        for check in checks
    ]


def _points(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, 4)


def gate_junit(checks: Sequence[Check], rules: Rules) -> bytes:
    """Return JUnit XML with one test case per check.

    A check that does not pass the gate is a failure. An undecided check that passes is skipped.
    """
    from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

    suite = TestSuite("bench check")
    for check in checks:
        metric = check.metric if check.floor is None else f"{check.metric} floor"
        case = TestCase(one_line(metric), classname=one_line(check.name))
        message = one_line(_numbers(check)) + (f"; drop {_drop(check)} points" if check.judgement else "")
        if not passed(check, rules):
            case.result = [Failure(message)]
        elif check.verdict is Verdict.UNDECIDED:
            case.result = [Skipped(message)]
        case.system_out = message
        suite.add_testcase(case)
    document, content = JUnitXml("collapse-bench"), BytesIO()
    document.add_testsuite(suite)
    document.write(content)
    return content.getvalue()
