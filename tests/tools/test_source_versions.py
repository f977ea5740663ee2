"""A source that changes without its version is found, and wording may change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import source_versions
from click.testing import CliRunner
from source_versions import Part, Table, current_table, main, module_sha, modules_of, problems, read_table, write_table

ROOT = Path(__file__).parents[2]
#: Modules whose source changes no result of a stored spec, by reason.
NOT_COVERED = {
    "registries and their entries: numbers in specs, functions that are followed": {
        "bench.attacks", "bench.attacks.builtin", "bench.attacks.registry", "bench.attacks.libraries",
        "bench.attacks.libraries.entry", "bench.attacks.libraries.listing", "bench.attacks.corruptions.builtin",
        "bench.attacks.corruptions.registry", "bench.attacks.corruptions.severities", "bench.models.registry",
        "bench.models.variants", "bench.models.variant_registry", "bench.models.rival_variants",
        "bench.models.robust_variants",
    },
    "trials that choose numbers of a spec": {
        "bench.training.epoch_trial", "bench.training.precision_trial", "bench.training.stored_trial",
    },
    "text for notes": {"bench.attacks.corruptions.notes"},
    "networks from elsewhere, identified by their weights, structure and settings": {
        "bench.models.architectures", "bench.models.candidates", "bench.models.folding", "bench.models.sources",
    },
    "empty": {"bench.attacks.engine", "bench.attacks.reference", "bench.training"},
}  # fmt: skip


@pytest.fixture(scope="module")
def table() -> Table:
    return current_table()


def test_the_table_is_that_of_the_source(table: Table) -> None:
    """After a change: increase the version of the part, and run python tools/source_versions.py."""
    committed = read_table()
    assert problems(committed, table) == []
    assert committed.modules == table.modules, "run python tools/source_versions.py"
    assert committed.parts == {name: part._replace(modules=()) for name, part in table.parts.items()}


def test_every_module_that_computes_a_result_is_covered(table: Table) -> None:
    folders = {"bench.attacks": ROOT / "attacks", "bench.models": ROOT / "models"}
    folders |= {f"bench.{name}": ROOT / "bench" / name for name in ("diagnostics", "audit", "training")}
    modules = set()
    for package, folder in folders.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            modules.add(".".join([package, *(part for part in parts if part != "__init__")]))
    assert modules - set(table.modules) == set().union(*NOT_COVERED.values())


@pytest.mark.parametrize(
    ("module", "parts"),
    [
        ("bench.attacks.pgd_attack", {"attack pgd", "attack pgd-margin", "attack pgd-plain", "attack mim"}),
        ("bench.attacks.corruptions.fog", {"corruption fog"}),
        ("bench.models.penalties", {"training"}),
        ("bench.training.lr_schedules", {"training"}),
        ("bench.diagnostics.collapse", {"diagnoses"}),
        ("bench.audit.probes", {"audit"}),
        ("bench.data.sampling", {"sampling"}),
        ("bench.data.image_files", {"image files", "training", "diagnoses", "audit"}),
    ],
)
def test_a_changed_module_is_a_problem_of_its_parts(table: Table, module: str, parts: set[str]) -> None:
    """The problem ends when the version increases."""
    changed = current_table(lambda name: source_versions._source_of(name) + b"\nX = 1\n" * (name == module))
    found = problems(table, changed)
    assert {problem.part for problem in found} == parts
    assert {problem.causes for problem in found} == {(module,)}
    newer = {name: part._replace(version="increased") for name, part in changed.parts.items()}
    assert problems(table, changed._replace(parts=newer)) == []


def test_a_changed_engine_is_a_problem_of_every_attack_that_uses_it(table: Table) -> None:
    module = "bench.attacks.engine.counter_rng"
    changed = current_table(lambda name: source_versions._source_of(name) + b"\nX = 1\n" * (name == module))
    attacks = {name for name in table.parts if name.startswith("attack ")}
    assert attacks | {"audit"} <= {problem.part for problem in problems(table, changed)}


def test_changed_constants_are_a_problem_of_one_corruption(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = source_versions.CORRUPTIONS.get("contrast")
    monkeypatch.setattr(entry.__class__, "__setattr__", object.__setattr__)
    monkeypatch.setattr(entry, "constants", {**entry.constants, "cifar": (0.1, 0.2, 0.3, 0.4, 0.5)})
    found = problems(table, current_table())
    assert found == [("corruption contrast", 1, ("its functions or constants",))]


SOURCE = b'''"""Module."""
from bench.core.errors import BenchError
LIMIT = 3
def f(x):
    """Return x."""
    if x > LIMIT:
        raise BenchError(f"{x} is too large; give at most {LIMIT}.")
    return x * 2
register(Entry(summary="s", source="paper", version=1))
'''


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    return lambda source: source.replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    "change",
    [
        replaced("Return x.", "Return the argument."),
        replaced('    """Return x."""\n', ""),
        replaced("is too large", "exceeds the limit"),
        replaced("LIMIT = 3", "# a comment\nLIMIT = 3  # of x"),
        replaced('summary="s", source="paper"', 'summary="other", source="book"'),
        replaced("x * 2", "(x\n        * 2)"),
        replaced("\n", "\r\n"),
    ],
)
def test_wording_may_change(change: Callable[[bytes], bytes]) -> None:
    assert change(SOURCE) != SOURCE
    assert module_sha(change(SOURCE)) == module_sha(SOURCE)


@pytest.mark.parametrize(
    "change",
    [
        replaced("LIMIT = 3", "LIMIT = 4"),
        replaced("LIMIT = 3", "LIMIT = 3.0"),
        replaced("x > LIMIT", "x >= LIMIT"),
        replaced("x * 2", "2 * x"),
        replaced("version=1", "version=2"),
        replaced("raise BenchError", "print"),
        replaced("def f(x)", "def f(x, y=None)"),
    ],
)
def test_code_may_not(change: Callable[[bytes], bytes]) -> None:
    assert module_sha(change(SOURCE)) != module_sha(SOURCE)


def test_imports_are_followed_in_functions_and_across_modules() -> None:
    sources = {
        "bench.audit.a": b"def f():\n    from bench.audit import checks\n",
        "bench.audit": b"",
        "bench.audit.checks": b"import bench.models.losses\nfrom bench.attacks.registry import ATTACKS\nimport torch\n",
        "bench.models.losses": b"from bench.core.errors import BenchError\n",
    }
    expected = ("bench.audit", "bench.audit.a", "bench.audit.checks", "bench.models.losses")
    assert modules_of(["bench.audit.a"], sources.__getitem__) == expected


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses to write a changed source with an unchanged version, unless that is asked for."""
    path = tmp_path / "table.json"
    monkeypatch.setattr(source_versions, "TABLE", path)
    new = Table({"attack a": Part(1, "new", ("bench.a",))}, {"bench.a": "new"})
    monkeypatch.setattr(source_versions, "current_table", lambda: new)
    run = CliRunner().invoke

    def state() -> str:
        return str(json.loads(path.read_text())["parts"]["attack a"]["sha"])

    write_table(Table({"attack a": Part(1, "old", ("bench.a",))}, {"bench.a": "old"}))
    for options in ([], ["--check"]):
        outcome = run(main, options)
        assert outcome.exit_code == 1
        assert "attack a (version 1): unchanged version, but bench.a changed" in outcome.output
        assert "--same-results" in outcome.output
        assert state() == "old"
    assert run(main, ["--same-results"]).exit_code == 0
    assert state() == "new"
    assert run(main, ["--check"]).exit_code == 0
    write_table(Table({"attack a": Part(0, "old", ("bench.a",))}, {"bench.a": "old"}))
    assert "is outdated" in run(main, ["--check"]).output
    assert run(main, []).exit_code == 0
    assert state() == "new"
