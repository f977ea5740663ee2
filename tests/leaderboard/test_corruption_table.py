"""The table of accuracies under corruptions: to the byte as RobustBench writes it, and nothing else is read."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.leaderboard.corruption_scores import MEAN_ERRORS, Accuracies
from bench.leaderboard.corruptions_csv import SEVERITIES, corruptions_table, read_corruptions, to_csv

PUBLISHED = Path(__file__).parents[3] / "shared" / "reference" / "robustbench" / "model_info"
FILES = [f"{name}/corruptions/unaggregated_results.csv" for name in ("cifar10", "cifar100", "imagenet")]
needs_robustbench = pytest.mark.skipif(not PUBLISHED.exists(), reason="needs RobustBench's tables in ../shared")

KINDS = ("shot_noise", "fog")
ROWS: dict[str, Accuracies] = {
    "ours": {("fog", 2): 0.1 + 0.2, ("shot_noise", 1): 1.0, ("shot_noise", 5): 0.0},
    "a, b": {("fog", 1): 1 / 3},
}
TEXT = """\
,shot_noise,shot_noise,shot_noise,shot_noise,shot_noise,fog,fog,fog,fog,fog
,1,2,3,4,5,1,2,3,4,5
ours,1.0,,,,0.0,,0.30000000000000004,,,
"a, b",,,,,,0.3333333333333333,,,,
"""


def full(kinds: tuple[str, ...]) -> Accuracies:
    return {(kind, severity): 0.5 for kind in kinds for severity in SEVERITIES}


def test_the_file_to_the_byte() -> None:
    assert to_csv(corruptions_table(ROWS, KINDS)) == TEXT.encode()


def test_columns_are_in_the_order_of_the_kinds_and_others_are_left_out() -> None:
    table = corruptions_table({"ours": full(("speckle_noise", "fog", "shot_noise"))}, KINDS)
    assert list(table.columns) == [(kind, severity) for kind in KINDS for severity in "12345"]
    assert list(table.columns.names) == [None, None]
    assert table.index.name is None
    assert table.notna().all(axis=None)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "corruptions.csv"
    path.write_text(TEXT)
    assert read_corruptions(path) == ROWS
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    assert read_corruptions(path) == ROWS


@given(
    acc=st.dictionaries(st.tuples(st.sampled_from(KINDS), st.sampled_from(SEVERITIES)), st.floats(0, 1), min_size=1),
    name=st.text(min_size=1, alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"])).filter(str.isprintable),
)
def test_any_table_is_read_again_exactly(tmp_path_factory: pytest.TempPathFactory, acc: Accuracies, name: str) -> None:
    path = tmp_path_factory.mktemp("any") / "corruptions.csv"
    path.write_bytes(to_csv(corruptions_table({name: acc}, KINDS)))
    assert read_corruptions(path) == {name: acc}


def test_pandas_reads_the_table_as_robustbench_does() -> None:
    table = corruptions_table(ROWS, KINDS)
    back = pd.read_csv(io.BytesIO(to_csv(table)), header=[0, 1], index_col=0)
    pd.testing.assert_frame_equal(back, table, check_index_type=False, check_column_type=False)


def test_a_table_without_rows_has_its_header(tmp_path: Path) -> None:
    path = tmp_path / "corruptions.csv"
    path.write_bytes(to_csv(corruptions_table({}, KINDS)))
    assert path.read_text() == "".join(TEXT.splitlines(keepends=True)[:2])
    assert read_corruptions(path) == {}


@pytest.mark.parametrize(
    ("acc", "message"),
    [
        ({}, "ours has no accuracy"),
        ({("snow", 1): 0.5}, "ours has no accuracy"),
        ({("fog", 6): 0.5}, "0.5 under fog of severity 6"),
        ({("fog", 1): 50.0}, "50.0 under fog of severity 1"),
        ({("fog", 1): float("nan")}, "nan under fog"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(acc: Accuracies, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corruptions_table({"ours": acc}, KINDS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "does not begin with a line of kinds"),
        ("name,fog\n,1\n", "does not begin with a line of kinds"),
        (",fog\nm,0.5\n", "does not begin with a line of kinds"),
        (",fog,fog\n,1\n", "does not begin with a line of kinds"),
        (",fog\n,6\n", "has the header 'fog', '6'"),
        (",fog\n,1.0\n", "has the header 'fog', '1.0'"),
        (",\n,1\n", "has the header '', '1'"),
        (",fog,fog\n,1,1\n", "fog has two columns of severity 1"),
        (",fog\n,1\nm,1.01\n", "row 'm': '1.01' under fog of severity 1 is not a fraction"),
        (",fog\n,1\nm,-0.1\n", "'-0.1' under fog"),
        (",fog\n,1\nm,nan\n", "'nan' under fog"),
        (",fog\n,1\nm,half\n", "'half' under fog"),
        (",fog\n,1\nm,0.5\nm,0.5\n", "two rows 'm'"),
        (",fog,fog\n,1,2\nm,0.5\n", "row 'm' must have a name, 2 fields"),
        (",fog\n,1\nm,\n", "row 'm' must have"),
        (",fog\n,1\n,0.5\n", "row '' must have"),
        (",fog\n,1\n\n", "row '' must have"),
        (',fog\n,1\n"m,0.5\n', "line 3, is not readable as CSV"),
    ],
)
def test_a_damaged_file_is_not_read(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "damaged.csv"
    path.write_text(content)
    with pytest.raises(BenchError, match=message) as caught:
        read_corruptions(path)
    assert str(path) in str(caught.value)


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    with pytest.raises(BenchError, match=r"cannot read table .*none\.csv"):
        read_corruptions(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BenchError, match=r"none\.csv is not readable"):
        read_corruptions(path)


@needs_robustbench
@pytest.mark.parametrize("file", FILES)
def test_robustbenchs_files_come_out_as_they_are(file: str) -> None:
    rows = read_corruptions(PUBLISHED / file)
    kinds = list(dict.fromkeys(kind for kind, _ in next(iter(rows.values()))))
    assert set(kinds) == set(MEAN_ERRORS)
    assert to_csv(corruptions_table(rows, kinds)) == (PUBLISHED / file).read_bytes()


@needs_robustbench
@pytest.mark.parametrize("file", FILES)
def test_our_rows_stand_below_robustbenchs(file: str) -> None:
    ours = to_csv(corruptions_table({"ours": full(tuple(MEAN_ERRORS))}, list(MEAN_ERRORS)))
    tables = [pd.read_csv(source, header=[0, 1], index_col=0) for source in (PUBLISHED / file, io.BytesIO(ours))]
    both = pd.concat(tables)
    assert set(both.columns) == set(tables[0].columns) == set(tables[1].columns)
    assert both.notna().all(axis=None)
    assert (both.loc["ours"] == 0.5).all()
