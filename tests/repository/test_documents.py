"""Check the guides against the code: packages, files and columns that they name exist, and none is missing."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from bench.core import columns
from bench.leaderboard.metrics import metric_meanings

ROOT = Path(__file__).parents[2]
GUIDES = ("docs/architecture.md", "docs/glossary.md", "CONTRIBUTING.md", "README.md")
#: Texts in backticks that look like a path of this repository.
PATHS = re.compile(r"`((?:bench|models|attacks|tests|results|examples|docs|tools|benchmarks)/[\w./-]*)[:`]")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def packages() -> set[str]:
    """Return the packages directly below ``bench``, with ``models`` and ``attacks``, which are links there."""
    found = {path.parent.name for path in (ROOT / "bench").glob("*/__init__.py")}
    assert {"core", "models", "attacks"} <= found
    return found


def test_the_architecture_names_every_package_once() -> None:
    rows = re.findall(r"^\| `bench\.(\w+)` \|", read("docs/architecture.md"), re.MULTILINE)
    assert sorted(rows) == sorted(packages())


def test_the_architecture_lists_the_layers_in_order() -> None:
    """A package of the table never stands above one that may import it."""
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    level = {name.strip(): number for number, layer in enumerate(layers) for name in layer.split("|")}
    rows = re.findall(r"^\| `bench\.(\w+)` \|", read("docs/architecture.md"), re.MULTILINE)
    assert [level[name] for name in rows] == sorted(level[name] for name in rows)


@pytest.mark.parametrize("guide", GUIDES)
def test_files_that_a_guide_names_exist(guide: str) -> None:
    named = set(PATHS.findall(read(guide)))
    assert named or guide == "docs/glossary.md"
    written = {"results/results.csv"}  # by a run
    assert [path for path in sorted(named - written) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("guide", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_links_of_a_guide_lead_somewhere(guide: str) -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\((?!https?:)([^)]+)\)", read(guide))]
    assert [link for link in links if not ((ROOT / guide).parent / link).exists()] == []


def test_columns_of_the_glossary_exist() -> None:
    known = {name for table in vars(columns).values() if isinstance(table, dict) for name in table}
    known |= metric_meanings("corruptions", "kind", "norm", "budget").keys()
    rows = re.findall(r"^\| [^|`]+ \| [^|]+ \| (.*) \|$", read("docs/glossary.md"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(named) > 20
    stems = {name.split("@")[0] for name in known}
    missing = [name for name in named if not any(re.fullmatch(name.replace("*", ".+"), stem) for stem in stems)]
    assert missing == []


def test_the_glossary_is_sorted() -> None:
    terms = re.findall(r"^\| ([^|`]+) \| [A-Z]", read("docs/glossary.md"), re.MULTILINE)
    assert len(terms) > 30
    assert terms == sorted(terms)


def test_the_citation_names_who_holds_the_copyright() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert f"(c) 2026 {citation['authors'][0]['name']}" in read("LICENSE")
    assert citation["license"] == tomllib.loads(read("pyproject.toml"))["project"]["license"]


def test_ci_checks_what_tox_checks() -> None:
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {"ruff check .", "mypy", "lint-imports", "bash .ci/run"} <= set(commands)
    hooks = [
        hook["entry"] for repo in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"] for hook in repo["hooks"]
    ]
    assert {entry.split()[0] for entry in hooks} == {"ruff", "mypy", "lint-imports"}


def test_issue_templates_can_be_read() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        template = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.name != "config.yml":
            assert {"name", "description", "body"} <= set(template)
            ids = [field["id"] for field in template["body"]]
            assert len(ids) == len(set(ids))


def test_the_changelog_has_its_headings() -> None:
    text = read("CHANGELOG.md")
    assert re.findall(r"^##+ (.+)$", text, re.MULTILINE)[:4] == ["[Unreleased]", "Added", "Changed", "Numbers"]
