"""Safely read torch.save files: tensors, numbers, text, and common containers in training checkpoints.

torch.load with ``weights_only=True`` accepts only names on an allow-list. This module extends torch's list by other
objects in training checkpoints, such as the ``argparse.Namespace`` of timm. A class that may run code when it is loaded
is replaced by a safe stand-in.
"""

from __future__ import annotations

import argparse
import datetime
import io
import re
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.core.errors import BenchError
from bench.core.limits import CHECKPOINT
from bench.models.file_kinds import Kind, kind_of
from bench.runtime.input_files import open_input
from bench.runtime.stored_arrays import STAND_INS, StoredArray

WAY_OUT = "save the tensors alone, with torch.save(model.state_dict(), path) or as safetensors"
#: Message for each kind of file that is not a state dict; {path} is the file.
OTHER_KINDS = {
    "torchscript": "checkpoint {path} is a TorchScript archive, a whole network rather than a state dict; pass it to "
    "--module or to 'bench evaluate', without a model's name.",
    "exported": "checkpoint {path} is a torch.export program, a whole network rather than a state dict; pass it to "
    "--module or to 'bench evaluate', without a model's name.",
    "onnx": "checkpoint {path} is an ONNX file, a whole network rather than a state dict; pass it to --module or to "
    "'bench evaluate', without a model's name.",
    "pickled_module": "checkpoint {path} is a pickled module, which would run code when it is loaded, so it is never "
    f"loaded here; {WAY_OUT}, or load it in a function of your own and pass the function with --module "
    "file.py:function.",
}


class _AsDict:
    """Stand-in for subclasses of dict that creates an ordinary dictionary."""

    def __new__(cls, *args: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]  # the stand-in is never an instance
        return OrderedDict(args[0]) if args and isinstance(args[0], dict) else OrderedDict()


def _as_default_dict(*_: object) -> OrderedDict[Any, Any]:
    return OrderedDict()


def _as_list(items: Any = (), *_: object) -> list[Any]:
    return list(_not_text(items))


def _as_tuple(items: Any = (), *_: object) -> tuple[Any, ...]:
    return tuple(_not_text(items))


def _not_text(items: Any) -> Any:
    """Return ``items``. Raises ValueError for a text, which has 100 bytes per character as a list."""
    if isinstance(items, str | bytes | bytearray):
        raise ValueError("a list of the characters of a text")
    return items


def _as_str(value: object = "", *_: object) -> str:
    """Return a text as it is. The text of lists inside each other may be far larger than they are."""
    if not isinstance(value, str):
        raise ValueError(f"the text of a {type(value).__name__}")
    return value


def _as_text(*parts: object) -> str:
    return "/".join(_as_str(part).rstrip("/") or "" for part in parts)


ALLOWED: dict[str, Any] = {
    "argparse.Namespace": argparse.Namespace,
    "types.SimpleNamespace": types.SimpleNamespace,
    "collections.defaultdict": _as_default_dict,
    "collections.deque": _as_list,
    "_io.BytesIO": io.BytesIO,  # extra state of FP8 layers
    **{f"datetime.{kind.__name__}": kind for kind in (datetime.date, datetime.datetime, datetime.timedelta)},
    "datetime.timezone": datetime.timezone,
    **{f"builtins.{kind.__name__}": kind for kind in (bool, dict, float, frozenset, int)},
    "builtins.list": _as_list,
    "builtins.str": _as_str,
    "builtins.tuple": _as_tuple,
    **{
        f"{module}.{flavour}Path": _as_text
        for module in ("pathlib", "pathlib._local")  # the second in Python 3.13
        for flavour in ("", "Pure", "Posix", "PurePosix", "Windows", "PureWindows")
    },
    # Classes of configurations.
    "yacs.config.CfgNode": _AsDict,
    "easydict.EasyDict": _AsDict,
    "addict.addict.Dict": _AsDict,
    "pytorch_lightning.utilities.parsing.AttributeDict": _AsDict,
    "lightning.pytorch.utilities.parsing.AttributeDict": _AsDict,
    "lightning_fabric.utilities.data.AttributeDict": _AsDict,
    "lightning.fabric.utilities.data.AttributeDict": _AsDict,
    "bench.runtime.stored_arrays.StoredArray": StoredArray,
    **{
        f"{module}.{name}": stand_in
        for (stored, name), stand_in in STAND_INS.items()
        for module in {stored, stored.replace("numpy.core", "numpy._core")}
    },
}


def load_plain(path: Path) -> Any:
    """Return the object that torch.save wrote to ``path``.

    Raises BenchError for damaged files, and for objects that are not on the allow-list, before any of their code runs.
    """
    kind = kind_of(path)
    if kind in OTHER_KINDS:
        raise BenchError(OTHER_KINDS[kind].format(path=path))
    # Torch accepts pairs of a class and a name. Classes that a user has allowed remain allowed.
    allowed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [(v, name) for name, v in ALLOWED.items()]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols and old storage types
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes may raise any exception in the loader
        raise BenchError(f"checkpoint {path} {_problem_of(path, kind, error)}") from error


def _problem_of(path: Path, kind: Kind, error: Exception) -> str:
    refused = re.search(r"(?i)unsupported (?:global: )?GLOBAL ([A-Za-z_][\w.]*) w", str(error))
    if refused:
        return f"holds a pickled {refused[1]}, and objects that could run code are never loaded; {WAY_OUT}."
    if "legacy .tar format" in str(error):
        return f"has the format of torch before version 0.2, which runs code when it is loaded; {WAY_OUT}."
    if kind == "unknown" and _is_archive(path):
        return (
            "is an archive that torch.save did not write; unpack it and give the file of weights in it, or download it "
            "again if it is incomplete."
        )
    return (
        f"cannot be read: it is damaged, not a checkpoint, or holds pickled objects, which are never loaded; {WAY_OUT}."
    )


def _is_archive(path: Path) -> bool:
    """Return whether the file is a zip, gzip or tar archive."""
    with open_input(path, CHECKPOINT) as file:
        head = file.read(262)
    return head.startswith((b"PK\x03\x04", b"\x1f\x8b")) or head[257:] == b"ustar"
