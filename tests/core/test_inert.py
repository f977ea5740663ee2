"""Text from outside in every medium: independent parsers find the text, and nothing that the text would do."""

from __future__ import annotations

import csv
import doctest
import io
import json
import os
import shutil
import subprocess
import unicodedata
from html.parser import HTMLParser
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from junitparser import JUnitXml
from markdown_it import MarkdownIt

from bench.core import inert
from bench.core.inert import (
    LATEX,
    csv_cell,
    csv_id,
    from_csv,
    from_csv_id,
    html_text,
    json_text,
    latex,
    markdown,
    markdown_code,
    one_line,
    shell_word,
    shortened,
    terminal,
)
from bench.gate.checks import Check
from bench.gate.report import gate_junit, gate_markdown, numbers
from bench.gate.rules import Rules
from bench.gate.verdict import Verdict
from bench.runtime.console import ERRORS, Output

#: Characters that a terminal shows with no width, or as nothing, and that Python calls printable.
INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\ufe00\ufe0f\uffa0\U000e0100\U000e01ef"
#: Pieces that a medium obeys, and what surrounds them.
PIECES = (
    "\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\x7f", "\x08", "\x00", "\r", "\n", "\t", "\u2028", "\u202e",
    "\u2066", "\u200b", "\u200d", "\ufeff", "\ufffe", "\ud800", "\udcff", "\U000e0001", "\u034f", "\ufe0f", "=1+1",
    "+cmd|' /C calc'!A0", "-1", "-0.5", "@SUM(A1)", "'", '"', ",", "|", "`", "*b*", "_i_", "~~s~~", "<b>",
    "</td><script>alert(1)</script>", "&lt;", "&amp;", "[a](http://b)", "![i](j)", "\\", "\\x41", "]]>", "<!--",
    "$x$", "\\input{/etc/passwd}", "%", "#", "{", "}", "^", "⚑", "é", "日", " ", "a",
)  # fmt: skip
HOSTILE = st.one_of(st.text(st.characters(), max_size=30), st.lists(st.sampled_from(PIECES), max_size=6).map("".join))


def has_no_control(text: str) -> bool:
    return not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") or c in INVISIBLE for c in text)


@given(HOSTILE)
@example(INVISIBLE)
@example("".join(PIECES))
def test_one_line_has_no_control_character_and_keeps_what_is_printable(text: str) -> None:
    line = one_line(text)
    assert has_no_control(line)
    assert one_line(line) == line
    line.encode()
    assert line == text or not text.isprintable() or not has_no_control(text)


@given(HOSTILE)
@example("".join(PIECES))
def test_a_stream_of_the_console_writes_lines_and_tabs_only(text: str) -> None:
    raw = io.BytesIO()
    stream = Output(raw, encoding="utf-8", errors=ERRORS, newline="")
    print(f"error: {text}", file=stream)
    stream.flush()
    shown = raw.getvalue().decode()
    assert has_no_control(shown.replace("\n", "").replace("\t", ""))
    assert shown.startswith("error: "), "a carriage return does not go back to the beginning of the line"
    assert shown == terminal(f"error: {text}") + "\n"


@given(HOSTILE)
@example("\t=1+1")
@example("-1+1")
@example("'=1")
def test_csv_cells_are_texts_for_a_spreadsheet_and_come_back(text: str) -> None:
    cell = csv_cell(text)
    assert has_no_control(cell)
    assert from_csv(cell) == one_line(text)
    if cell.startswith(tuple(inert.FORMULA)):
        float(cell)
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerow(["first", cell])
    assert next(csv.reader(io.StringIO(written.getvalue()))) == ["first", cell]
    frame = pd.read_csv(io.StringIO(written.getvalue()), header=None, keep_default_na=False, dtype=str)
    assert frame.to_numpy().tolist() == [["first", cell]]


@pytest.mark.parametrize("text", ["-0.5", "+1", "-1e-5", "-.5", "1", "a=b", "", "'a'", "a-b", "≤ 3"])
def test_numbers_and_plain_texts_stay_as_they_are(text: str) -> None:
    assert csv_cell(text) == text


@given(HOSTILE)
@example("a\\")
@example("\\x41\x1b")
@example("'=\\\\")
def test_ids_of_images_come_back_exactly(text: str) -> None:
    cell = csv_id(text)
    assert has_no_control(cell)
    assert from_csv_id(cell) == text


@given(HOSTILE)
@example("_a_ b")
def test_markdown_is_one_cell_of_plain_text(text: str) -> None:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    rows = f"| a | b |\n|---|---|\n| x{markdown(text)}y | {markdown_code(text)} |\n"
    tokens = parser.parse(rows)
    assert sum(token.type == "td_open" for token in tokens) == 2
    *_, first, code = (token for token in tokens if token.type == "inline")
    assert {child.type for child in first.children or ()} <= {"text"}
    assert "".join(child.content for child in first.children or ()) == f"x{one_line(text)}y"
    if text.strip():
        assert [child.type for child in code.children or ()] == ["code_inline"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_a_word_of_a_command_is_the_text_for_a_shell() -> None:
    texts = ["plain", "a b", "", "it's", "$(id) `id` $HOME", "*?[a]", "tab\tx", "a\x1b[31m", "new\nline", "é\u202e日",
             "-x", "back\\'\n", os.fsdecode(b"bad\xff\xfe"), "\ud800", "".join(PIECES).replace("\0", "")]  # fmt: skip
    command = "printf '%s\\0' " + " ".join(map(shell_word, texts))
    assert has_no_control(command)
    shown = subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout
    assert shown.split(b"\0")[:-1] == [encoded(text) for text in texts]


def encoded(text: str) -> bytes:
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # no path
        return text.encode("utf-8", "surrogatepass")


class Texts(HTMLParser):
    """The text and the tags of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.tags = "", list[str]()

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes = attrs

    def handle_comment(self, data: str) -> None:
        self.tags.append("!")


@given(HOSTILE)
def test_html_is_text_in_an_element_and_in_an_attribute(text: str) -> None:
    parser = Texts()
    parser.feed(f'<td title="{html_text(text)}">{html_text(text)}</td>')
    parser.close()
    assert parser.tags == ["td"]
    assert parser.text == dict(parser.attributes)["title"] == one_line(text)


@given(HOSTILE)
@example("\\input{/etc/passwd}")
def test_latex_is_made_of_known_commands_and_plain_characters(text: str) -> None:
    code = latex(text)
    assert has_no_control(code)
    signs = {command: sign for sign, command in LATEX.items()}
    read, position = "", 0
    while position < len(code):
        command = max((c for c in signs if code.startswith(c, position)), key=len, default=code[position])
        read, position = read + signs.get(command, command), position + len(command)
        assert command in signs or command not in "\\{}$&#^_~%"
    assert read == one_line(text)


@given(HOSTILE)
@example("\ud800\udc00")
def test_json_keeps_its_content(text: str) -> None:
    document = json_text(json.dumps({text: [text]}, ensure_ascii=False, indent=1))
    assert has_no_control(document.replace("\n", ""))
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # JSON joins halves of a pair
    assert json.loads(document) in ({text: [text]}, {joined: [joined]})


@given(HOSTILE, HOSTILE, HOSTILE)
@example("\x1b\x00\ud800", "]]>", "\ufffe")
def test_reports_of_the_gate_are_well_formed(name: str, metric: str, why: str) -> None:
    checks = [Check(name, metric, verdict, why, floor=floor) for verdict in Verdict for floor in (None, 40.0)]
    content = gate_junit(checks, Rules())
    cases = list(ElementTree.fromstring(content).iter("testcase"))
    assert [case.get("classname") for case in cases] == [one_line(name)] * 6
    assert cases[0].get("name") == one_line(metric)
    assert len(list(next(iter(JUnitXml.fromstring(content))))) == 6
    rows = [line for line in gate_markdown(checks, Rules()).splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 6
    assert all(map(has_no_control, [*rows, *numbers(checks)]))


def test_a_very_long_text_is_cut_once() -> None:
    cut = shortened("a" * 10**6)
    assert len(cut) <= inert.LONGEST
    assert cut.endswith(" more characters)")
    assert shortened(cut) == cut


def test_the_examples_of_the_module() -> None:
    assert doctest.testmod(inert).failed == 0
