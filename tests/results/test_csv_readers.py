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
from bench.core.inert import csv_cell, csv_id
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


@dataclasses.dataclass(frozen=True)
class Attacked:
    """An attack with a name, a note and the message of a failure that a user may cause."""

    name: str
    note: str
    message: str


ATTACKS = st.lists(st.builds(Attacked, NAMES, TEXTS, TEXTS), min_size=5, max_size=5, unique_by=lambda made: made.name)
VARIANTS = st.lists(NAMES.filter(lambda name: name != "baseline"), min_size=4, max_size=4, unique=True)


def store_of(folder: Path, runs: list[RunRecord], attacks: list[Attacked]) -> Store:
    """A clean cell, a corruption, and one cell per attack of every run, which failed in the last run."""
    store = Store(folder)
    for run in runs:
        store.write_run(run, None)
        clean = dataclasses.replace(cell_record(run, "clean", RIGHT), notes=(attacks[0].note,))
        for cell in (clean, cell_of(run, notes=())):
            store.write_cell(cell, samples_of(RIGHT))
        for made in attacks:
            failure = {"status": "failed", "reason": "attack_error", "message": made.message, "n_correct": None}
            failed = run is runs[-1]
            more = {"notes": (), **failure} if failed else {"notes": (made.note, made.note)}
            store.write_cell(cell_of(run, made.name, **more), None if failed else samples_of(RIGHT))
    return store


def check_texts(found: pd.Series[str], text: str) -> None:
    """Check that every row shows ``text`` as a cell, or nothing if nothing of it can be shown."""
    assert set(found) == {csv_cell(as_text(text))} or (not as_text(text) and found.isna().all())


# Every example has many names and texts, because the tables of one cost as much as those of another.
@settings(max_examples=3, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(NAMES, NAMES, VARIANTS, ATTACKS)
@example(
    "0x10", "none", ['"', "0x10"], [Attacked("'", "NA", "=cmd|' /C calc'!A0\rsecond line"), Attacked("none", "", "")]
)
def test_pandas_returns_what_the_tables_were_given(
    dataset: str, model: str, variants: list[str], attacks: list[Attacked]
) -> None:
    names = ["baseline", *variants]
    runs = [run_called(dataset, model, name) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(Path(folder), runs, attacks)
        write_tables(store)
        results, board, comparison, corruptions = (
            pd.read_csv(store.root / f"{name}.csv") for name in ("results", "leaderboard", "comparison", "corruptions")
        )
        lines = stored_lines(store)
        compared = pd.read_csv(io.StringIO(as_csv(compare(lines, []))))
        rows = board_rows(all_cells(store))
    columns = {csv_cell(f"{made.name}@linf-0.1") for made in attacks}
    assert len(results) == len(runs) * (2 + len(attacks))
    for table in (results, board, comparison):
        assert set(table["dataset"]) == {csv_cell(dataset)}
        assert set(table["model"]) == {csv_cell(model)}
    for table in (results, board):
        assert set(table["variant"]) == set(map(csv_cell, names))
        assert {*table["config_sha"]} == {run.config_sha for run in runs}
    assert set(results["run_id"]) == {run.run_id for run in runs}
    assert set(results["attack"].dropna()) == {"clean", *(csv_cell(made.name) for made in attacks)}
    assert {"clean", *columns, *(f"{column}_n" for column in columns)} <= set(board.columns)
    assert set(comparison["variant"]) == set(map(csv_cell, variants))
    assert columns <= set(comparison["metric"])
    assert set(corruptions.iloc[1:, 0]) == {csv_cell(f"{model}:{name}:0") for name in names}
    compared_names = [csv_cell(f"{model}:{name}") for name in names]
    assert set(compared_names[:-1]) <= set(compared["model"]) <= set(compared_names)
    for row in rows:
        exported = pd.read_csv(io.StringIO(timm_csv(row, rows, allow_protocol_mismatch=True)))
        assert exported["model"].item().startswith(csv_cell(f"{row.run.model}.{row.run.variant}"))
    texts = results.set_index("attack")
    check_texts(texts.loc[["clean"], "notes"], attacks[0].note)
    for made in attacks:
        shown = texts.loc[[csv_cell(made.name)]]
        notes = csv_cell(f"{as_text(made.note)}; {as_text(made.note)}")
        assert set(shown[shown["status"] == "ok"]["notes"]) == {notes}
        check_texts(shown[shown["status"] == "failed"]["notes"], made.message)


FILE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0/"), min_size=1, max_size=12)


@given(st.lists(st.tuples(FILE, FILE), min_size=1, max_size=4, unique=True))
@example([("007", "NA")])
@example([("=1", '"a,b"\x85\u2028.png')])
def test_pandas_and_our_reader_return_paths_of_images(files: list[tuple[str, str]]) -> None:
    samples = [Sample(f"test/{folder}/{file}", 1, 1, 0, 0.5) for folder, file in files]
    content = dump_samples(samples)
    assert parse_samples(content, where="here") == samples
    cells = pd.read_csv(io.BytesIO(content))["sample_id"].tolist()
    assert cells == [csv_id(sample.sample_id) for sample in samples]
    plain = [s.sample_id for s in samples if s.sample_id.isprintable() and "\\" not in s.sample_id]
    assert set(plain) <= set(cells)


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
    assert row["notes"] == "ValueError: =1+1; 20 of 500 test images, proportional to class; =A1; two lines; 'NA'"
    assert np.isnan(row["acc"])
