"""JSON beside tensors: what stands in the header of a safetensors file under one key."""

from __future__ import annotations

import json
from typing import Any

FACTS = "facts"


def read_facts(content: bytes) -> dict[str, Any]:
    """The facts of a whole file. Raises ValueError, KeyError or TypeError when it has none.

    safetensors reads its header from files only; its layout is 8 bytes of length and JSON.
    """
    length = int.from_bytes(content[:8], "little")
    facts: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][FACTS])
    return facts
