"""The mutation tool, on a tiny project, and its list of mutations, on this one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from mutate import (
    ROOT,
    Mutation,
    MutationError,
    Result,
    TestRun,
    find_file,
    judge,
    main,
    read_mutations,
    read_results,
    read_sources,
)

MUTATIONS = read_mutations(ROOT / "tools/mutations.toml")
SOURCE = "def larger(one, other):\n    return one if one > other else other\n"
TESTS = {
    "larger": "from models.small import larger\n\ndef test_larger():\n    assert larger(1, 2) == 2\n",
    "nothing": "def test_nothing():\n    pass\n",
    "broken": "def test_broken():\n    assert False\n",
    "endless": "from models.small import larger\n\ndef test_endless():\n    while larger(1, 2) == 1:\n        pass\n",
}


def entry(name: str, old: str, new: str, test: str) -> str:
    return f"[{name}]\nold = '{old}'\nnew = '{new}'\nwhy = 'wrong'\ntests = ['tests/test_{test}.py']\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one module and four test files."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    files = {"models/__init__.py": "", "models/small.py": SOURCE, **{f"tests/test_{n}.py": t for n, t in TESTS.items()}}
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    for command in ("init -q", "add -A"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    return tmp_path


def run(project: Path, entries: str, *options: str) -> dict[str, Result]:
    join, output = project / "mutations.toml", project / "out.csv"
    join.write_text(entries)
    arguments = ["--root", str(project), "--mutations", str(join), "--output", str(output), *options]
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 0, outcome.output
    return read_results(output)


def test_results_of_a_project(project: Path) -> None:
    swapped = ("one > other", "one < other")
    entries = "".join([
        entry("killed", *swapped, "larger"),
        entry("not-imported", "def larger", "def smaller", "larger"),
        entry("survived", *swapped, "nothing"),
        entry("broken-before", *swapped, "broken"),
        entry("endless", *swapped, "endless"),
    ])  # fmt: skip
    found = run(project, entries, "--timeout", "15", "--jobs", "2")
    assert {name: (result.result, result.first_failing_test) for name, result in found.items()} == {
        "killed": ("killed", "tests/test_larger.py::test_larger"),
        "not-imported": ("killed", "tests/test_larger.py"),
        "survived": ("survived", ""),
        "broken-before": ("error", "tests/test_broken.py::test_broken"),
        "endless": ("timeout", ""),
    }
    assert {result.module for result in found.values()} == {"bench.models.small"}
    assert (project / "models/small.py").read_text() == SOURCE


def test_the_failing_test_is_the_one_of_the_last_summary() -> None:
    inner, outer = (f"=== short test summary info ===\nFAILED {name}.py::test[a] - x\n" for name in ("inner", "outer"))
    assert TestRun(1, f"FAILED printed.py::test\n{inner}1 failed\n{outer}1 failed", 1.0).first_failure == (
        "outer.py::test[a]"
    )


@pytest.mark.parametrize(
    ("code", "output", "result"),
    [
        (
            2,
            "models/small.py:1: in <module>\nshort test summary info\nERROR tests/test_larger.py - ValueError",
            "killed",
        ),
        (
            2,
            "mymodels/small.py:1: in <module>\nshort test summary info\nERROR tests/test_larger.py - ValueError",
            "error",
        ),
        (4, "ERROR: file or directory not found: tests/test_larger.py", "error"),
        (5, "no tests ran", "error"),
    ],
)
def test_tests_that_were_not_run_kill_only_if_they_import_the_changed_file(code: int, output: str, result: str) -> None:
    assert judge(TestRun(code, output, 1.0), "models/small.py") == result


def test_finished_entries_are_skipped_and_changed_ones_run_again(project: Path) -> None:
    first = entry("first", "one > other", "one < other", "larger")
    before = run(project, first + entry("second", "one > other", "one < other", "nothing"))
    (project / "tests/test_larger.py").write_text(TESTS["nothing"])  # the first would survive now
    after = run(project, first + entry("second", "one > other", "one < other", "broken"))
    assert [result.result for result in before.values()] == ["killed", "survived"]
    assert [result.result for result in after.values()] == ["killed", "error"]


@pytest.mark.parametrize(("old", "count"), [("other", 3), ("smaller", 0)])
def test_a_text_that_does_not_occur_once_is_refused(project: Path, old: str, count: int) -> None:
    mutation = Mutation("wrong", old, "", "", ("tests",))
    with pytest.raises(MutationError, match=rf"\[wrong\] its text occurs {count} times"):
        find_file(mutation, read_sources(project))


def test_a_hint_chooses_among_files() -> None:
    sources = {"bench/a.py": "same", "bench/b.py": "same"}
    assert find_file(Mutation("hint", "same", "", "", (), "*/b.py"), sources) == "bench/b.py"


@pytest.mark.parametrize("change", ["old = 1", "unknown = 'x'", "tests = []", ""])
def test_entries_are_read_strictly(tmp_path: Path, change: str) -> None:
    values = {"old": "'a'", "new": "'b'", "why": "'c'", "tests": "['d']"}
    lines = {**values, **dict([change.split(" = ")])} if change else {"old": "'a'"}
    path = tmp_path / "mutations.toml"
    path.write_text("[x]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()))
    with pytest.raises(MutationError, match=r"\[x\]"):
        read_mutations(path)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_list_fits_the_program(mutation: Mutation) -> None:
    sources = read_sources(ROOT)
    file = find_file(mutation, sources)
    compile(sources[file].replace(mutation.old, mutation.new), file, "exec")
    assert mutation.new != mutation.old
    assert mutation.why.endswith(".")
    assert all((ROOT / path).exists() for path in mutation.tests), mutation.tests


def test_recorded_results_are_of_the_list() -> None:
    names = {mutation.name for mutation in MUTATIONS}
    recorded = read_results(ROOT / "tools/mutation_scores/before.csv")
    assert recorded
    assert recorded.keys() <= names
