"""Class order by names, and where the names come from."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from elsewhere import digits
from PIL import Image

from bench.core.errors import BenchError
from bench.data import DataRequest, load_dataset
from bench.data import class_names as published
from bench.external.class_names import order_from_names, read_class_names

ANIMALS = ("cat", "dog", "frog")


def test_order_is_the_class_of_each_output() -> None:
    names = list(published.CIFAR100)
    for seed in range(20):
        shuffled = names.copy()
        random.Random(seed).shuffle(shuffled)
        order = order_from_names(shuffled, names)
        assert order is not None
        assert sorted(order) == list(range(100))
        assert [names[k] for k in order] == shuffled


def test_no_order_where_the_names_are_the_same() -> None:
    assert order_from_names(list(ANIMALS), ANIMALS) is None


@pytest.mark.parametrize(
    ("theirs", "ours", "order"),
    [
        (["Dog", "CAT"], ["cat", "dog"], (1, 0)),
        (["A_b", "AB"], ["ab", "a_b"], (1, 0)),  # punctuation decides where it must
        (["a", "A"], ["A", "a"], (1, 0)),  # case decides where it must
        (["aquarium fish", "apple"], ["apple", "aquarium_fish"], (1, 0)),
        (["Cafe\u0301", "x"], ["x", "Caf\u00e9"], (1, 0)),  # composed or not
        (["10", "9", "08"], ["8", "9", "10"], (2, 1, 0)),
        ([str(k) for k in sorted(range(12), key=str)], list("abcdefghijkl"), (0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9)),
        (["2", "1", "3"], list("abc"), (1, 0, 2)),  # numbered folders from 1
    ],
)
def test_names_are_matched(theirs: list[str], ours: list[str], order: tuple[int, ...]) -> None:
    assert order_from_names(theirs, ours) == order


@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        (["cat", "dog", "toad"], ANIMALS, "3 class names given for 3 classes, without 'frog'"),
        (["w", "x", "y", "z", "v"], list("abcde"), "without 'a', 'b', 'c' and 2 more"),
        ([*ANIMALS, "cow"], ANIMALS, "4 class names given for 3 classes; give one name per output"),
        (["cat", "cat", "dog"], ANIMALS, "class name 'cat' is given twice"),
        (["Cat", "dog"], ["cat", "CAT"], "without"),  # ambiguous without case
        (["Cat", "CAt"], ["cat", "CAT"], "without 'cat' and 'CAT'"),
        (ANIMALS, (), "no names"),
    ],
)
def test_other_names_are_refused_in_a_sentence(theirs: list[str], ours: list[str], message: str) -> None:
    with pytest.raises(BenchError) as error:
        order_from_names(theirs, ours)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"cat\ndog\nfrog",
        b"\xef\xbb\xbfcat\r\ndog\r\nfrog\r\n\r\n",
        b"cat \rdog\rfrog\r",
        json.dumps(ANIMALS).encode(),
        b'\xef\xbb\xbf {"dog": 1, "cat": 0,\r\n "frog": 2}',
        b'{"2": "frog", "0": "cat", "1": "dog"}',
    ],
)
def test_files_of_names(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "names"
    path.write_bytes(content)
    assert read_class_names(path) == ANIMALS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no names"),
        (b"cat\n\ndog\n", "empty line between names"),
        ("cat\ndog".encode("utf-16"), "not text in UTF-8"),
        (b'["cat", ', "not valid JSON"),
        (b'["cat", 1]', "JSON list of names"),
        (b'{"cat": 0, "dog": 2}', "0…K−1"),
        (b'{"cat": 0, "dog": 0}', "0…K−1"),
        (b'{"cat": true, "dog": 0}', "0…K−1"),
        (b"[]", "JSON list of names"),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "names"
    path.write_bytes(content)
    with pytest.raises(BenchError) as error:
        read_class_names(path)
    assert message in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"cannot use --class-names .*: No such file"):
        read_class_names(tmp_path / "names")


def test_data_sets_know_their_names(tmp_path: Path) -> None:
    assert digits().class_names == tuple("0123456789")
    for names, count in ((published.CIFAR10, 10), (published.CIFAR100, 100)):
        assert len(set(names)) == count
        assert list(names) == sorted(names)  # as in the official files
    for split in ("train", "test"):
        for number, name in enumerate(("10", "9", "1")):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / split / name / "a.png")
    assert load_dataset("imagefolder", DataRequest(tmp_path)).class_names == ("1", "9", "10")
