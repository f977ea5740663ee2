"""Nothing in a data file is ever executed."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.data.plain_pickle import StoredArray, read_plain_pickle


class Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.recipe = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.recipe


def read(tmp_path: Path, content: bytes) -> Any:
    path = tmp_path / "batch"
    path.write_bytes(content)
    return read_plain_pickle(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("function", [os.mkdir, eval, Path.mkdir], ids=["os", "eval", "method"])
def test_a_call_is_refused_and_does_not_happen(tmp_path: Path, function: Any, protocol: int) -> None:
    trace = tmp_path / "trace"
    argument = f"__import__('os').mkdir({str(trace)!r})" if function is eval else trace
    with pytest.raises(BenchError, match="the file was refused and none of its code was run"):
        read(tmp_path, pickle.dumps({"data": Calls(function, argument)}, protocol))
    assert not trace.exists()


@pytest.mark.parametrize("value", [collections.OrderedDict(a=1), np.random.default_rng(0), np.zeros(2, "M8[s]"), {1j}])
def test_other_types_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(BenchError):
        read(tmp_path, pickle.dumps(value))


@pytest.mark.parametrize("dtype", [object, "V8", "S4", "i4,f4"])
def test_arrays_of_anything_but_numbers_are_refused(tmp_path: Path, dtype: Any) -> None:
    with pytest.raises(BenchError, match="is not a readable pickle"):
        read(tmp_path, pickle.dumps(np.zeros(3, dtype)))


@pytest.mark.parametrize(
    "content", [b"", b".", b"\x80", b"I", b"(lp0\n", b"cnumpy\ndtype\nR.", b"\x80\x05\x95", b"P1\n."]
)
def test_damage_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BenchError, match="is not a readable pickle"):
        read(tmp_path, content)


def test_a_text_codec_is_not_a_way_in(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="is not a readable pickle"):
        read(tmp_path, b"c_codecs\nencode\n(Vuryyb\nVrot13\ntR.")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(value=plain, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back(tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int) -> None:
    assert read(tmp_path_factory.getbasetemp(), pickle.dumps(value, protocol)) == value


@given(
    dtype=st.sampled_from(["u1", "<i4", ">i4", "<f8", "?"]),
    shape=st.lists(st.integers(0, 3), max_size=3),
    order=st.sampled_from("CF"),
    protocol=st.integers(0, pickle.HIGHEST_PROTOCOL),
)
def test_arrays_come_back(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, shape: list[int], order: Any, protocol: int
) -> None:
    array = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape).copy(order)
    stored = read(tmp_path_factory.getbasetemp(), pickle.dumps(array, protocol))
    assert isinstance(stored, StoredArray)
    assert stored.value.dtype == array.dtype
    assert np.array_equal(stored.value, array)


@pytest.mark.parametrize("ending", [b"K\x01s.", b"K\x01u.", b"K\x01d."], ids=["item", "items", "dict"])
def test_a_key_whose_hash_takes_days_is_refused(tmp_path: Path, ending: bytes) -> None:
    """50 tuples, each of which holds the one before it twice: its hash would visit 2^50 of them."""
    before = {b"s": b"}", b"u": b"}(", b"d": b"("}[ending[2:3]]
    with pytest.raises(BenchError, match="a key is neither text nor a number"):
        read(tmp_path, b"\x80\x02" + before + b")" + b"2\x86" * 50 + ending)


def test_an_array_from_a_number_of_bytes_is_refused(tmp_path: Path) -> None:
    """``bytes(n)`` would be an array of n zeros."""
    content = pickle.dumps(np.zeros(3, np.uint8), 2)
    start, end = content.index(b"X\x03\x00\x00\x00\x00\x00") - 2, content.rindex(b"tq")
    with pytest.raises(BenchError, match="is not a readable pickle"):
        read(tmp_path, content[:start] + b"J\x03\x00\x00\x00" + content[end:])


def test_a_frame_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    """The unpickler in Python would read what is there."""
    content = pickle.dumps({"data": [1, 2]}, 4)
    assert content[2:3] == b"\x95"
    with pytest.raises(BenchError, match="it is truncated"):
        read(tmp_path, content[:3] + (10**6).to_bytes(8, "little") + content[11:])
