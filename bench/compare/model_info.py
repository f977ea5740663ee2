"""One file of RobustBench's model_info: its fields and types, read and written.

Percentages and budgets are text there. Reading takes what their 236 files have: optional fields may be absent or null,
and fields that nobody here knows are left alone, since a newer checkout may have more of them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from bench.core.errors import BenchError
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
