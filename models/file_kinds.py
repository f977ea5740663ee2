"""Detect the kind of a model file from its content rather than its name. Nothing is unpickled."""

from __future__ import annotations

import itertools
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, cast

from bench.core.errors import BenchError
from bench.core.limits import CHECKPOINT, PICKLE, PICKLE_OPCODES, SAFETENSORS_HEADER, in_bytes
from bench.core.paths import shown
from bench.core.strict_json import parse_json
from bench.models.pickle_cost import PickleCost, TooCostlyError
from bench.runtime.input_files import exists, open_input
from bench.runtime.unpacking import check_zip

Kind = Literal["state_dict", "torchscript", "exported", "onnx", "safetensors", "pickled_module", "unknown"]

#: First bytes of files that torch.save wrote before version 1.6: a pickled magic number.
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LEGACY_OBJECT = 4  # the pickles are: magic number, protocol, system information, the object, and a list of names
PICKLES = 5  # that torch unpickles from a file at most
#: First bytes of the archives that torch reads. Python also finds an archive after other content.
ZIP = b"PK\3\4"
TENSORS_ALONE = "save the tensors alone, with torch.save(model.state_dict(), path) or as safetensors"
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
        if head.startswith(ZIP) and zipfile.is_zipfile(file):
            check_zip(file, path, CHECKPOINT)
            return _kind_of_zip(file, path)
        if head == LEGACY:
            file.seek(0)
            return _kind_of_pickles(file, LEGACY_OBJECT, path)
        if _is_safetensors(file):
            return "safetensors"
        if path.suffix == ".onnx" or _is_onnx(head):
            return "onnx"
        file.seek(0)  # torch unpickles files of unknown kinds, too
        return "pickled_module" if _kind_of_pickles(file, 1, path) == "pickled_module" else "unknown"


def _kind_of_zip(file: IO[bytes], path: Path) -> Kind:
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
            if "constants.pkl" in names and any(name.startswith("code/") for name in names):
                return "torchscript"
            # torch 2.6 and earlier use the second name, and their entries are not inside a folder.
            if "archive_format" in names or "serialized_exported_program.json" in archive.namelist():
                return "exported"
            kind: Kind = "unknown"
            for entry in archive.infolist():
                # Of several such entries torch may read any, and it finds them in lower and upper case.
                if entry.filename.lower().partition("/")[2] == "data.pkl":
                    with archive.open(entry) as pickled:
                        kind = _kind_of_pickles(pickled, 1, path)
            return kind
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError):  # damaged or encrypted
        return "unknown"


def _kind_of_pickles(file: IO[bytes], number: int, path: Path) -> Kind:
    """Disassemble the consecutive pickles of a file, of which the one with this ``number`` is the saved object.

    Raises BenchError for more bytes, opcodes or work than a checkpoint has.
    """
    kinds: list[Kind] = []
    opcodes, bounded, cost = itertools.count(1), cast("IO[bytes]", _BoundedFile(file, PICKLE)), PickleCost()
    try:
        for _ in range(PICKLES):
            kinds.append(_kind_of_pickle(bounded, opcodes, cost))
    except _TooLongError:
        raise BenchError(
            f"checkpoint {shown(path)} has a pickle of more than {PICKLE_OPCODES:,} opcodes or {in_bytes(PICKLE)}; "
            f"{TENSORS_ALONE}."
        ) from None
    except TooCostlyError as error:
        raise BenchError(f"checkpoint {shown(path)} has a pickle {error}; {TENSORS_ALONE}.") from None
    except Exception:  # noqa: BLE001 - the end of the file; damaged bytes may raise any exception
        pass
    return kinds[number - 1] if len(kinds) >= number else "unknown"


def _kind_of_pickle(file: IO[bytes], opcodes: Iterator[int], cost: PickleCost) -> Kind:
    """Disassemble one pickle, and count its ``opcodes`` and its ``cost``."""
    strings: set[str] = set()
    cost.begin()
    for opcode, argument, _ in pickletools.genops(file):
        if next(opcodes) > PICKLE_OPCODES:
            raise _TooLongError
        cost.add(opcode, argument)
        if isinstance(argument, str):
            strings.add(argument)
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
