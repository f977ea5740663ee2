r"""Make text from outside inert in the medium into which it is written: one function per medium.

Names, paths, notes and messages of exceptions may contain anything: escape sequences of terminals, line breaks, markup,
formulas, marks that reverse the direction of text, undecodable bytes. Characters without a shape of their own are
written as escapes of Python, such as ``\x1b`` or ``\u202e``, in every medium. Spaces of all widths stay.

A spreadsheet evaluates a cell as a formula if it begins with ``=``, ``+``, ``-`` or ``@``. Such a text gets a leading
apostrophe, as recommended by OWASP ("CSV Injection"). Numbers, such as ``-0.5``, stay numbers. :func:`from_csv` removes
the apostrophe.
"""

from __future__ import annotations

import html
import re
import shlex
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

FORMULA: Final = "=+-@\uff1d\uff0b\uff0d\uff20"  # first characters of formulas, and their full-width forms
LONGEST: Final = 2000  # number of characters of a message that are kept

#: Printable characters without a shape or a width: joiners, fillers, inherent vowels, and selectors of variants, which
#: could hide a second text in a name. Unicode lists them as Default_Ignorable_Code_Point.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ESCAPED = re.compile(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_FROM_BYTES = re.compile("[^\ud800-\udc7f\udd00-\udfff]*")  # text that Python decodes from the bytes of a path
_MARKDOWN = re.compile(r"[\\`*\[\]<|~&$]|(?<![^\W_])_|_(?![^\W_])")
#: LaTeX code of characters that LaTeX interprets as commands or that are missing in its fonts.
LATEX: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "≤": r"$\leq$", "⚑": r"$\dagger$", "×": r"$\times$", "±": r"$\pm$", "‖": r"$\|$",
        "<": r"$<$", ">": r"$>$",
    }
)  # fmt: skip


def one_line(text: str) -> str:
    r"""Return ``text`` on one line, with escapes in place of characters that are not printable.

    Use it for XML, JSON and for texts that are printed on one line.

    >>> print(one_line("a\x1b[31m\n\u202eb \ud800"))
    a\x1b[31m\x0a\u202eb \ud800
    """
    return text if _is_visible(text) else "".join(map(_visible, text))


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return ``text`` with at most ``longest`` characters, including the number of those left out.

    >>> shortened("a" * 50, longest=40)
    'aaaaaaaaaa… (40 more characters)'
    """
    kept = longest - 30
    return text if len(text) <= longest else f"{text[:kept]}… ({len(text) - kept} more characters)"


def terminal(text: str) -> str:
    r"""Return text of several lines for a terminal. Line breaks and tabs stay; a carriage return ends the line.

    >>> print(terminal("over\rwritten\x1b[2J"))
    over
    written\x1b[2J
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join("\t".join(map(one_line, line.split("\t"))) for line in lines)


def csv_cell(text: str) -> str:
    r"""Return ``text`` as a cell of a CSV table: on one line, and with an apostrophe before a formula.

    >>> csv_cell("=1+1"), csv_cell("-0.5"), csv_cell("'=1"), csv_cell("a\x1bb")
    ("'=1+1", '-0.5', "''=1", 'a\\x1bb')
    """
    line = one_line(text)
    return f"'{line}" if _is_formula(line.lstrip("'").lstrip()) else line


def from_csv(cell: str) -> str:
    """Return the text of a cell without the apostrophe of :func:`csv_cell`.

    >>> from_csv("'=1+1"), from_csv("'quoted'")
    ('=1+1', "'quoted'")
    """
    return cell[1:] if cell.startswith("'") and _is_formula(cell.lstrip("'").lstrip()) else cell


def csv_id(text: str) -> str:
    r"""Return an image id as a cell of a CSV table, from which :func:`from_csv_id` makes the same id again.

    A backslash is doubled only in an id in which a character is escaped, or which could be read as such an id.

    >>> csv_id("a\x1b"), csv_id("a\\b"), csv_id("a\\x1b")
    ('a\\x1b', 'a\\b', 'a\\\\x1b')
    """
    line = one_line(text)
    return csv_cell(line if line == text and not _ESCAPED.search(text) else one_line(text.replace("\\", "\\\\")))


def from_csv_id(cell: str) -> str:
    """Return the image id of a cell that :func:`csv_id` made."""
    return _ESCAPED.sub(lambda found: _unescaped(found[1]), from_csv(cell))


def markdown(text: str) -> str:
    r"""Return ``text`` for the middle of a line of Markdown: no markup, no link with a text, no entity, no new cell.

    >>> print(markdown("a|b <i> [x](y) vit_base *"))
    a\|b \<i> \[x\](y) vit_base \*
    """
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text))


def markdown_code(text: str) -> str:
    """Return ``text`` as a code span of Markdown in a table, with apostrophes in place of backticks.

    >>> print(markdown_code("lin_pen`"))
    `lin_pen'`
    """
    inside = one_line(text).replace("`", "'").replace("|", r"\|")
    return f"`{inside}`"


def html_text(text: str) -> str:
    r"""Return ``text`` for HTML, in an element or in a quoted attribute.

    >>> print(html_text("<b>&\x00"))
    &lt;b&gt;&amp;\x00
    """
    return html.escape(one_line(text))


def latex(text: str) -> str:
    r"""Return ``text`` for LaTeX without extra packages.

    >>> print(latex("a_b $x$"))
    a\_b \$x\$
    """
    return "".join(LATEX.get(sign, sign) for sign in one_line(text))


def shell_word(text: str) -> str:
    r"""Return ``text`` as one word of a command that is printed, for bash, zsh and ksh.

    A text that is not printable, such as a path that is not UTF-8, is quoted by $'…' with the escapes of its bytes.

    >>> print(shell_word("my results"), shell_word("a\x1b'"))
    'my results' $'a\x1b\x27'
    """
    if one_line(text) == text:
        return shlex.quote(text)
    content = text.encode("utf-8", "surrogateescape" if _FROM_BYTES.fullmatch(text) else "surrogatepass")
    plain = (chr(byte) if 0x20 <= byte < 0x7F and byte not in b"\\'" else f"\\x{byte:02x}" for byte in content)
    return f"$'{''.join(plain)}'"


def json_text(document: str) -> str:
    r"""Return a JSON document with escapes in place of characters that are not printable. Its content does not change.

    >>> print(json_text('{"a\x7f": "\u202e"}'))
    {"a\u007f": "\u202e"}
    """
    return "\n".join(line if _is_visible(line) else "".join(map(_json_escape, line)) for line in document.split("\n"))


def _is_formula(text: str) -> bool:
    return text.startswith(tuple(FORMULA)) and not _NUMBER.fullmatch(text)


def _is_visible(text: str) -> bool:
    return text.isprintable() and (text.isascii() or not _INVISIBLE.search(text))


def _visible(character: str) -> str:
    """Return a character, or its escape if it has no shape."""
    if _is_visible(character) or unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _unescaped(escape: str) -> str:
    return escape if escape == "\\" else chr(int(escape[1:], 16))


def _json_escape(character: str) -> str:
    if _is_visible(character) or unicodedata.category(character) == "Zs":
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
