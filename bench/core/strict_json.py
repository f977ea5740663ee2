"""Parse JSON from files strictly: standard numbers, no contradictory keys, bounded nesting.

Python's parser accepts ``NaN`` and ``Infinity``, returns infinity for ``1e999``, keeps the last of several equal keys,
and raises RecursionError for deep nesting. These texts are errors here.
"""

from __future__ import annotations

import json
import re
from typing import Any

from bench.core.number_text import parse_integer, parse_number

MAX_DEPTH = 60  # levels of nesting; our own files have at most 8

# A string, complete or not, is skipped as a whole. It is matched possessively, so that the time stays linear.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def parse_json(content: bytes | str) -> Any:
    """Return the value of a JSON text. Bytes must be UTF-8 and may begin with a byte order mark.

    Raises ValueError, with a short reason, for invalid JSON, two different values of one key, nesting deeper than
    ``MAX_DEPTH``, an integer of more than 64 bits, and a number that is not finite or longer than
    :data:`bench.core.number_text.LONGEST`.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    _check_depth(text)
    return _DECODER.decode(text)


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        depth += (token in "[{") - (token in "]}")
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        for key, value in pairs:
            if not _same(content[key], value):
                raise ValueError(f"the key {key[:40]!r} has two different values")
    return content


def _same(first: Any, second: Any) -> bool:
    """Return whether two values are equal. In Python, true equals 1 and false equals 0; in JSON they do not."""
    return bool(first == second) and json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=parse_number, parse_int=parse_integer, parse_constant=_constant
)
