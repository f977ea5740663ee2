"""Check that the version of each part was increased when its source changed, with a table of versions and hashes.

    python tools/source_versions.py --check          # exit 1 if a source changed and its version did not
    python tools/source_versions.py                  # rewrite the table after versions were increased
    python tools/source_versions.py --same-results   # rewrite it after a change that cannot change any result

A part is an attack, the adapters of other libraries, a corruption, the training, the sampling, the diagnoses, the
audit or the reading of image files. Its source consists of its modules and of all modules of the packages in WITHIN
that these import. Comments, docstrings, type comments, messages of BenchError and the descriptions of registry entries
are not part of the source.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click

from bench.attacks import builtin as attacks
from bench.attacks.corruptions import builtin as corruptions
from bench.attacks.corruptions.registry import CORRUPTIONS
from bench.attacks.libraries.entry import LIBRARY_VERSION
from bench.attacks.libraries.names import LIBRARIES
from bench.attacks.registry import ATTACKS, AttackEntry
from bench.core.records import AUDIT_VERSION, DIAGNOSIS_VERSION
from bench.core.specs import SAMPLING_VERSION, TrainSpec
from bench.core.words import join
from bench.data.image_files import DIGEST_VERSION, FITTING

TABLE = Path(__file__).resolve().with_name("source_versions.json")

#: Packages and modules whose source can change a result.
WITHIN = (
    "bench.attacks", "bench.audit", "bench.core.seeds", "bench.data.augment", "bench.data.image_files",
    "bench.data.sample_random", "bench.data.sampling", "bench.data.tensors", "bench.diagnostics", "bench.models",
    "bench.sanity", "bench.training",
)  # fmt: skip
#: Registries and lists of entries: their numbers are in the specs, and the functions that they name are followed.
LISTS = (
    "bench.attacks", "bench.attacks.builtin", "bench.attacks.corruptions.builtin", "bench.attacks.corruptions.registry",
    "bench.attacks.corruptions.severities", "bench.attacks.registry", "bench.models.registry", "bench.models.variants",
)  # fmt: skip
WORDING = {"summary", "definition", "source"}  # arguments of a registry entry that describe it


class Part(NamedTuple):
    """A part of the source with its version, and the hash of its source."""

    version: int | str
    sha: str
    modules: tuple[str, ...]


class Table(NamedTuple):
    """Versions and hashes of all parts, and hashes of all modules."""

    parts: dict[str, Part]
    modules: dict[str, str]


def current_table(source_of: Callable[[str], bytes] | None = None) -> Table:
    """Return the table of the source as it is. ``source_of`` maps a module name to the content of its file."""
    read = source_of or _source_of
    parts = {}
    for name, version, roots, values in _parts():
        modules = modules_of(roots, read)
        shas = [[module, module_sha(read(module))] for module in modules]
        parts[name] = Part(version, _sha([shas, values]), modules)
    everything = sorted({module for part in parts.values() for module in part.modules})
    return Table(parts, {module: module_sha(read(module)) for module in everything})


def _parts() -> Iterator[tuple[str, int | str, list[str], Any]]:
    """Yield name, version, modules and other values of each part."""
    for name in ATTACKS.in_order():
        if ATTACKS.origin(name) == attacks.ORIGIN:
            entry = ATTACKS.get(name)
            functions = _functions(entry)
            yield f"attack {name}", entry.version, ["bench.attacks.adapter", *map(_module, functions)], functions
    adapters = ["bench.attacks.libraries.call", *(library.adapter for library in LIBRARIES.values())]
    yield "attacks of libraries", LIBRARY_VERSION, ["bench.attacks.adapter", *adapters], None
    for name in CORRUPTIONS.in_order():
        if CORRUPTIONS.origin(name) == corruptions.ORIGIN:
            kind = CORRUPTIONS.get(name)
            addresses = [str(kind.function), *([kind.stand_in] if kind.stand_in else [])]
            roots = ["bench.attacks.corruptions.apply", *map(_module, addresses)]
            yield f"corruption {name}", kind.version, roots, [addresses, repr(dict(kind.constants))]
    version = TrainSpec.__dataclass_fields__["version"].default
    assert isinstance(version, int)
    yield "training", version, ["bench.training.checkpoints"], None
    yield "sampling", SAMPLING_VERSION, ["bench.data.sampling"], None
    yield "diagnoses", DIAGNOSIS_VERSION, ["bench.diagnostics.diagnose"], None
    yield "audit", AUDIT_VERSION, ["bench.audit.audit_run"], None
    yield "image files", f"{DIGEST_VERSION}, {FITTING}", ["bench.data.image_files"], None


def _functions(entry: AttackEntry) -> list[str]:
    """Return the addresses of the functions that compute an attack, here or in an independent library."""
    arguments = entry.arguments
    given = [f"{arguments.__module__}:{arguments.__qualname__}"] if arguments else []
    return [str(entry.function), *given, *([entry.reference.function] if entry.reference else [])]


def _module(address: str) -> str:
    return address.partition(":")[0]


def modules_of(roots: Sequence[str], read: Callable[[str], bytes]) -> tuple[str, ...]:
    """Return the modules of WITHIN that ``roots`` import, directly or indirectly, and the roots themselves."""
    found: set[str] = set()
    pending = [root for root in roots if root not in LISTS]
    while pending:
        module = pending.pop()
        if module not in found:
            found.add(module)
            pending += [name for name in _imports(read(module)) if _counts(name)]
    return tuple(sorted(found))


def _counts(module: str) -> bool:
    within = any(module == prefix or module.startswith(f"{prefix}.") for prefix in WITHIN)
    return within and module not in LISTS and _path_of(module) is not None


@cache
def _imports(content: bytes) -> tuple[str, ...]:
    """Return the names of all modules of ``bench`` that a source may import, also inside functions."""
    names = []
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.startswith("bench."))


@cache
def _path_of(module: str) -> Path | None:
    """Return the file of a module; None if there is no such module."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _source_of(module: str) -> bytes:
    path = _path_of(module)
    assert path is not None, module
    return path.read_bytes()


@cache
def module_sha(content: bytes) -> str:
    """Return the hash of a source without comments, docstrings and other wording, equal in all Python versions."""
    return _sha(_plain(ast.parse(content)))


def _plain(node: Any) -> Any:
    """Convert a syntax tree to JSON data. Empty fields are left out, because new versions of Python add such fields."""
    if isinstance(node, list):
        return [_plain(item) for item in node if not _is_text(item)]
    if not isinstance(node, ast.AST):
        return [type(node).__name__, ascii(node)]
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) == "BenchError":
        return ["Raise", "BenchError"]
    fields = {name: value for name, value in ast.iter_fields(node) if name not in ("ctx", "kind", "type_comment")}
    if isinstance(node, ast.Call) and any(keyword.arg == "summary" for keyword in node.keywords):
        fields["keywords"] = [keyword for keyword in node.keywords if keyword.arg not in WORDING]
    if isinstance(node, ast.JoinedStr):
        fields["values"] = [value for value in node.values if not _is_empty(value)]
    kept = {name: _plain(value) for name, value in fields.items() if value is not None and value != []}
    return [type(node).__name__, kept]


def _is_text(item: Any) -> bool:
    """Return whether a statement is only a string, such as a docstring."""
    return isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)


def _is_empty(item: Any) -> bool:
    """Return whether a part of an f-string is empty. Python 3.12 adds such parts."""
    return isinstance(item, ast.Constant) and item.value == ""


def _sha(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


class Problem(NamedTuple):
    """A part whose source changed although its version did not, and the changed modules."""

    part: str
    version: int | str
    causes: tuple[str, ...]


def problems(old: Table, new: Table) -> list[Problem]:
    """Return the parts whose source changed although their versions did not."""
    changed = {module for module, sha in new.modules.items() if old.modules.get(module) != sha}
    found = []
    for name, part in new.parts.items():
        before = old.parts.get(name)
        if before is not None and before.version == part.version and before.sha != part.sha:
            causes = tuple(module for module in part.modules if module in changed)
            found.append(Problem(name, part.version, causes or ("its functions or constants",)))
    return found


def describe(found: Sequence[Problem]) -> str:
    """Return one line per set of changed modules, and the way out."""
    by_cause: dict[tuple[str, ...], list[str]] = {}
    for part, version, causes in found:
        by_cause.setdefault(causes, []).append(f"{part} (version {version})")
    lines = [f"{', '.join(parts)}: unchanged version, but {join(causes)} changed" for causes, parts in by_cause.items()]
    return "\n".join([*lines, WAY_OUT])


def read_table() -> Table:
    """Return the committed table."""
    content = json.loads(TABLE.read_text(encoding="utf-8"))
    parts = {name: Part(part["version"], part["sha"], ()) for name, part in content["parts"].items()}
    return Table(parts, content["modules"])


def write_table(table: Table) -> None:
    """Write the table as JSON, with one line per part and per module."""
    parts = {name: {"version": part.version, "sha": part.sha} for name, part in table.parts.items()}
    lines = [
        ",\n".join(f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(group.items()))
        for group in (parts, table.modules)
    ]
    text = '{{\n  "parts": {{\n{}\n  }},\n  "modules": {{\n{}\n  }}\n}}\n'.format(*lines)
    TABLE.write_text(text, encoding="utf-8")


WAY_OUT = (
    "If a result may change, increase the version (CONTRIBUTING.md, Rules) and run python tools/source_versions.py. "
    "If no result can change, run python tools/source_versions.py --same-results."
)


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="change nothing, and exit 1 if the table is outdated")
@click.option("--same-results", is_flag=True, help="accept changed sources with unchanged versions")
def main(*, check: bool, same_results: bool) -> None:
    """Check or rewrite the table."""
    old, new = read_table(), current_table()
    found = problems(old, new)
    if found and not same_results:
        raise SystemExit(describe(found))
    same = {name: part._replace(modules=()) for name, part in new.parts.items()} == old.parts
    if check and not (same and new.modules == old.modules):
        raise SystemExit("tools/source_versions.json is outdated; run python tools/source_versions.py")
    write_table(new)


if __name__ == "__main__":
    main()
