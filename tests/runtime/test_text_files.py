"""Text files as editors and git leave them: with a byte order mark, with CRLF line ends, in another encoding."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from records import cell_record, run_record, store_with

from bench.cli import invoke
from bench.compare.model_info import parse_model_info
from bench.core.errors import BenchError
from bench.core.limits import CLASS_NAMES
from bench.core.records import EvalRecord
from bench.gate.baseline import dump_baseline, parse_baseline, read_baseline
from bench.leaderboard.corruptions_csv import read_corruptions
from bench.results.per_image import Sample, dump_samples, parse_samples
from bench.results.record_files import dump_record, parse_record
from bench.runtime.config_file import read_config
from bench.runtime.input_files import read_text
from bench.runtime.plugin import content_sha

Edit = Callable[[bytes], bytes]


def crlf(content: bytes) -> bytes:
    return content.replace(b"\n", b"\r\n")


def mark(content: bytes) -> bytes:
    return codecs.BOM_UTF8 + content


EDITS: dict[str, Edit] = {"as is": bytes, "CRLF": crlf, "mark": mark, "both": lambda content: mark(crlf(content))}
edited = pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)


@edited
def test_a_config(edit: Edit, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(edit('models = ["modèle"]\nlimit = 20\n'.encode()))
    assert read_config(path, {"models": "models", "limit": "limit"}, {}, {}) == {"models": ["modèle"], "limit": 20}


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_config_in_another_encoding(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes('models = "modèle"\n'.encode(encoding))
    with pytest.raises(BenchError, match=r"config .*c\.toml is not UTF-8 \(.*\); save it as UTF-8\."):
        read_config(path, {"models": "models"}, {}, {})


@edited
def test_a_baseline_is_checked_by_its_content(edit: Edit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = [True] * 300 + [False] * 100
    store_with(tmp_path / "r", {("baseline", 0): {"clean": right, "fgsm": right}})
    path, results = tmp_path / "b.json", str(tmp_path / "r")
    assert invoke(["baseline", "write", "--baseline", str(path), "--results", results]) == 0
    made = path.read_bytes()
    path.write_bytes(edit(made))
    assert dump_baseline(read_baseline(path)) == made
    assert invoke(["check", "--baseline", str(path), "--results", results]) == 0
    assert "PASS" in capsys.readouterr().out
    changed = edit(made.replace(b'"model": "tiny"', b'"model": "tinx"'))
    with pytest.raises(BenchError, match="was changed by hand"):
        parse_baseline(changed, where="b.json")


@edited
def test_files_of_a_results_folder(edit: Edit) -> None:
    cell = cell_record(run_record(), "fgsm", [True, False])
    assert parse_record(EvalRecord, edit(dump_record(cell)), where="here") == cell
    samples = [Sample("test/été/1.png", 1, 1, 0, 0.5), Sample('test/"a",b', 1, 1, 1, None)]
    assert parse_samples(edit(dump_samples(samples)), where="here") == samples


@edited
def test_published_tables(edit: Edit, tmp_path: Path) -> None:
    path = tmp_path / "corruptions.csv"
    path.write_bytes(edit(b",fog\n,1\nours,0.5\n"))
    assert read_corruptions(path) == {"ours": {("fog", 1): 0.5}}
    info = (
        b'{\n"link": "l", "name": "n", "authors": "a", "additional_data": false, "number_forward_passes": 1,\n'
        b'"dataset": "cifar10", "venue": "v", "architecture": "r", "eps": null, "clean_acc": "90"}\n'
    )
    assert parse_model_info(edit(info), where="here").name == "n"


@edited
def test_a_plug_in_is_the_same_code(edit: Edit, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(edit(b"A = 1\nB = 2\n"))
    plain = f"mine.py:{hashlib.sha256(b'A = 1' + bytes([10]) + b'B = 2' + bytes([10])).hexdigest()}"
    assert content_sha(path, []) == hashlib.sha256(plain.encode()).hexdigest()


@edited
def test_any_text(edit: Edit, tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(edit("été\n冬\n".encode()))
    assert read_text(path, CLASS_NAMES) == "été\n冬\n"
