"""Every CSV file that we write: pandas.read_csv with its defaults returns the names and texts that were written."""

from __future__ import annotations

import dataclasses
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from records import cell_record, run_record, samples_of
from user_names import NAMES, TEXTS

from bench.api import evaluate
from bench.attacks.corruptions.registry import CORRUPTIONS
from bench.compare.formats import as_csv
from bench.compare.own_rows import stored_lines
from bench.compare.tables import compare
from bench.compare.to_timm import timm_csv
from bench.core.names import as_text
from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import AttackSpec, CorruptionSpec
from bench.data import DataRequest, load_dataset
from bench.leaderboard.rows import board_rows
from bench.leaderboard.write_tables import write_tables
from bench.results.per_image import Sample, dump_samples, parse_samples
from bench.results.results_csv import all_cells
from bench.results.store import Store

RIGHT = [True] * 8 + [False] * 2
KIND = next(iter(CORRUPTIONS))


def run_called(dataset: str, model: str, variant: str) -> RunRecord:
    run = run_record(variant)
    assert run.spec is not None
    spec = dataclasses.replace(
        run.spec,
        data=dataclasses.replace(run.spec.data, name=dataset),
        model=dataclasses.replace(run.spec.model, name=model),
    )
    return dataclasses.replace(
        run, dataset=dataset, model=model, spec=spec, run_id=spec.run_id, config_sha=spec.config_sha
    )


def cell_of(run: RunRecord, attack: str | None = None, **others: Any) -> EvalRecord:
    """The cell of an attack, or of a corruption without one."""
    cell = cell_record(run, "clean", RIGHT)
    made = {"attack": AttackSpec(name=attack, norm="linf", eps=0.1)} if attack else {}
    made |= {} if attack else {"corruption": CorruptionSpec(kind=KIND, severity=1, source="official", profile="cifar")}
    spec = dataclasses.replace(cell.spec, **made)
    return dataclasses.replace(cell, spec=spec, cell_id=spec.cell_id, **others)


def store_of(folder: Path, runs: list[RunRecord], attack: str, note: str, message: str) -> Store:
    """A clean cell, an attack, an attack that failed and a corruption of every run."""
    store = Store(folder)
    for run in runs:
        store.write_run(run, None)
        failure = {"status": "failed", "reason": "attack_error", "message": message, "n_correct": None}
        failed = cell_of(run, "broken", notes=(), **failure)
        store.write_cell(failed, None)
        clean = dataclasses.replace(cell_record(run, "clean", RIGHT), notes=(note,))
        for cell in (clean, cell_of(run, attack, notes=(note, note)), cell_of(run, notes=())):
            store.write_cell(cell, samples_of(RIGHT))
    return store


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])  # an example takes a second
@given(NAMES, NAMES, NAMES.filter(lambda name: name != "baseline"), NAMES, TEXTS, TEXTS)
@example("0x10", "none", '"', "'", "NA", "=cmd|' /C calc'!A0\rsecond line")
def test_pandas_returns_what_the_tables_were_given(
    dataset: str, model: str, variant: str, attack: str, note: str, message: str
) -> None:
    runs = [run_called(dataset, model, name) for name in ("baseline", variant)]
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(Path(folder), runs, attack, note, message)
        write_tables(store)
        results, board, comparison, corruptions = (
            pd.read_csv(store.root / f"{name}.csv") for name in ("results", "leaderboard", "comparison", "corruptions")
        )
        lines = stored_lines(store)
        compared = pd.read_csv(io.StringIO(as_csv(compare(lines, []))))
        rows = board_rows(all_cells(store))
    column = f"{attack}@linf-0.1"
    assert len(results) == 8
    for table in (results, board, comparison):
        assert set(table["dataset"]) == {dataset}
        assert set(table["model"]) == {model}
    for table in (results, board):
        assert set(table["variant"]) == {"baseline", variant}
        assert {*table["config_sha"]} == {run.config_sha for run in runs}
    assert set(results["run_id"]) == {run.run_id for run in runs}
    assert set(results["attack"].dropna()) == {"clean", attack, "broken"}
    assert {"clean", column, f"{column}_n"} <= set(board.columns)
    assert set(comparison["variant"]) == {variant}
    assert column in set(comparison["metric"])
    assert set(corruptions.iloc[1:, 0]) == {f"{model}:{name}:0" for name in ("baseline", variant)}
    assert {f"{model}:{name}" for name in ("baseline", variant)} == set(compared["model"])
    for row in rows:
        name = f"{row.run.model}.{row.run.variant}"
        exported = pd.read_csv(io.StringIO(timm_csv(row, rows, allow_protocol_mismatch=True)))
        assert exported["model"].item().startswith(name)
    texts = results.set_index("attack")["notes"]
    assert set(texts[["clean"]]) == {as_text(note)} or (not as_text(note) and texts[["clean"]].isna().all())
    assert set(texts[[attack]]) == {f"{as_text(note)}; {as_text(note)}"}
    assert set(texts[["broken"]]) == {as_text(message)} or (not as_text(message) and texts[["broken"]].isna().all())


FILE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0/"), min_size=1, max_size=12)


@given(st.lists(st.tuples(FILE, FILE), min_size=1, max_size=4, unique=True))
@example([("007", "NA")])
@example([("=1", '"a,b"\x85\u2028.png')])
def test_pandas_and_our_reader_return_paths_of_images(files: list[tuple[str, str]]) -> None:
    samples = [Sample(f"test/{folder}/{file}", 1, 1, 0, 0.5) for folder, file in files]
    content = dump_samples(samples)
    assert parse_samples(content, where="here") == samples
    assert pd.read_csv(io.BytesIO(content))["sample_id"].tolist() == [sample.sample_id for sample in samples]


def test_notes_of_a_users_data_set_and_the_error_of_a_users_model(tmp_path: Path) -> None:
    import torch
    from torch import nn

    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise ValueError("=1+1\rnext \udcff")

    notes = ("=A1", "two\rlines", "NA")
    data = dataclasses.replace(load_dataset("digits", DataRequest()), name="mine", notes=notes)
    evaluate(
        Broken(), name="modèle", dataset=data, attacks="none", corruptions="none", audit="none", limit=20,
        results=tmp_path / "ergebnisse-é",
    )  # fmt: skip
    (row,) = pd.read_csv(tmp_path / "ergebnisse-é" / "results.csv").to_dict("records")
    assert (row["model"], row["dataset"], row["status"]) == ("modèle", "mine", "failed")
    assert row["notes"] == "ValueError: =1+1; 20 of 500 test images, proportional to class; '=A1'; two lines; 'NA'"
    assert np.isnan(row["acc"])
