"""Paths that are no ordinary file: pipes, devices, folders, loops of links, and paths that no system can open."""

from __future__ import annotations

import os
from pathlib import Path

#: Names of the paths that :func:`odd_path` makes.
KINDS = (
    "too long", "long name", "NUL", "loop", "empty", "zero", "pipe", "folder", "broken link", "link to pipe", "closed",
    "standard input", "huge", "not UTF-8",
)  # fmt: skip
UNUSABLE = KINDS[:5]  # no command can use them, neither for reading nor for writing


NAMES = {  # of those that are not made
    "too long": "{folder}/" + "a/" * 2500,
    "long name": "{folder}/" + "b" * 300,
    "NUL": "{folder}/a\0b",
    "empty": "",
    "zero": "/dev/zero",
    "closed": "/dev/fd/987",
    "standard input": "-",
    "not UTF-8": "{folder}/" + os.fsdecode(b"\xff\xfe"),
}
LINKS = {"loop": "loop", "broken link": "nothing", "link to pipe": "its-pipe"}


def odd_path(kind: str, folder: Path) -> str:
    """Make the path of ``kind`` in ``folder``, an existing folder, and return it."""
    if kind in NAMES:
        return NAMES[kind].format(folder=folder)
    path = folder / kind.replace(" ", "-")
    if kind in LINKS:
        path.symlink_to(folder / LINKS[kind])
    if "pipe" in kind:
        os.mkfifo(folder / LINKS.get(kind, path.name))
    if kind == "folder":
        path.mkdir()
    if kind == "huge":
        path.touch()
        os.truncate(path, 10**13)  # sparse
    return str(path)
