"""Mutations of bytes, lines, numbers and JSON structures. Each is a function of a random generator and the content."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutation = Callable[[Random, bytes], bytes]

#: Numbers that parsers treat differently: out of range, other digits, other forms, and very long.
NUMBERS = (
    b"-1", b"-0", b"0", b"00", b"1_0", "١٢".encode(), "１".encode(), b"1e-999999999", b"1e999999999", b"1e400",
    b"1e308", b"nan", b"NaN", b"inf", b"-Infinity", b"0x10", b"+1", b" 1", b"1 ", b"1.", b".5", b"1.0",
    b"1e0", b"9" * 30, b"9" * 5000, b"0." + b"1" * 5000, b"9223372036854775808", b"true", b'"1"', b"1/0", b"8/255/2",
)  # fmt: skip
SNIPPETS = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\n", b'"', b"'", b",", b"\\", b"[" * 5000, b'{"a":' * 5000,
    b"\\ud800", b"\xed\xa0\x80", "\u202e".encode(), b"\x1b[31m", b"=1+1", b"a" * 200_000, b"]", b"}", b"#", b"\x80" * 9,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2**31, 2**63, 2**64, 10**40, -0.0, 0.5, 1e308, float("nan"), float("inf"), "", "1",
    "nan", "a" * 1000, [], [[]], [1, "a"], {}, {"a": 1}, "\ud800", "../x", "\0",
)  # fmt: skip


def any_bytes(rng: Random, content: bytes) -> bytes:
    """Change, insert, delete, repeat or move a few bytes, or cut the end."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        content = rng.choice(BYTE_CHANGES)(rng, content)
    return content


def _slice(rng: Random, content: bytes) -> tuple[int, int]:
    start = rng.randint(0, len(content))
    return start, min(len(content), start + rng.choice((1, 1, 2, 4, 8, 50, 1000)))


def _flip(rng: Random, content: bytes) -> bytes:
    place = rng.randrange(max(1, len(content)))
    return (
        content[:place] + bytes(b ^ (1 << rng.randrange(8)) for b in content[place : place + 1]) + content[place + 1 :]
    )


def _overwrite(rng: Random, content: bytes) -> bytes:
    start, end = _slice(rng, content)
    fill = rng.choice((b"\0", b"\xff", b"\x7f", b"0", bytes([rng.randrange(256)])))
    return content[:start] + fill * (end - start) + content[end:]


def _insert(rng: Random, content: bytes) -> bytes:
    place = rng.randint(0, len(content))
    return content[:place] + rng.choice((*SNIPPETS, *NUMBERS, rng.randbytes(rng.randint(1, 9)))) + content[place:]


def _delete(rng: Random, content: bytes) -> bytes:
    start, end = _slice(rng, content)
    return content[:start] + content[end:]


def _repeat(rng: Random, content: bytes) -> bytes:
    start, end = _slice(rng, content)
    return content[:start] + content[start:end] * rng.choice((2, 2, 3, 100)) + content[end:]


def _move(rng: Random, content: bytes) -> bytes:
    start, end = _slice(rng, content)
    rest = content[:start] + content[end:]
    place = rng.randint(0, len(rest))
    return rest[:place] + content[start:end] + rest[place:]


def _cut(rng: Random, content: bytes) -> bytes:
    return content[: rng.randint(0, len(content))]


BYTE_CHANGES: tuple[Mutation, ...] = (_flip, _flip, _flip, _overwrite, _insert, _delete, _repeat, _move, _cut)


def lines(rng: Random, content: bytes) -> bytes:
    """Delete, repeat, swap or blank a line, or exchange two of its fields."""
    rows = content.split(b"\n")
    a, b = rng.randrange(len(rows)), rng.randrange(len(rows))
    change = rng.randrange(6)
    if change == 0:
        del rows[a]
    elif change == 1:
        rows.insert(b, rows[a])
    elif change == 2:
        rows[a], rows[b] = rows[b], rows[a]
    elif change == 3:
        rows[a] = b""
    elif change == 4:
        fields = rows[a].split(b",")
        rng.shuffle(fields)
        rows[a] = b",".join(fields)
    else:
        rows = [row + b"\r" for row in rows]
    return b"\n".join(rows)


def numbers(rng: Random, content: bytes) -> bytes:
    """Replace a number, or change one of its digits."""
    found = list(re.finditer(rb"[0-9]+(\.[0-9]+)?(e-?[0-9]+)?", content))
    if not found:
        return any_bytes(rng, content)
    start, end = rng.choice(found).span()
    digit = str(rng.randrange(10)).encode()
    near = content[start:end].replace(content[start : start + 1], digit)
    new = rng.choice((*NUMBERS, near, near, near, near, content[start:end] + digit, digit, b"-" + near))
    return content[:start] + new + content[end:]


def json_structure(rng: Random, content: bytes) -> bytes:
    """Replace, delete, rename, repeat or wrap a value of a JSON text."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return any_bytes(rng, content)
    for _ in range(rng.choice((1, 1, 2))):
        _change_value(rng, data)
    text = json.dumps(data, indent=rng.choice((None, 1, 2)))
    if rng.random() < 0.1:  # a key twice, which no dictionary holds
        text = re.sub(
            r'("\w+": )([^,{}\[\]]+)', rf"\g<0>, \g<1>{rng.choice(('0', '1', 'null', chr(34) * 2))}", text, count=1
        )
    if rng.random() < 0.05:
        deep = rng.choice((50, 1000, 100_000))
        text = text.replace(": ", ": " + "[" * deep + "]" * deep + ', "x": ', 1)
    return text.encode("utf-8", "surrogatepass")


def _change_value(rng: Random, data: Any) -> None:
    containers = _containers(data)
    if not containers:
        return
    inside = rng.choice(containers)
    if not inside:
        return
    key: Any = rng.choice(list(inside)) if isinstance(inside, dict) else rng.randrange(len(inside))
    change = rng.randrange(7)
    if change == 0:
        del inside[key]
    elif change == 1 and isinstance(inside, dict):
        inside[rng.choice(("x", "", f"{key}_", "seal", "version", "n"))] = inside.pop(key)
    elif change == 2:
        inside[key] = [inside[key]]
    elif change == 3 and isinstance(inside[key], int):
        inside[key] += rng.choice((-1, 1, 1000, -1000))
    elif change == 4 and isinstance(inside[key], str):
        inside[key] = any_bytes(rng, inside[key].encode("utf-8", "replace")).decode("utf-8", "replace")
    elif change == 5:
        inside[key] = str(inside[key])
    else:
        inside[key] = rng.choice(VALUES)


def _containers(data: Any) -> list[Any]:
    if isinstance(data, dict):
        return [data, *(inner for value in data.values() for inner in _containers(value))]
    if isinstance(data, list):
        return [data, *(inner for value in data[:20] for inner in _containers(value))]
    return []


BINARY: Sequence[Mutation] = (any_bytes,)
CSV: Sequence[Mutation] = (any_bytes, lines, numbers, numbers)
TEXT: Sequence[Mutation] = (any_bytes, lines, numbers)
JSON: Sequence[Mutation] = (any_bytes, numbers, json_structure, json_structure)


def mutated(rng: Random, content: bytes, mutations: Sequence[Mutation]) -> bytes:
    """Return ``content`` after one to three mutations."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(mutations)(rng, content)
    return content
