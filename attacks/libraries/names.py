"""Parse and spell the name of an attack of another library.

The user writes a call with keyword arguments, ``foolbox:LinfPGD(steps=50, rel_stepsize=2/255)``. The canonical name is
``foolbox.LinfProjectedGradientDescentAttack(rel_stepsize=0.00784313725490196;steps=50)``: without aliases, with sorted
parameters, and without ``:`` and ``,``, which separate names. Both forms are accepted, and nothing is evaluated.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.attacks.libraries.tables_advlib import ADVLIB
from bench.attacks.libraries.tables_art import ART
from bench.attacks.libraries.tables_foolbox import FOOLBOX
from bench.attacks.libraries.tables_torchattacks import TORCHATTACKS
from bench.attacks.libraries.traits import AttackLibrary, LibraryAttack
from bench.core.errors import BenchError, unknown_name
from bench.core.names import file_name_problem
from bench.core.number_text import MAX_INTEGER, quoted
from bench.core.specs import Scalar

#: Libraries by the prefix of their attacks.
LIBRARIES: dict[str, AttackLibrary] = {
    "advlib": ADVLIB,
    "art": ART,
    "foolbox": FOOLBOX,
    "torchattacks": TORCHATTACKS,
}
LONGEST = 300  # characters of a name that is parsed

_FORM = re.compile(r"(?P<library>\w*)[:.](?P<attack>[^(]*)(?:\((?P<arguments>.*)\))?", re.DOTALL)
_PLAIN_TEXT = re.compile(r"[A-Za-z0-9_.+-]*")
_VALUES = "a number, a fraction such as 2/255, True, False or a text in quotes"


@dataclass(frozen=True)
class LibraryName:
    """An attack of a library with the parameters of its name, sorted by name."""

    library: str  # prefix, such as torchattacks
    attack: str
    params: Mapping[str, Scalar] = field(hash=False)

    @property
    def shown(self) -> str:
        """Name without parameters, as the user writes it, for messages."""
        return f"{self.library}:{self.attack}"

    @property
    def canonical(self) -> str:
        """Name in specs and tables."""
        arguments = ";".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"{self.library}.{self.attack}" + (f"({arguments})" if arguments else "")

    @property
    def described(self) -> LibraryAttack:
        """Traits of the attack."""
        return LIBRARIES[self.library].attacks[self.attack]


def is_of_library(name: str) -> bool:
    """Return whether ``name`` names an attack of another library, known or not.

    No attack of this project or of a plug-in has a colon in its name.

    >>> [is_of_library(name) for name in ("foolbox:LinfPGD", "foolbox.LinfPGD(steps=5)", "pgd-20", "cleverhans:x")]
    [True, True, False, True]
    """
    return ":" in name or name.partition(".")[0] in LIBRARIES


def parse(name: str) -> LibraryName:
    """Parse a name in the form of the user or in the canonical form.

    Raises BenchError for an unknown library, for an attack that is unknown or cannot be a row, for anything but keyword
    arguments with literal values, and for a name that cannot be the name of a file.

    >>> parse("foolbox:PGD(steps=5, rel_stepsize=1/4)").canonical
    'foolbox.LinfProjectedGradientDescentAttack(rel_stepsize=0.25;steps=5)'
    """
    if len(name) > LONGEST:
        raise BenchError(f"attack {quoted(name)} has {len(name)} characters; at most {LONGEST} are allowed.")
    form = _FORM.fullmatch(name)
    if form is None:
        raise BenchError(
            f"attack {quoted(name)} is not of the form <library>:<attack>(<parameter>=<value>, …), such as "
            "foolbox:LinfPGD(steps=50); parentheses must be closed."
        )
    prefix = form["library"]
    if prefix not in LIBRARIES:
        raise unknown_name("library of attacks", prefix, LIBRARIES)
    attack = _known_attack(prefix, form["attack"].strip())
    parsed = LibraryName(prefix, attack, _arguments(name, form["arguments"] or ""))
    problem = file_name_problem(parsed.canonical)
    if problem:
        raise BenchError(f"attack {quoted(name)} is {parsed.canonical!r} in tables, which is not allowed: {problem}.")
    return parsed


def _known_attack(prefix: str, attack: str) -> str:
    """Return the name of the attack without alias. Raises BenchError if it is unknown or cannot be a row."""
    library = LIBRARIES[prefix]
    attack = library.aliases.get(attack, attack)
    if attack in library.excluded:
        raise BenchError(f"attack '{prefix}:{attack}' cannot be a row: {library.excluded[attack]}.")
    if attack not in library.attacks:
        known = [*library.attacks, *library.aliases]
        raise unknown_name(f"attack of {library.title}", attack, known, hint=f"See 'bench list attacks {prefix}'.")
    return attack


def _arguments(name: str, text: str) -> dict[str, Scalar]:
    """Return the keyword arguments in ``text``, sorted by name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as SyntaxWarning for a missing space
            call = ast.parse(f"f({text.replace(';', ',')})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        raise BenchError(f"attack {quoted(name)} has parameters that are no list of name=value: {reason}.") from None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        raise BenchError(f"attack {quoted(name)} has text after its parameters; end it with the closing parenthesis.")
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise BenchError(f"attack {quoted(name)} has a parameter without a name; name every parameter, as in steps=50.")
    names = [keyword.arg for keyword in call.keywords]
    if len(set(names)) < len(names):
        raise BenchError(f"attack {quoted(name)} has a parameter twice; write each parameter once.")
    named = {str(keyword.arg): _value(name, str(keyword.arg), keyword.value) for keyword in call.keywords}
    return dict(sorted(named.items()))


def _value(name: str, parameter: str, node: ast.expr) -> Scalar:
    """Return the value of one parameter. Raises BenchError unless it is a number, a fraction, a bool or a text."""
    try:
        value = _fraction(node) if isinstance(node, ast.BinOp) else ast.literal_eval(node)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError, RecursionError):
        value = None
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= MAX_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value + 0.0  # 0.0 for -0.0, which would have another name
    if isinstance(value, str) and _PLAIN_TEXT.fullmatch(value):
        return value
    if isinstance(value, str):
        raise BenchError(
            f"attack {quoted(name)}: the text of {parameter} has characters other than letters, digits and _ . + -, "
            "which file names may not have everywhere."
        )
    raise BenchError(f"attack {quoted(name)}: the value of {parameter} is not allowed; write {_VALUES}.")


def _fraction(node: ast.BinOp) -> float:
    """Return a/b for literal numbers. Raises ValueError for any other operation."""
    if not isinstance(node.op, ast.Div):
        raise ValueError("not a fraction")
    above, below = ast.literal_eval(node.left), ast.literal_eval(node.right)
    if isinstance(above, str) or isinstance(below, str):
        raise ValueError("not numbers")
    return float(above / below)
