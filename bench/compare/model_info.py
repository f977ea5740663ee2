"""One file of RobustBench's model_info: its fields and types, read and written.

Percentages and budgets are text there. Reading takes what their 236 files have: optional fields may be absent or null,
and fields that nobody here knows are left alone, since a newer checkout may have more of them.

All of RobustBench's models, out of the user's own checkout.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from bench.compare.robustbench import CORRUPTIONS, TEST_SETS, THREATS, PublishedModel, check_budget, percent
from bench.compare.strict_csv import number
from bench.core.errors import BenchError
from bench.core.names import as_text
from bench.runtime.files import without_mark


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The fields in their order. ``name`` is the title of a paper; the file's own name is the model's."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "ignore", "strict": True}

    link: str
    name: str
    authors: str
    additional_data: bool
    number_forward_passes: int
    dataset: str
    venue: str
    architecture: str
    eps: str | None  # a number or a fraction
    clean_acc: str
    reported: str | None = None
    autoattack_acc: str | None = None
    corruptions_acc: str | None = None
    corruptions_mce: str | None = None
    external: str | None = None  # a lower robust accuracy by another attack
    unreliable: bool | None = None  # AutoAttack's number
    footnote: str | None = None


#: Every file has these, if only as null; the others are left out where there is nothing to say.
ALWAYS = ("eps", "reported")
_ADAPTER = TypeAdapter(ModelInfo)


def parse_model_info(content: bytes, *, where: str) -> ModelInfo:
    """Raises BenchError, naming ``where`` and the first thing that is wrong."""
    try:
        return _ADAPTER.validate_json(without_mark(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BenchError(f"{where} is no model_info of RobustBench ({place}: {first['msg']}).") from None


def dump_model_info(info: ModelInfo) -> bytes:
    """JSON as theirs: indented by two, in their order, with a final newline."""
    fields = {k: v for k, v in dataclasses.asdict(info).items() if v is not None or k in ALWAYS}
    return json.dumps(fields, indent=2).encode() + b"\n"


FOLDER = "model_info"


def read_checkout(folder: Path) -> tuple[PublishedModel, ...]:
    """Every model under ``folder``, which is the checkout or its model_info.

    Files lie in ``<dataset>/<threat>/``, and it is the folders that say which board a model is on: the field
    ``dataset`` of some files names another. Other data sets and threats are not read. Raises BenchError when there is
    nothing, or a file that is damaged.
    """
    root = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    found = tuple(_models(root))
    if not found:
        raise BenchError(
            f"--robustbench {folder} holds no {FOLDER}/<dataset>/<threat>/*.json, such as cifar10/Linf/Standard.json; "
            f"name a checkout of RobustBench, or its {FOLDER}."
        )
    return found


def _models(root: Path) -> Iterator[PublishedModel]:
    for dataset in TEST_SETS:
        for threat in THREATS:
            for path in sorted((root / dataset / threat).glob("*.json")):
                yield _model(path, dataset, threat)


def _model(path: Path, dataset: str, threat: str) -> PublishedModel:
    info, place = parse_model_info(_bytes(path), where=str(path)), str(path)
    field, robust = _robust(info, threat)
    if robust is None:
        raise BenchError(f"{place} has no {field}, which every model under {threat} has.")
    eps = "" if threat == CORRUPTIONS else info.eps or ""  # some models under corruptions say at which they trained
    check_budget(threat, eps, place)
    return PublishedModel(
        dataset=dataset,
        threat=threat,
        model=as_text(path.stem),
        architecture=as_text(info.architecture),
        clean=percent(info.clean_acc, f"{place}: clean_acc"),
        robust=percent(robust, f"{place}: {field}"),
        external=percent(info.external, f"{place}: external") if info.external is not None else None,
        mce=number(info.corruptions_mce, f"{place}: corruptions_mce") if info.corruptions_mce is not None else None,
        eps=eps,
        additional_data=info.additional_data,
        unreliable=bool(info.unreliable),
        venue=as_text(info.venue),
        link=as_text(info.link),
        source="RobustBench",
        commit="your checkout",
    )


def _robust(info: ModelInfo, threat: str) -> tuple[str, str | None]:
    if threat == CORRUPTIONS:
        return "corruptions_acc", info.corruptions_acc
    return "autoattack_acc", info.autoattack_acc


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}.") from error
