"""Limits of everything that is read from files: bytes by kind of file, bytes after decompression, and pixels.

All limits stand in this module. They are far above files in use, and low enough that a hostile file cannot exhaust
the memory. Sizes are counted while a file is read or decompressed, because declared sizes may be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

MB, GB = 10**6, 10**9


@dataclass(frozen=True)
class FileKind:
    """A kind of file that is read."""

    name: str  # in messages: "cannot read <name> <path>: …"
    limit: int  # maximum number of bytes
    unpacked: int = 0  # maximum number of bytes after decompression; 0 if the kind is never compressed


CONFIG = FileKind("config", 1 * MB)
CLASS_NAMES = FileKind("--class-names", 10 * MB)
BASELINE = FileKind("baseline", 32 * MB)
MODEL_INFO = FileKind("model_info", 1 * MB)
TABLE = FileKind("table", 32 * MB)  # CSV files
OWN_TABLE = FileKind("table", 1 * GB)  # CSV files of a results folder
RECORD = FileKind("record", 16 * MB)  # JSON files of a results folder
OUTCOMES = FileKind("outcomes", 128 * MB)  # one line per image
CLAIM = FileKind("claim", 10_000)
HASHES = FileKind("cache of hashes", 1 * GB)  # 200 bytes per image of a folder
MANIFEST = FileKind("manifest", 10 * MB)
PLUGIN = FileKind("plugin", 10 * MB)
MODULE = FileKind("module", 10 * MB)  # Python file with a function that builds a network
CHECKPOINT = FileKind("checkpoint", 32 * GB, unpacked=32 * GB)
WEIGHTS = FileKind("network", 64 * GB)  # files that a results folder holds for a run
JOURNAL = FileKind("journal", 64 * GB)  # read entry by entry
ADVERSARIALS = FileKind("adversarial images", 64 * GB)
IMAGE = FileKind("image", 256 * MB)
IDX = FileKind("IDX file", 600 * MB, unpacked=600 * MB)
CIFAR = FileKind("batch", 512 * MB)
MAT = FileKind("MATLAB file", 600 * MB, unpacked=600 * MB)
DATA = FileKind("data file", 1 * GB)  # any file of a built-in data set
ARRAY = FileKind("array", 1000 * GB)  # mapped into memory, not read

#: Maximum bytes of the list of entries of a zip archive, and of the JSON header of a safetensors file.
ZIP_DIRECTORY = 16 * MB
SAFETENSORS_HEADER = 16 * MB

#: Maximum number of opcodes of a pickle, and bytes of a pickle in a checkpoint. CIFAR-100 has 350,000 opcodes.
PICKLE_OPCODES = 2_000_000
PICKLE = 256 * MB
#: Maximum number of objects inside others in a pickle of a checkpoint, each counted as often as it occurs there.
PICKLE_OBJECTS = 10 * PICKLE_OPCODES

#: A checkpoint may decompress to this multiple of its size, or to UNPACKED_ALWAYS. The same holds for its tensors,
#: which may repeat stored values.
UNPACKED_PER_BYTE = 20
UNPACKED_ALWAYS = 256 * MB

#: Maximum number of pixels of one image, as stored and after its shorter side was resized.
PIXELS = 64 * 2**20
#: Images with more pixels are decoded one after the other.
LARGE_IMAGE = 4 * 2**20

#: Maximum number of classes of a data set. Images are counted per class.
MAX_CLASSES = 10_000_000


def unpacked_limit(kind: FileKind, size: int) -> int:
    """Return the maximum number of bytes to which a file of ``size`` bytes may decompress."""
    return min(kind.unpacked, max(UNPACKED_ALWAYS, UNPACKED_PER_BYTE * size))


def in_bytes(number: int) -> str:
    """Return a number of bytes with a unit.

    >>> in_bytes(999), in_bytes(1_500_000), in_bytes(32 * GB)
    ('999 bytes', '1.5 MB', '32 GB')
    """
    for unit, size in (("TB", 1000 * GB), ("GB", GB), ("MB", MB), ("kB", 1000)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} bytes"
