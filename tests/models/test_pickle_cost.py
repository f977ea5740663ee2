"""Pickles of checkpoints that would take days or gigabytes to read are one sentence, in every form that torch reads."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from bounds import bounded
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.models import file_kinds, pickle_cost, unwrapping
from bench.models.file_kinds import LEGACY, kind_of
from bench.models.pickle_cost import PickleCost, TooCostlyError
from bench.models.torch_files import load_plain
from bench.models.weights import read_checkpoint

MB = 10**6
STATE = {"fc.weight": torch.ones(2, 2)}


def archive(path: Path, *entries: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries:
            file.writestr(name, content)
    return path


def of_pickle(path: Path, code: bytes) -> Path:
    return archive(path, ("net/data.pkl", b"\x80\x02" + code + b"."), ("net/version", b"3\n"))


def nested(levels: int) -> bytes:
    """A tuple that holds the previous one twice, on so many levels: 2^levels objects. A hash of 50 takes days."""
    return b")" + b"".join(b"q%ch%c\x86" % (level, level) for level in range(levels))


def text(content: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(content)) + content


CHINESE = text("".join(chr(0x4E00 + i % 20000) for i in range(60_000)).encode())
BOMBS = {
    "a key": b"}" + nested(30) + b"K\x01s",
    "keys": b"}(" + nested(30) + b"K\x01u",
    "ordered keys": b"ccollections\nOrderedDict\n((" + nested(30) + b"K\x01tt\x85R",
    "counted": b"ccollections\nCounter\n(" + nested(30) + b"t\x85R",
    "set": b"c__builtin__\nfrozenset\n(" + nested(30) + b"t\x85R",
    "text": b"cbuiltins\nstr\n" + nested(30) + b"\x85R",
    "path": b"cpathlib\nPosixPath\n" + nested(30) + b"\x85R",
    "type": b"cnumpy\ndtype\n" + nested(30) + b"\x85R",
    "deep": b"}" + b"X\x01\0\0\0a}" * 10_000 + b"s" * 10_000,
    "bytes": b"cbuiltins\nbytearray\nJ\0\0\0\x7f\x85R",
    "bytes of Python 2": b"c__builtin__\nbytearray\nJ\0\0\0\x7f\x85R",
    "bytes of a number in disguise": b"cbuiltins\nbytearray\ncbuiltins\nint\n" + text(b"2000000000") + b"\x85R\x85R",
    "punycode": b"c_codecs\nencode\n" + CHINESE + text(b"punycode") + b"\x86R",
    "idna": b"c_codecs\nencode\n" + CHINESE + text(b"idna") + b"\x86R",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_pickle_that_would_be_large_or_slow(bomb: str, tmp_path: Path) -> None:
    path = of_pickle(tmp_path / "a.pth", BOMBS[bomb])
    for read in (read_checkpoint, kind_of):
        with (
            bounded(growth=256 * MB),
            pytest.raises(BenchError, match=r"a\.pth has a pickle .*; save the tensors") as e,
        ):
            read(path)
        assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "call",
    [
        b"cbuiltins\nlist\n" + text(b"text") + b"\x85R",
        b"cbuiltins\ntuple\n" + text(b"text") + b"\x85R",
        b"ccollections\ndeque\n" + text(b"text") + b"\x85R",
        b"cbuiltins\nstr\n]\x85R",
        b"cpathlib\nPosixPath\n]\x85R",
        b"cnumpy\ndtype\n]\x85R",
        b"cnumpy\ndtype\n" + text(b"f4," * 60_000) + b"\x85R",
    ],
    ids=["list", "tuple", "deque", "str", "path", "type", "long type"],
)
def test_no_text_of_containers_and_no_list_of_characters(call: bytes, tmp_path: Path) -> None:
    with bounded(), pytest.raises(BenchError, match="cannot be read: it is damaged, not a checkpoint"):
        load_plain(of_pickle(tmp_path / "a.pth", call))


LONG = {**STATE, **{f"n{number}": number for number in range(600)}}


def saved(content: Any, *, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def entries_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {f"net/{name.partition('/')[2]}": file.read(name) for name in file.namelist()}


def another_magic(content: bytes) -> bytes:
    """The magic number with one more byte, which is 0."""
    assert content.startswith(LEGACY)
    return LEGACY.replace(b"\x8a\n", b"\x8a\x0b").replace(b"\x19.", b"\x19\0.") + content[len(LEGACY) :]


def after_the_object(content: bytes) -> bytes:
    """A long list of names of storages, the last pickle of a file."""
    return content[: content.rindex(b"\x80\x02")] + b"\x80\x02(" + b"K\x01" * 2000 + b"t."


SHORT_PICKLE = ("zz/data.pkl", entries_of(saved(STATE))["net/data.pkl"])
FORMS = {
    "archive": lambda path: archive(path, *entries_of(saved(LONG)).items()),
    "two pickles": lambda path: archive(path, *entries_of(saved(LONG)).items(), SHORT_PICKLE),
    "upper case": lambda path: archive(
        path, *((name.replace("data.pkl", "DATA.PKL"), content) for name, content in entries_of(saved(LONG)).items())
    ),
    "legacy": lambda path: path.write_bytes(saved(LONG, legacy=True)),
    "another magic number": lambda path: path.write_bytes(another_magic(saved(LONG, legacy=True))),
    "an archive behind it": lambda path: path.write_bytes(saved(LONG, legacy=True) + saved(STATE)),
    "after the object": lambda path: path.write_bytes(after_the_object(saved(STATE, legacy=True))),
    "protocol 0": lambda path: path.write_bytes(b"(" + b"I1\n" * 2000 + b"t."),
}


@pytest.mark.parametrize("form", FORMS)
def test_opcodes_are_counted_wherever_torch_reads_them(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pth"
    FORMS[form](path)
    monkeypatch.setattr(file_kinds, "PICKLE_OPCODES", 1000)
    with pytest.raises(BenchError, match="has a pickle of more than 1,000 opcodes"):
        read_checkpoint(path)


def test_an_earlier_form_of_the_magic_number_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(another_magic(saved(STATE, legacy=True)))
    assert torch.equal(read_checkpoint(tmp_path / "a.pth").state["fc.weight"], STATE["fc.weight"])


def test_mappings_that_contain_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six levels of 100 keys each are 10^12 mappings."""
    monkeypatch.setattr(unwrapping, "MOST_KEYS", 10_000)
    names = b"".join(text(b"%d" % number) + b"h\0" for number in range(100))
    with bounded(), pytest.raises(BenchError, match="its mappings contain each other, with more than 10,000 keys"):
        read_checkpoint(of_pickle(tmp_path / "a.pth", b"}q\0(" + names + b"u"))
    once = {"model": STATE, "options": {str(number): {"value": number} for number in range(4000)}}
    (tmp_path / "b.pth").write_bytes(saved(once))
    assert list(read_checkpoint(tmp_path / "b.pth").state) == ["fc.weight"]


def follow(code: bytes) -> PickleCost:
    cost = PickleCost()
    for opcode, argument, _ in pickletools.genops(code):
        cost.add(opcode, argument)
    return cost


@pytest.mark.parametrize("levels", [1, 2, 5, 10])
def test_the_objects_of_nested_tuples(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Level k has 2^(k+1) − 1 objects, and holds twice those of level k − 1; the pickle holds the last level."""
    within = sum(2 * (2 ** (level + 1) - 1) for level in range(levels)) + 2 ** (levels + 1) - 1
    monkeypatch.setattr(pickle_cost, "PICKLE_OBJECTS", within)
    follow(nested(levels) + b".")
    monkeypatch.setattr(pickle_cost, "PICKLE_OBJECTS", within - 1)
    with pytest.raises(TooCostlyError, match="in which objects occur more than"):
        follow(nested(levels) + b".")


def test_a_list_that_grows_after_it_was_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tuple of a list has the objects that the list has at this time."""
    monkeypatch.setattr(pickle_cost, "PICKLE_OBJECTS", 400)
    code = b"]q\0(" + b"K\x01" * 100 + b"eh\0\x85h\0\x85\x86."
    with pytest.raises(TooCostlyError):
        follow(code)
    follow(code.replace(b"K\x01" * 100, b"K\x01" * 10))


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


@given(plain, st.sampled_from([0, 1, 2, 4, 5]))
def test_ordinary_pickles_are_followed_to_their_end(value: Any, protocol: int) -> None:
    """One value is left before the last opcode, which takes it."""
    cost = follow(pickle.dumps(value, protocol))
    assert cost._stack == []
