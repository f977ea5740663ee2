"""Summary at the end of a pytest session: accuracies before and after, and robustness tests without a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from bench.core.inert import one_line

ATTRIBUTE = "robustness"  # attribute of a test's report with JSON data, which xdist can send


@dataclass(eq=False)  # hashable, because pytest stores plug-ins in sets
class Summary:
    """Reports of robustness tests. With ``required``, the session fails if a test made no comparison."""

    mark: str
    required: bool
    _marked: list[str] = field(default_factory=list)  # marked tests collected by this process
    _reports: dict[str, pytest.TestReport] = field(default_factory=dict)  # report of the last attempt, by test
    _skipped: set[str] = field(default_factory=set)  # modules with robustness tests that skip themselves

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Store the ids of the marked tests."""
        if not session.config.option.collectonly:
            self._marked = [item.nodeid for item in session.items if item.get_closest_marker(self.mark)]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Store the name of a skipped module with robustness tests."""
        if hasattr(report, ATTRIBUTE):
            self._skipped.add(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Store the report of a robustness test."""
        if hasattr(report, ATTRIBUTE):
            self._reports[report.nodeid] = report

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Fail an otherwise successful session if a required comparison is missing."""
        if self._unmet() and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the accuracies of every robustness test and the tests without a comparison."""
        unmet = self._unmet()
        unseen = self._unseen()
        if self._reports or self._skipped or unseen or unmet:
            terminalreporter.section("robustness")
        for name, report in self._reports.items():
            for line in _lines(name, report):
                terminalreporter.write_line(one_line(line))
        for name in sorted(self._skipped):
            terminalreporter.write_line(f"{name}: NOT COMPARED (the whole module was skipped)")
        for name in unseen:
            terminalreporter.write_line(f"{name}: NOT COMPARED (not run)")
        if unmet:
            terminalreporter.write_line(f"--robustness-required: {unmet}")

    def _unmet(self) -> str:
        """Return why the session fails, or an empty string."""
        if not self.required:
            return ""
        missing = [name for name, report in self._reports.items() if not _found(report).get("compared")]
        missing += [*sorted(self._skipped), *self._unseen()]
        if missing:
            return f"nothing was compared by {', '.join(missing)}"
        return "" if self._reports else "no test of this session is marked 'robustness'"

    def _unseen(self) -> list[str]:
        """Return the marked tests without a report, for example after ``pytest.exit`` or ``-x``."""
        return [name for name in self._marked if name not in self._reports]


def _found(report: pytest.TestReport) -> dict[str, Any]:
    data: dict[str, Any] = getattr(report, ATTRIBUTE)
    return data


def _lines(name: str, report: pytest.TestReport) -> list[str]:
    data = _found(report)
    if data.get("written"):
        status = f"{data['baseline']} is written; nothing was compared"
    elif data.get("compared"):
        status = f"compared with {data['baseline']}"
    else:
        status = f"NOT COMPARED ({report.outcome})"
    texts = (*data.get("numbers", ()), *(f"note: {note}" for note in data.get("notes", ())))
    return [f"{name}: {status}", *(f"  {text}" for text in texts)]
