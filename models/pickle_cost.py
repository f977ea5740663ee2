"""Bound the work of unpickling from the opcodes of a pickle, before any of them is executed.

A pickle of 600 bytes can nest 50 tuples, each of which holds the previous one twice. The hash of the last one, as a key
of a dictionary, takes days. :class:`PickleCost` counts the objects of every value as often as they occur in it, here
2^50, and follows the opcodes on a stack of these numbers.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import Any

from bench.core.limits import PICKLE_OBJECTS

PUT = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
GET = frozenset({"GET", "BINGET", "LONG_BINGET"})
SPECIAL = GET | {"MARK"}  # opcodes without operands that push something else than a constant
#: Opcodes that add their other operands to the first one, and leave it on the stack.
GROWING = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})
CALLS = frozenset({"REDUCE", "NEWOBJ"})
FAST_CODECS = frozenset({"latin1", "latin-1", "utf8", "utf-8", "ascii"})
LONGEST_TUPLE = 3  # longer tuples are no arguments of the calls that are checked


class TooCostlyError(Exception):
    """Work above the limits. The message continues the sentence "the checkpoint has a pickle …"."""


@dataclass(slots=True)
class _Value:
    """A value on the stack: the number of objects in it, and its content if it is a text, a number or a short tuple."""

    size: int = 1
    content: Any = None


class PickleCost:
    """Work of the opcodes of one pickle or of several consecutive ones, which share the limit."""

    def __init__(self) -> None:
        self._objects = 0
        self.begin()

    def begin(self) -> None:
        """Begin the next pickle, with an empty stack and an empty memo."""
        self._stack: list[_Value | None] = []  # None is a mark
        self._memo: dict[int, _Value] = {}

    def add(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Follow one opcode.

        Raises TooCostlyError above the limits, and LookupError or AttributeError for a stack that does not fit.
        """
        if not opcode.stack_before and len(opcode.stack_after) == 1 and opcode.name not in SPECIAL:
            self._stack.append(_Value(1, () if opcode.name == "EMPTY_TUPLE" else argument))
        elif opcode.name in PUT or opcode.name == "MEMOIZE":
            self._memo[len(self._memo) if argument is None else argument] = self._top()
        elif opcode.name in GET:
            self._stack.append(self._memo[argument])
        elif opcode.name == "MARK":
            self._stack.append(None)
        else:
            self._change(opcode, argument)

    def _top(self) -> _Value:
        value = self._stack[-1]
        if value is None:
            raise LookupError("a mark instead of a value")
        return value

    def _change(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Replace the operands of an opcode by its result."""
        operands = self._operands(opcode)
        target = operands.pop(0) if opcode.name in GROWING else None
        size = sum(value.size for value in operands)
        self._objects += size
        if self._objects > PICKLE_OBJECTS:
            raise TooCostlyError(f"in which objects occur more than {PICKLE_OBJECTS:,} times inside others")
        if opcode.name in CALLS:
            _check_call(operands[0].content, operands[1].content)
        if target is not None:
            target.size += size
            self._stack.append(target)
        elif opcode.name == "DUP":
            self._stack += [operands[0], operands[0]]
        else:
            is_short = opcode.name.startswith("TUPLE") and len(operands) <= LONGEST_TUPLE
            content = tuple(value.content for value in operands) if is_short else argument
            self._stack += [_Value(1 + size, content) for _ in opcode.stack_after]

    def _operands(self, opcode: pickletools.OpcodeInfo) -> list[_Value]:
        """Pop the operands of an opcode, in their order."""
        below, operands = len(opcode.stack_before), list[_Value]()
        if pickletools.markobject in opcode.stack_before:
            below = opcode.stack_before.index(pickletools.markobject)
            while (value := self._stack.pop()) is not None:
                operands.append(value)
        elif opcode.name == "POP" and self._stack[-1] is None:  # it may remove a mark
            below = 0
            self._stack.pop()
        for _ in range(below):
            operands.append(self._top())
            self._stack.pop()
        return operands[::-1]


def _check_call(function: Any, arguments: Any) -> None:
    """Check a call of a function by its name, such as "builtins bytearray".

    Raises TooCostlyError if it would reserve memory by a number, or use a slow codec.
    """
    name = str(function).rpartition(" ")[2] if isinstance(function, str) else ""
    if name not in ("bytearray", "encode") or arguments == ():
        return
    if not isinstance(arguments, tuple) or not isinstance(arguments[0], str | bytes):
        raise TooCostlyError(f"that calls {name} with something else than text")
    if any(not isinstance(codec, str) or codec not in FAST_CODECS for codec in arguments[1:]):
        raise TooCostlyError(f"that calls {name} with an unusual codec")
