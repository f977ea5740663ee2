"""Mutated files: one sentence or right values, never a traceback, a hang, a gigabyte or a wrong value.

These are 500 cases with fixed seeds. `python tools/fuzz.py --cases 10000` runs more.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cases import SECONDS, Target, originals_of, run_case
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import BINARY, CSV, JSON, TEXT, mutated
from targets import TARGETS

from bench.core.epsilon import parse_eps
from bench.core.errors import BenchError
from bench.core.number_text import parse_integer, parse_number
from bench.core.strict_json import parse_json

CASES = 500


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise TimeoutError after SECONDS of processor time, which the load of the machine does not affect."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"it took more than {SECONDS} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.mark.filterwarnings("ignore")  # of Pillow and NumPy about damaged files
@pytest.mark.parametrize("name", TARGETS)
def test_a_mutated_file_is_refused_in_one_sentence_or_read_as_it_is(name: str, tmp_path: Path) -> None:
    defects = []
    originals_of(TARGETS[name], tmp_path)  # imports modules
    for seed in range(CASES // len(TARGETS)):
        with time_limit():
            verdict = run_case(TARGETS[name], seed, tmp_path)
        if verdict.problem:
            defects.append(f"seed {seed}: {verdict.problem}")
    assert not defects, "\n".join(defects)


def test_the_harness_finds_each_kind_of_defect(tmp_path: Path) -> None:
    """A reader with a traceback, a wrong value, a refusal of several lines, a slow one and a large one."""

    def first_byte(content: bytes, folder: Path) -> Any:
        return content[0]

    def lines(content: bytes, folder: Path) -> Any:
        if content == b"abc":
            return 97
        raise BenchError("two\nlines")

    def sloppy(content: bytes, folder: Path) -> Any:
        return 97

    def target(read: Any, expected: Any = None) -> Target:
        return Target(f"{read.__name__} {expected}", lambda: [b"abc"], read, BINARY, expected)

    found = {
        name: {v.problem.splitlines()[-1][:20] for seed in range(60) if (v := run_case(made, seed, tmp_path)).problem}
        for name, made in {
            "traceback": target(first_byte, lambda content: content[0]),
            "value": target(first_byte),
            "lines": target(lines),
            "accepted": target(sloppy, lambda content: int(content, 16)),
        }.items()
    }
    assert "IndexError: index ou" in found["traceback"]
    assert any(problem.startswith("accepted as ") for problem in found["value"])
    assert any(problem.startswith("not one sentence") for problem in found["lines"])
    assert any(problem.startswith("accepted as 97, but") for problem in found["accepted"])


def test_cases_are_the_same_in_every_run() -> None:
    content = json.dumps({"a": [1, 2, {"b": "text"}], "c": 0.5}).encode()
    for mutations in (BINARY, CSV, TEXT, JSON):
        first, second = ([mutated(Random(seed), content, mutations) for seed in range(30)] for _ in range(2))
        assert first == second
        assert len(set(first)) > 15


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(width=64) | st.text(), lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ), max_leaves=8,
)  # fmt: skip


@settings(max_examples=40)
@given(JSON_VALUES, st.sampled_from([None, 1]))
def test_json_is_read_as_python_reads_it_or_not_at_all(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    try:
        found = parse_json(text)
    except ValueError:
        assert "NaN" in text or "Infinity" in text or any(len(part) > 18 for part in text.split())
    else:
        assert json.dumps(found) == json.dumps(json.loads(text))


NUMERALS = st.from_regex(r"[-+]?[0-9_٠-٩.]{0,6}([eE][-+]?[0-9]{1,4})?", fullmatch=True) | st.text(max_size=5)


@settings(max_examples=60)
@given(NUMERALS)
def test_numbers_are_read_as_python_reads_them_or_not_at_all(text: str) -> None:
    for parse, read in ((parse_number, float), (parse_integer, int)):
        try:
            found = parse(text)
        except ValueError:
            continue
        assert found == read(text)
        assert text.isascii()
        assert "_" not in text


@settings(max_examples=40)
@given(NUMERALS, NUMERALS)
def test_budgets_are_read_as_python_reads_them_or_not_at_all(numerator: str, denominator: str) -> None:
    try:
        value = parse_eps(f"{numerator}/{denominator}", "l2")
    except BenchError:
        return
    assert value == pytest.approx(float(numerator) / float(denominator))
    assert "_" not in numerator + denominator
    assert (numerator + denominator).isascii()


@pytest.mark.parametrize("text", ["1e-9999", "1e9999", "1_0", "1/1_0", "١", "0x10", "9" * 100, "1e-4/1e-9999", "nan"])
def test_the_exponent_of_a_budget_is_bounded(text: str) -> None:
    """An exact fraction of 1e-999999999 would take hours; the same rule refuses it."""
    with pytest.raises(BenchError, match="is not a number"):
        parse_eps(text, "l2")
