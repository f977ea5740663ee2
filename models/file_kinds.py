"""Detect the kind of a model file from its content rather than its name. Nothing is unpickled."""

from __future__ import annotations

import itertools
import pickletools
import zipfile
from pathlib import Path
from typing import IO, Literal, cast

from bench.core.errors import BenchError
from bench.core.limits import CHECKPOINT, PICKLE, PICKLE_OPCODES, SAFETENSORS_HEADER, in_bytes
from bench.core.paths import shown
from bench.core.strict_json import parse_json
from bench.runtime.input_files import exists, open_input
from bench.runtime.unpacking import check_zip

Kind = Literal["state_dict", "torchscript", "exported", "onnx", "safetensors", "pickled_module", "unknown"]

#: First bytes of files that torch.save wrote before version 1.6: a pickled magic number.
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LEGACY_PICKLES = 4  # magic number, protocol, system information, and the object
#: Attribute names in every pickled nn.Module; a state dict has neither.
MODULE_ATTRIBUTES = frozenset({"_modules", "_parameters"})
#: ONNX files begin with field 1, the IR version, followed by the producer, the graph or the operator sets.
ONNX_VERSIONS, ONNX_FIELDS = range(3, 64), b"\x12\x1a\x3a\x42"


def kind_of(path: Path) -> Kind:
    """Return the kind of the file ``path``.

    "state_dict" is any torch.save file without a pickled module: a state dict, or a training checkpoint that contains a
    state dict. "exported" is a torch.export program. Raises BenchError if the file does not exist, is not a regular
    file, or exceeds the limits of :mod:`bench.core.limits`, also after decompression.
    """
    if not exists(path, CHECKPOINT.name):
        raise BenchError(f"checkpoint {shown(path)} does not exist; give a file that holds weights or a whole network.")
    with open_input(path, CHECKPOINT) as file:
        head = file.read(len(LEGACY))
        if zipfile.is_zipfile(file):
            check_zip(file, path, CHECKPOINT)
            return _kind_of_zip(file, path)
        if head == LEGACY:
            file.seek(0)
            return _kind_of_pickle(file, LEGACY_PICKLES, path)
        if _is_safetensors(file):
            return "safetensors"
        if path.suffix == ".onnx" or _is_onnx(head):
            return "onnx"
        file.seek(0)
        return (
            "pickled_module"
            if head[:1] == b"\x80" and _kind_of_pickle(file, 1, path) == "pickled_module"
            else "unknown"
        )


def _kind_of_zip(file: IO[bytes], path: Path) -> Kind:
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.partition("/")[2]: name for name in archive.namelist()}
            if "constants.pkl" in names and any(name.startswith("code/") for name in names):
                return "torchscript"
            # torch 2.6 and earlier use the second name, and their entries are not inside a folder.
            if "archive_format" in names or "serialized_exported_program.json" in archive.namelist():
                return "exported"
            if "data.pkl" in names:
                with archive.open(names["data.pkl"]) as pickled:
                    return _kind_of_pickle(pickled, 1, path)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError):  # damaged or encrypted
        pass
    return "unknown"


def _kind_of_pickle(file: IO[bytes], pickles: int, path: Path) -> Kind:
    """Disassemble ``pickles`` consecutive pickles; the last one is the saved object.

    Raises BenchError for more bytes or opcodes than a checkpoint has.
    """
    strings: set[str] = set()
    opcodes, bounded = itertools.count(1), cast("IO[bytes]", _BoundedFile(file, PICKLE))
    try:
        for _ in range(pickles):
            strings.clear()
            for _, argument, _ in pickletools.genops(bounded):
                if next(opcodes) > PICKLE_OPCODES:
                    raise _TooLongError
                if isinstance(argument, str):
                    strings.add(argument)
    except _TooLongError:
        raise BenchError(
            f"checkpoint {shown(path)} has a pickle of more than {PICKLE_OPCODES:,} opcodes or {in_bytes(PICKLE)}; "
            "save the tensors alone, with torch.save(model.state_dict(), path) or as safetensors."
        ) from None
    except Exception:  # noqa: BLE001 - damaged bytes may raise any exception in the disassembler
        return "unknown"
    return "pickled_module" if strings >= MODULE_ATTRIBUTES else "state_dict"


class _TooLongError(Exception):
    """A pickle with more bytes or opcodes than a checkpoint has."""


class _BoundedFile:
    """Binary file that raises _TooLongError after ``limit`` bytes."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self._left = file, limit

    def read(self, size: int) -> bytes:
        return self._count(self._file.read(min(size, self._left + 1)))

    def readline(self) -> bytes:
        return self._count(self._file.readline(self._left + 1))

    def _count(self, content: bytes) -> bytes:
        self._left -= len(content)
        if self._left < 0:
            raise _TooLongError
        return content


def _is_safetensors(file: IO[bytes]) -> bool:
    """Return whether the file begins with eight bytes for the length of a JSON header, followed by the header."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= SAFETENSORS_HEADER:
        return False
    header = file.read(length)
    try:
        return len(header) == length and isinstance(parse_json(header), dict)
    except ValueError:
        return False


def _is_onnx(head: bytes) -> bool:
    return len(head) > 2 and head[0] == 8 and head[1] in ONNX_VERSIONS and head[2] in ONNX_FIELDS
