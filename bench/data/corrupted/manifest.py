"""``manifest.json``: what is known of the files of a generated set. Neither OpenCV nor SciPy is needed to read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

MANIFEST: Final = "manifest.json"


class Entry(NamedTuple):
    """Manifest entry of a finished file."""

    set: str  # hash of the images, labels, constants and seed
    sha256: str


def raw_entries(folder: Path) -> dict[str, Any]:
    """Return the manifest's entries by file name, unchecked; empty if there is no manifest or it is damaged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {}
    files = manifest.get("files") if isinstance(manifest, dict) else None
    return files if isinstance(files, dict) else {}


def entries(folder: Path) -> dict[str, Entry]:
    """Return the entries of the files that are in the folder; entries that are not in our format are ignored."""
    found = {name: said for name, said in raw_entries(folder).items() if isinstance(said, dict)}
    return {
        name: Entry(said["set"], said["sha256"])
        for name, said in sorted(found.items())
        if isinstance(said.get("set"), str) and isinstance(said.get("sha256"), str) and (folder / name).is_file()
    }
