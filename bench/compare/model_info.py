"""Read and write the model_info files of RobustBench, and read all of them from a checkout.

Percentages and budgets are strings in these files. Optional fields may be missing or null, as in the 236 published
files. Unknown fields are ignored, because a newer checkout may have more fields.
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
from bench.core.limits import MODEL_INFO
from bench.core.names import as_text
from bench.core.strict_json import parse_json
from bench.runtime.input_files import is_folder, read_input


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Fields of a model_info file, in the order of RobustBench.

    ``name`` is the title of a paper. The name of the model is the file name.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "ignore", "strict": True}

    link: str
    name: str
    authors: str
    additional_data: bool
    number_forward_passes: int
    dataset: str
    venue: str
    architecture: str
    eps: str | None  # number or fraction, such as "8/255"
    clean_acc: str
    reported: str | None = None
    autoattack_acc: str | None = None
    corruptions_acc: str | None = None
    corruptions_mce: str | None = None
    external: str | None = None  # robust accuracy under another attack, if lower than under AutoAttack
    unreliable: bool | None = None  # true if the AutoAttack accuracy is unreliable
    footnote: str | None = None


#: Fields that are written even if they are None. Other fields are omitted if they are None.
ALWAYS = ("eps", "reported")
_ADAPTER = TypeAdapter(ModelInfo)


def parse_model_info(content: bytes, *, where: str) -> ModelInfo:
    """Parse a model_info file. Raises BenchError with the file ``where`` and the first invalid field."""
    try:
        return _ADAPTER.validate_json(json.dumps(parse_json(content)))
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"])) or "the file"
        raise BenchError(f"{where} is no model_info of RobustBench ({location}: {first['msg']}).") from None
    except ValueError as error:
        raise BenchError(f"{where} is no model_info of RobustBench ({str(error).rstrip('.')}).") from None


def dump_model_info(info: ModelInfo) -> bytes:
    """Return a model_info file as JSON in the form of RobustBench: indented by two, with a final newline."""
    fields = {k: v for k, v in dataclasses.asdict(info).items() if v is not None or k in ALWAYS}
    return json.dumps(fields, indent=2).encode() + b"\n"


FOLDER = "model_info"


def read_checkout(folder: Path) -> tuple[PublishedModel, ...]:
    """Return all models under ``folder``, a checkout of RobustBench or its folder model_info.

    The files are in ``<dataset>/<threat>/``. The board of a model is determined by these folders, because the field
    ``dataset`` of some files names another data set. Other data sets and threats are ignored. Raises BenchError if no
    file is found, and for an invalid file.
    """
    root = folder / FOLDER if is_folder(folder / FOLDER, "--robustbench") else folder
    models = tuple(_models(root))
    if not models:
        raise BenchError(
            f"--robustbench {folder} holds no {FOLDER}/<dataset>/<threat>/*.json, such as cifar10/Linf/Standard.json; "
            f"give the path of a checkout of RobustBench, or of its folder {FOLDER}."
        )
    return models


def _models(root: Path) -> Iterator[PublishedModel]:
    for dataset in TEST_SETS:
        for threat in THREATS:
            for path in sorted((root / dataset / threat).glob("*.json")):
                yield _model(path, dataset, threat)


def _model(path: Path, dataset: str, threat: str) -> PublishedModel:
    info, file = parse_model_info(read_input(path, MODEL_INFO), where=str(path)), str(path)
    field, robust = _robust(info, threat)
    if robust is None:
        raise BenchError(f"{file} has no {field}; every model under {threat} must have one.")
    eps = "" if threat == CORRUPTIONS else info.eps or ""  # some files under corruptions have the eps of the training
    check_budget(threat, eps, file)
    return PublishedModel(
        dataset=dataset,
        threat=threat,
        model=as_text(path.stem),
        architecture=as_text(info.architecture),
        clean=percent(info.clean_acc, f"{file}: clean_acc"),
        robust=percent(robust, f"{file}: {field}"),
        external=percent(info.external, f"{file}: external") if info.external is not None else None,
        mce=number(info.corruptions_mce, f"{file}: corruptions_mce") if info.corruptions_mce is not None else None,
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
