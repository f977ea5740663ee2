"""Mutated files: one sentence or right values, never a traceback, a hang, a gigabyte or a wrong value.

These are 500 cases with fixed seeds. `python tools/fuzz.py --cases 10000` runs more.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cases import SECONDS, Target, originals_of, run_case
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import BINARY, CSV, JSON, TEXT, mutated
from targets import TARGETS
from text_targets import MODEL_INFO

from bench.compare.model_info import read_checkout
from bench.core.epsilon import parse_eps
from bench.core.errors import BenchError
from bench.core.number_text import parse_integer, parse_number
from bench.core.strict_json import parse_json
from bench.leaderboard.corruptions_csv import read_corruptions
from bench.results.per_image import parse_samples
from bench.runtime.config_file import read_config

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
        return Target(f"{read.__name__} {expected is None}", lambda: [b"abc"], read, BINARY, expected)

    found = {
        name: {v.problem.splitlines()[-1][:20] for seed in range(100) if (v := run_case(made, seed, tmp_path)).problem}
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
    assert value == pytest.approx(float(Fraction(numerator) / Fraction(denominator)))
    assert "_" not in numerator + denominator
    assert (numerator + denominator).isascii()


@pytest.mark.parametrize("text", ["1e-9999", "1e9999", "1_0", "1/1_0", "١", "0x10", "9" * 100, "1e-4/1e-9999", "nan"])
def test_the_exponent_of_a_budget_is_bounded(text: str) -> None:
    """An exact fraction of 1e-999999999 would take hours; the same rule refuses it."""
    with pytest.raises(BenchError, match="is not a number"):
        parse_eps(text, "l2")


@pytest.mark.parametrize("text", ["1_0", "٥٠", "1e-999999999", "nan", " 50", "0x10", "50 ", "1e1_0"])
def test_odd_numbers_of_others_are_refused(text: str, tmp_path: Path) -> None:
    """In a file of RobustBench, in a table of corruptions, and in outcomes."""
    path = tmp_path / "model_info" / "cifar10" / "Linf" / "Name.json"
    path.parent.mkdir(parents=True)
    for field in ("clean_acc", "autoattack_acc", "external", "eps"):
        path.write_text(json.dumps({**MODEL_INFO, field: text}), encoding="utf-8")
        with pytest.raises(BenchError, match=r"Name\.json"):
            read_checkout(tmp_path)
    table = tmp_path / "corruptions.csv"
    table.write_text(f",fog\n,1\nours,{text}\n", encoding="utf-8")
    with pytest.raises(BenchError, match="is not a fraction"):
        read_corruptions(table)
    header = "sample_id,label,clean_pred,adv_pred,distance\n"
    for line in (f"a,{text},1,1,", f"a,1,{text},1,", f"a,1,1,{text},", f"a,1,1,1,{text}"):
        with pytest.raises(BenchError, match="has an invalid line"):
            parse_samples((header + line + "\n").encode(), where="file")


@pytest.mark.parametrize(
    "content", [b"\xff", b"a,b\n", b"", b'sample_id,label,clean_pred,adv_pred,distance\n"a', b"\0" * 9, b"a\n" * 9]
)
def test_outcomes_that_are_no_table_are_refused(content: bytes) -> None:
    with pytest.raises(BenchError, match="delete it together with the"):
        parse_samples(content, where="file")


@pytest.mark.parametrize(
    "text",
    [
        f"limit = {'9' * 5000}",
        f"limit = {2**63}",
        "limit = nan",
        "limit = -inf",
        "limit = 1e400",
        "limit = 1e-999999999",
        "limit = 0.1_5",
        "limit = 1_0.5",
        f"models = {'[' * 3000}",
        f"limit{'.a' * 9} = 1",
        "models = [[[[[1]]]]]",
    ],
)
def test_odd_toml_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BenchError, match=r"^config .*run\.toml"):
        read_config(path, {"limit": "limit", "models": "models"}, {}, {})
