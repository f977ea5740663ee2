"""Detect the kind of a model file from its content rather than its name. Nothing is unpickled."""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path
from typing import IO, Literal

from bench.core.errors import BenchError
from bench.core.strict_json import parse_json

Kind = Literal["state_dict", "torchscript", "exported", "onnx", "safetensors", "pickled_module", "unknown"]

#: First bytes of files that torch.save wrote before version 1.6: a pickled magic number.
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LEGACY_PICKLES = 4  # magic number, protocol, system information, and the object
#: Attribute names in every pickled nn.Module; a state dict has neither.
MODULE_ATTRIBUTES = frozenset({"_modules", "_parameters"})
MAX_HEADER = 100_000_000  # bytes, the limit of the safetensors format
#: ONNX files begin with field 1, the IR version, followed by the producer, the graph or the operator sets.
ONNX_VERSIONS, ONNX_FIELDS = range(3, 64), b"\x12\x1a\x3a\x42"


def kind_of(path: Path) -> Kind:
    """Return the kind of the file ``path``.

    "state_dict" is any torch.save file without a pickled module: a state dict, or a training checkpoint that contains a
    state dict. "exported" is a torch.export program. Raises BenchError if the file does not exist.
    """
    if not path.exists():
        raise BenchError(f"checkpoint {path} does not exist; give a file that holds weights or a whole network.")
    if not path.is_file():
        return "unknown"
    with path.open("rb") as file:
        head = file.read(len(LEGACY))
        if zipfile.is_zipfile(file):
            return _kind_of_zip(file)
        if head == LEGACY:
            file.seek(0)
            return _kind_of_pickle(file, LEGACY_PICKLES)
        if _is_safetensors(file):
            return "safetensors"
        if path.suffix == ".onnx" or _is_onnx(head):
            return "onnx"
        file.seek(0)
        return "pickled_module" if head[:1] == b"\x80" and _kind_of_pickle(file, 1) == "pickled_module" else "unknown"


def _kind_of_zip(file: IO[bytes]) -> Kind:
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.partition("/")[2]: name for name in archive.namelist()}
            if "constants.pkl" in names and any(name.startswith("code/") for name in names):
                return "torchscript"
            # torch 2.6 and earlier use the second name, and their entries are not inside a folder.
            if "archive_format" in names or "serialized_exported_program.json" in archive.namelist():
                return "exported"
            if "data.pkl" in names:
                return _kind_of_pickle(io.BytesIO(archive.read(names["data.pkl"])), 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError):  # damaged or encrypted
        pass
    return "unknown"


def _kind_of_pickle(file: IO[bytes], pickles: int) -> Kind:
    """Disassemble ``pickles`` consecutive pickles; the last one is the saved object."""
    strings: set[str] = set()
    try:
        for _ in range(pickles):
            strings = {arg for _, arg, _ in pickletools.genops(file) if isinstance(arg, str)}
    except Exception:  # noqa: BLE001 - damaged bytes may raise any exception in the disassembler
        return "unknown"
    return "pickled_module" if strings >= MODULE_ATTRIBUTES else "state_dict"


def _is_safetensors(file: IO[bytes]) -> bool:
    """Return whether the file begins with eight bytes for the length of a JSON header, followed by the header."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= MAX_HEADER:
        return False
    header = file.read(length)
    try:
        return len(header) == length and isinstance(parse_json(header), dict)
    except ValueError:
        return False


def _is_onnx(head: bytes) -> bool:
    return len(head) > 2 and head[0] == 8 and head[1] in ONNX_VERSIONS and head[2] in ONNX_FIELDS
