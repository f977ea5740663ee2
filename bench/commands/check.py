"""``bench check``: whether a run has lost robustness against a baseline file. No torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.vocabulary import Exit
from bench.files import write_atomic
from bench.gate.baseline import read_baseline
from bench.gate.check import check, unchecked
from bench.gate.report import gate_data, gate_junit, gate_markdown, summary
from bench.gate.snapshot import take_snapshot
from bench.gate.tolerances import parse_tolerances
from bench.gate.verdict import passed
from bench.store import Store


def check_command(
    *,
    baseline: Path,
    run: Sequence[str],
    results: Path,
    alpha: float,
    tolerance: Sequence[str],
    allow_inconclusive: bool,
    junit: Path | None,
    summary_file: Path | None,
    as_json: bool,
) -> int:
    """Returns 0 when everything passed, else 1; ``allow_inconclusive`` lets pass what is undecided, too.

    Raises BenchError for a baseline that cannot be read or contradicts itself, and for options that mean nothing.
    """
    held = read_baseline(baseline)
    if baseline.resolve() in {path.resolve() for path in (junit, summary_file) if path is not None}:
        raise BenchError(f"{baseline} is the baseline; write the report into another file.")
    now = take_snapshot(Store(results), run)
    lines, left = check(held, now, alpha=alpha, tolerances=parse_tolerances(tolerance)), unchecked(held, now)
    if junit is not None:
        write_atomic(junit, gate_junit(lines, allow_inconclusive=allow_inconclusive))
    if summary_file is not None:
        _append(summary_file, f"### Robustness\n\n{gate_markdown(lines, alpha)}\n")
    if as_json:
        data = {"alpha": alpha, "summary": summary(lines), "checks": gate_data(lines), "unchecked": left}
        print(json.dumps(data, indent=2))
    else:
        print(gate_markdown(lines, alpha))
    if left:
        print(f"not in the baseline, so not checked: {', '.join(left)}", file=sys.stderr)
    fine = all(passed(line.verdict, allow_inconclusive) for line in lines)
    return Exit.OK if fine else Exit.NOT_VERIFIED


def _append(path: Path, text: str) -> None:
    """Behind what another step wrote there: the file that GitHub shows is shared."""
    try:
        before = path.read_bytes() if path.exists() else b""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write((b"\n" if before and not before.endswith(b"\n") else b"") + text.encode())
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}.") from None
