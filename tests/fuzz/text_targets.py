"""Fuzz targets: text files of others. Accepted values must be those that json, csv or tomllib read."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from cases import Target
from mutations import CSV, JSON, TEXT

from bench.cli.run import run_command
from bench.compare.model_info import read_checkout
from bench.compare.robustbench import FILE, parse_models
from bench.config import RunConfig
from bench.core.names import as_text
from bench.core.options import from_options
from bench.external.class_names import read_class_names
from bench.leaderboard.corruptions_csv import read_corruptions
from bench.runtime.config_file import read_config

SHARED = Path(__file__).parents[2].parent / "shared" / "reference" / "robustbench" / "model_info"
PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE | re.ASCII)


def _number(text: str) -> float:
    """A number in ASCII digits; any other text is an error of the reader that accepted it."""
    if not PLAIN.fullmatch(text):
        raise ValueError(f"{text[:50]!r} is no plain number")
    return float(text)


MODEL_INFO = {
    "link": "https://arxiv.org/abs/1", "name": "A title", "authors": "A, B", "additional_data": False,
    "number_forward_passes": 1, "dataset": "cifar10", "venue": "ICML 2024", "architecture": "WideResNet-28-10",
    "eps": "8/255", "clean_acc": "92.16", "reported": "60.1", "autoattack_acc": "57.3", "external": "56.9",
    "unreliable": False, "footnote": "a note",
}  # fmt: skip


def _model_infos() -> Sequence[bytes]:
    published = sorted((SHARED / "cifar10" / "Linf").glob("*.json"))[::20]
    return [json.dumps(MODEL_INFO, indent=2).encode(), *(path.read_bytes() for path in published)]


def _read_model_info(content: bytes, folder: Path) -> Any:
    path = folder / "model_info" / "cifar10" / "Linf" / "Name.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    (model,) = read_checkout(folder)
    texts = (model.architecture, model.venue, model.link, model.eps)
    return (*texts, model.clean, model.robust, model.external, model.additional_data, model.unreliable)


def _expected_model_info(content: bytes) -> Any:
    data = json.loads(content.decode("utf-8-sig"))
    external = data.get("external")
    return (
        *(as_text(data[name]) for name in ("architecture", "venue", "link")),
        data["eps"],
        _number(data["clean_acc"]),
        _number(data["autoattack_acc"]),
        None if external is None else _number(external),
        data["additional_data"],
        bool(data.get("unreliable")),
    )


def _published() -> Sequence[bytes]:
    rows = resources.files("bench.compare").joinpath(FILE).read_bytes().splitlines(keepends=True)
    return [b"".join(rows[:6])]


def _read_published(content: bytes, folder: Path) -> Any:
    text = content.decode("utf-8", "replace")
    return [(m.dataset, m.threat, m.model, m.eps, m.clean, m.robust, m.external) for m in parse_models(text, where="t")]


def _expected_published(content: bytes) -> Any:
    rows = csv.DictReader(io.StringIO(content.decode("utf-8", "replace"), newline=""), strict=True)
    return [
        (
            *(row[name] for name in ("dataset", "threat", "model", "eps")),
            _number(row["clean"]),
            _number(row["robust"]),
            _number(row["external"]) if row["external"] else None,
        )
        for row in rows
    ]


CORRUPTIONS = b",fog,fog,snow\n,1,2,5\nours,0.5,0.25,1.0\ntheirs,0.125,,0\n"


def _read_corruptions(content: bytes, folder: Path) -> Any:
    path = folder / "corruptions.csv"
    path.write_bytes(content)
    return read_corruptions(path)


def _expected_corruptions(content: bytes) -> Any:
    text = content.decode("utf-8-sig")
    kinds, severities, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns = list(zip(kinds[1:], map(int, severities[1:]), strict=True))
    return {row[0]: {c: _number(cell) for c, cell in zip(columns, row[1:], strict=True) if cell} for row in rows}


CONFIG = b"""# A run.
models = "resnet18"
variants = ["baseline", "lpc"]
seeds = [0, 1]
eps = "8/255"
limit = 100
lr = 0.001
diagnose = false
corruptions = "none"
attacks = ["fgsm", "pgd-10"]

[attack-limit]
autoattack = 10
"""


def _keys() -> dict[str, str]:
    options = {p.name: p for p in run_command.params if p.name}
    return {flag.lstrip("-").replace("-", "_"): name for name, p in options.items() for flag in p.opts}


def _read_toml(content: bytes, folder: Path) -> Any:
    path = folder / "run.toml"
    path.write_bytes(content)
    options = read_config(path, _keys(), {}, {})
    from_options(RunConfig, {name: value for name, value in options.items() if name in RunConfig.__dataclass_fields__})
    return options


def _expected_toml(content: bytes) -> Any:
    keys = _keys()
    text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    return {keys[key.replace("-", "_")]: value for key, value in tomllib.loads(text).items()}


CLASS_NAMES = (
    "cat\ndog\nété\n冬\n".encode(),
    b'["cat", "dog", "bird"]',
    b'{"cat": 0, "dog": 1}',
    b'{"0": "cat", "1": "dog"}',
)


def _read_class_names(content: bytes, folder: Path) -> Any:
    path = folder / "names.txt"
    path.write_bytes(content)
    return read_class_names(path)


def _expected_class_names(content: bytes) -> Any:
    text = content.decode("utf-8-sig")
    if text.lstrip()[:1] not in ("[", "{"):
        return tuple(line.strip() for line in re.split("\r\n|\n|\r", text.strip()))
    data = json.loads(text)
    if isinstance(data, list):
        return tuple(map(str, data))
    by_name = all(type(value) is int for value in data.values())
    pairs = ((value, key) if by_name else (int(key), str(value)) for key, value in data.items())
    return tuple(name for _, name in sorted(pairs))


TARGETS = (
    Target("RobustBench JSON", _model_infos, _read_model_info, JSON, _expected_model_info),
    Target("published table", _published, _read_published, CSV, _expected_published),
    Target("corruptions.csv", lambda: [CORRUPTIONS], _read_corruptions, CSV, _expected_corruptions),
    Target("TOML config", lambda: [CONFIG], _read_toml, TEXT, _expected_toml),
    Target("class names", lambda: CLASS_NAMES, _read_class_names, (*JSON, *TEXT), _expected_class_names),
)
