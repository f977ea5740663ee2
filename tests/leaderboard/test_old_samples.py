"""Samples of an older version on an unbalanced split are not averaged, compared or ranked with others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results
from records import cell_record, limited, run_record

from bench.compare.own_rows import stored_lines
from bench.compare.tables import compare
from bench.core.records import RunRecord
from bench.core.specs import CorruptionSpec
from bench.leaderboard.corruption_cells import STANDARD_KINDS
from bench.leaderboard.write_tables import write_tables
from bench.results.per_image import Sample
from bench.results.store import Store

RUN, LPC = run_record(), run_record("lpc")
COLUMN = "robust_acc_lowest@linf-0.1"
MAJORITY, MINORITY = range(380), range(380, 400)
EQUAL = [*range(50), *range(380, 400)]  # version 1: as many per class as there are, up to 50
SHARE = [*range(95), *range(380, 385)]  # version 2: proportional to class


def write(
    store: Store, run: RunRecord, attack: str, images: Sequence[int], wrong: Sequence[int], version: int | None = None,
    *, balanced: bool = False,
) -> None:  # fmt: skip
    """A cell on ``images`` of 380 of one class and 20 of another, or of 200 and 200; limited if it has a version."""
    record = cell_record(run, attack, [i not in wrong for i in images])
    record = record if version is None else limited(record, len(images), version)
    labels = [int(i >= 200 if balanced else i in MINORITY) for i in images]
    samples = [
        Sample(str(i), label, label, label ^ (i in wrong), 0.05 if i in wrong else None)
        for i, label in zip(images, labels, strict=True)
    ]
    store.write_run(run, None)
    store.write_cell(record, samples)


def board(store: Store) -> pd.DataFrame:
    return write_tables(store).board.set_index("variant")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """FGSM on the whole split breaks the minority; an old AutoAttack on 70 images breaks it and one image more."""
    made = Store(tmp_path)
    write(made, RUN, "clean", range(400), [])
    write(made, RUN, "fgsm", range(400), MINORITY)
    write(made, RUN, "autoattack", EQUAL, [*MINORITY, 7], 1)
    return made


def test_an_old_sample_does_not_limit_the_images_but_what_it_broke_is_broken(store: Store) -> None:
    row = board(store).loc["baseline"]
    assert (row["fgsm@linf-0.1"], row["autoattack@linf-0.1"]) == (95, pytest.approx(100 * 49 / 70))
    assert (row[COLUMN], row[f"{COLUMN}_n"]) == (94.75, 400)
    assert (row["median_distance@linf_n"], row["auc@linf"]) == (400, pytest.approx((100 + 95) / 2))
    assert row["status"] == "1 of 3 columns on equally many images per class"


def test_a_balanced_split_has_no_old_samples(tmp_path: Path) -> None:
    """Both versions draw the same images there."""
    store = Store(tmp_path)
    write(store, RUN, "clean", range(400), [], balanced=True)
    write(store, RUN, "fgsm", range(400), range(20), balanced=True)
    write(store, RUN, "autoattack", range(150, 250), range(150, 200), 1, balanced=True)
    row = board(store).loc["baseline"]
    assert (row[COLUMN], row[f"{COLUMN}_n"], row["status"], row["rank"]) == (50, 100, "ok", 1)


def test_a_row_of_old_samples_alone_keeps_its_number_and_says_so(tmp_path: Path) -> None:
    """That the split is unbalanced is known from another row."""
    store = Store(tmp_path)
    for attack, wrong in (("clean", []), ("fgsm", MINORITY)):
        write(store, RUN, attack, EQUAL, wrong, 1)
    assert board(store).loc["baseline", "status"] == "ok", "nobody knows the classes of the split"
    for attack in ("clean", "fgsm"):
        write(store, LPC, attack, SHARE[:70], [], 2)
    found = board(store)
    assert found.loc["baseline", COLUMN] == pytest.approx(100 * 50 / 70)
    assert found["status"].to_dict() == {
        "baseline": "2 of 2 columns on equally many images per class", "lpc": "ok",
    }  # fmt: skip
    assert found["rank"].dropna().to_dict() == {"lpc": 1}


def test_as_many_images_drawn_otherwise_are_no_mean(store: Store) -> None:
    """Two seeds of 70 images each, one of them drawn anew."""
    other = run_record(seed=1)
    write(store, other, "clean", range(400), [])
    write(store, other, "fgsm", range(400), MINORITY)
    write(store, other, "autoattack", SHARE[:70], [7], 2)
    row = board(store).loc["baseline"]
    assert (row["autoattack@linf-0.1_n"], pd.isna(row["autoattack@linf-0.1"])) == (0, True)


@pytest.mark.parametrize("old", [RUN, LPC], ids=["baseline", "lpc"])
def test_neither_places_nor_differences_mix_samples(tmp_path: Path, old: RunRecord) -> None:
    store = Store(tmp_path)
    for run in (RUN, LPC):
        write(store, run, "clean", range(400), [])
        images, version = (EQUAL, 1) if run is old else (SHARE[:70], 2)
        write(store, run, "fgsm", images, [7], version)
    tables = write_tables(store)
    found = tables.board.set_index("variant")
    new = LPC if old is RUN else RUN
    assert found["rank"].dropna().to_dict() == {new.variant: 1}
    row: Any = tables.comparison.set_index("metric").loc["fgsm@linf-0.1"]
    versions = (2, 1) if old is RUN else (1, 2)
    assert row["note"] == "no difference: sampling {}, baseline's {}".format(*versions)
    assert pd.isna(row["diff"])
    titles = {table.title for table in compare(stored_lines(store), [])}
    assert titles == {
        "digits: fgsm linf 0.1, n = 70, clean n = 400",
        "digits: fgsm linf 0.1, n = 70, equally many images per class, clean n = 400",
    }  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
def test_published_numbers_on_old_samples_say_so(tmp_path: Path, bench: Callable[..., Any], version: int) -> None:
    """Attacks, corruptions and their means, in comparisons and in model cards."""
    store, images = Store(tmp_path), EQUAL if version == 1 else SHARE[:70]
    write(store, RUN, "clean", range(400), [])
    write(store, RUN, "fgsm", images, [7], version)
    for kind in STANDARD_KINDS:
        for severity in range(1, 6):
            corruption = CorruptionSpec(kind=kind, severity=severity, source="generated", profile="cifar")
            record = limited(cell_record(RUN, "clean", [True] * 70), 70, version)
            spec = dataclasses.replace(record.spec, corruption=corruption)
            store.write_cell(dataclasses.replace(record, spec=spec, cell_id=spec.cell_id), None)
    subset = "equally many images per class" if version == 1 else None
    assert {line.protocol.measure: line.protocol.subset or None for _, line in stored_lines(store)} == {
        "fgsm": subset, "corruptions": subset,
    }  # fmt: skip
    card = bench("export", "tiny:baseline", "--format", "huggingface", "--results", tmp_path).out
    _, results = model_index_to_eval_results(yaml.safe_load(card)["model-index"])
    assert {result.metric_name: (result.metric_args or {}).get("subset") for result in results} == {
        "clean": None, "fgsm@linf-0.1": subset, "corruptions_acc": subset, COLUMN: subset,
    }  # fmt: skip
