"""Every option that names a file or a folder, with paths that are neither: one sentence, exit 2, at once."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from bounds import bounded
from odd_paths import KINDS, UNUSABLE, odd_path
from records import store_with

from bench.cli import cli
from bench.cli.config_options import FilePath
from bench.config import RunConfig
from bench.core.errors import BenchError
from bench.core.vocabulary import COMMANDS

Bench = Callable[..., Any]
PATH, OUT, STORE, BASELINE = "{path}", "{out}", "{store}", "{baseline}"


def parameters() -> Iterator[tuple[str, click.Parameter]]:
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        importlib.import_module(f"bench.cli.{name.replace('-', '_')}")
        for parameter in command.params:
            yield name, parameter


OPTIONS = [(name, option.opts[0]) for name, option in parameters() if isinstance(option.type, FilePath)]


def test_no_option_takes_a_path_that_is_not_checked() -> None:
    assert not [p for _, p in parameters() if isinstance(p.type, click.Path) and not isinstance(p.type, FilePath)]
    assert len(OPTIONS) > 30


#: Arguments that a command needs beside the option.
NEEDED = {
    "list": ["models"],
    "show": ["run"],
    "diagnose": ["run"],
    "audit": ["run"],
    "verify": ["run"],
    "plot": ["latents", "run"],
    "export": ["run", "--format", "timm"],
    "check": ["--baseline", "b.json"],
    "baseline": ["show", "--baseline", "b.json"],
    "corrupt": ["--out", OUT],
    "check-plugin": ["plugin.py"],
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize(("command", "option"), OPTIONS, ids=lambda text: text)
def test_a_path_that_no_system_opens(command: str, option: str, kind: str, bench: Bench, tmp_path: Path) -> None:
    path = odd_path(kind, tmp_path)
    given = [option, path] if option.startswith("-") else [path]
    needed = [text.format(out=tmp_path / "out") for text in NEEDED.get(command, [])]
    with bounded():
        outcome = bench(command, *needed, *given)
    assert_one_sentence(outcome, tmp_path)
    assert any(words in outcome.err for words in ("too long", "NUL", "symbolic links", "is empty", "loop"))


def assert_one_sentence(outcome: Any, folder: Path) -> None:
    assert outcome.code == 2, outcome.out
    assert outcome.out == ""
    lines = [line for line in outcome.err.splitlines() if line and not line.startswith(("Usage:", "Try ", "  "))]
    assert len(lines) == 1, lines
    assert lines[0].lower().startswith("error: ")
    assert lines[0].endswith((".", ")"))
    assert len(lines[0]) < 900
    assert not [path for path in (folder / "out").rglob("*") if path.name != "evaluate.toml"]


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """Import before the clock runs what the commands import when they are called."""
    for name in ("contracts.plugin_contract", "evaluation.load_run", "pipeline", "compare.tables", "cli.dry_run"):
        importlib.import_module(f"bench.{name}")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("files")
    store_with(folder / "store", {("baseline", 0): {"clean": [True] * 20, "fgsm": [True] * 15 + [False] * 5}})
    return {"store": str(folder / "store"), "baseline": str(folder / "b.json")}


#: Commands that read PATH.
READERS = {
    "config": ["run", "--dry-run", "--config", PATH],
    "config of evaluate": ["evaluate", "--config", PATH],
    "checkpoint path": ["run", "--models", "test_resnet", "--limit", "20", "--checkpoint-path", PATH, "--results", OUT],
    "plugin": ["list", "variants", "--plugin", PATH],
    "checked plugin": ["check-plugin", PATH],
    "data": ["run", "--models", "resnet18", "--dataset", "mnist", "--data-dir", PATH, "--results", OUT],
    "images": ["run", "--models", "resnet18", "--dataset", "imagefolder", "--data-dir", PATH, "--results", OUT],
    "corrupted images": ["run", "--models", "resnet18", "--corruptions", "fog", "--corruptions-dir", PATH,
                         "--results", OUT],
    "checkpoint": ["evaluate", PATH, "--model", "test_resnet", "--normalize", "none", "--attacks", "none",
                   "--corruptions", "none", "--results", OUT],
    "baseline": ["check", "--baseline", PATH, "--results", STORE],
    "shown baseline": ["baseline", "show", "--baseline", PATH],
    "RobustBench": ["compare", "--robustbench", PATH, "--results", STORE],
}  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (*UNUSABLE, "not UTF-8")])
@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_is_none(reader: str, kind: str, bench: Bench, tmp_path: Path, files: dict[str, str]) -> None:
    path = odd_path(kind, tmp_path)
    with bounded():
        outcome = bench(*(text.format(path=path, out=tmp_path / "out", **files) for text in READERS[reader]))
    assert_one_sentence(outcome, tmp_path)


#: Commands that write PATH.
WRITERS = {
    "export": ["export", "tiny:baseline:0", "--format", "timm", "--allow-protocol-mismatch", "--results", STORE,
               "--out", PATH],
    "compare": ["compare", "--results", STORE, "--out", PATH],
    "junit": ["check", "--baseline", BASELINE, "--results", STORE, "--junit", PATH],
    "summary": ["check", "--baseline", BASELINE, "--results", STORE, "--summary", PATH],
    "baseline": ["baseline", "write", "--baseline", PATH, "--results", STORE],
}  # fmt: skip
REFUSED = ("zero", "pipe", "folder", "broken link", "link to pipe", "standard input")


@pytest.mark.parametrize("kind", [*REFUSED, "results.csv", "run.json", "the baseline"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_must_not_be_written(
    writer: str, kind: str, bench: Bench, tmp_path: Path, files: dict[str, str]
) -> None:
    store, baseline = Path(files["store"]), Path(files["baseline"])
    if not baseline.exists():
        assert bench("baseline", "write", "--baseline", baseline, "--results", store).code == 0
    own = {
        "results.csv": store / "results.csv",
        "run.json": next(store.glob("runs/*/run.json")),
        "the baseline": baseline,
    }
    path = str(own.get(kind) or odd_path(kind, tmp_path))
    if kind == "the baseline" and BASELINE not in WRITERS[writer]:
        pytest.skip("the command does not read it")
    before = contents(store.parent)
    with bounded():
        outcome = bench(*(text.format(path=path, **files) for text in WRITERS[writer]))
    assert_one_sentence(outcome, tmp_path)
    assert contents(store.parent) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_both_reports_in_one_file(bench: Bench, tmp_path: Path, files: dict[str, str]) -> None:
    baseline, report = tmp_path / "b.json", tmp_path / "report"
    assert bench("baseline", "write", "--baseline", baseline, "--results", files["store"]).code == 0
    arguments = ["check", "--baseline", baseline, "--results", files["store"]]
    outcome = bench(*arguments, "--junit", report, "--summary", tmp_path / "." / "report")
    assert_one_sentence(outcome, tmp_path)
    assert not report.exists()


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/null"])
def test_a_table_to_stdout_or_nowhere(path: str, bench: Bench, files: dict[str, str]) -> None:
    assert bench("compare", "--format", "csv", "--results", files["store"], "--out", path).code == 0


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_path_from_python(kind: str, tmp_path: Path) -> None:
    for option in ("results", "data_dir", "checkpoint_path", "corruptions_dir"):
        with pytest.raises(BenchError, match=rf"{option}"):
            RunConfig(**{option: odd_path(kind, tmp_path)})
        for link in tmp_path.iterdir():
            link.unlink()
