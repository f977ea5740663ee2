"""The board's columns of corruptions from hand-made cells: which set counts, and which means there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
from records import cell_record, run_record, samples_of

from bench.attacks.corruptions.apply import CORRUPTIONS, corrupt_bytes
from bench.cli import cli
from bench.core.records import EvalRecord
from bench.core.specs import CorruptionSpec
from bench.data import load_dataset
from bench.data.corrupted.cache import as_bytes
from bench.data.registry import DataRequest
from bench.data.tensors import load_images
from bench.leaderboard.corruption_cells import STANDARD_KINDS
from bench.leaderboard.write_tables import write_tables
from bench.results.store import Store

LEVELS = range(1, 6)
OLD, NEW = "2026-01-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"
WEATHER = [kind for kind in STANDARD_KINDS if CORRUPTIONS.get(kind).family == "weather"]


def corrupted(
    kind: str, severity: int, right: int, *, n: int = 4, created: str = OLD, seed: int = 0, ok: bool = True, **of: Any
) -> EvalRecord:
    """Return a cell with ``right`` of ``n`` images correct; ``of`` gives its set and its file."""
    record = cell_record(run_record(seed=seed), "clean", [i < right for i in range(n)])
    corruption = CorruptionSpec(**({"source": "generated", "profile": "cifar"} | of), kind=kind, severity=severity)
    spec = dataclasses.replace(record.spec, corruption=corruption, limit=n)
    record = dataclasses.replace(record, spec=spec, cell_id=spec.cell_id, created=created)
    failed = {"status": "failed", "reason": "corruption_error", "n_correct": None, "n": 0, "n_attacked": 0}
    return record if ok else dataclasses.replace(record, **failed)


def whole(kinds: Iterable[str], right: int, levels: Iterable[int] = LEVELS, **of: Any) -> list[EvalRecord]:
    return [corrupted(kind, level, right, **of) for kind in kinds for level in levels]


def board(tmp_path: Path, cells: Iterable[EvalRecord]) -> Any:
    """Return the only row of the leaderboard of these cells."""
    store = Store(tmp_path)
    for cell in cells:
        store.write_run(run_record(seed=cell.spec.seed), None)
        clean = cell_record(run_record(seed=cell.spec.seed), "clean", [True] * 4)
        store.write_cell(clean, samples_of([True] * 4))
        store.write_cell(cell, samples_of([i < (cell.n_correct or 0) for i in range(cell.n)]))
    (row,) = write_tables(store).board.to_dict("records")
    return row


def exported(tmp_path: Path) -> Any:
    return pd.read_csv(tmp_path / "corruptions.csv", header=[0, 1], index_col=0)


def test_severities_of_two_files_make_no_mean(tmp_path: Path) -> None:
    """The file of fog was exchanged between the fourth severity and the fifth."""
    files = {"source": "official"}
    cells = [*whole(["fog"], 4, range(1, 5), **files, files_sha="a"), *whole(["snow"], 2, **files, files_sha="s")]
    row = board(tmp_path, [*cells, corrupted("fog", 5, 0, **files, files_sha="b", created=NEW)])
    assert pd.isna(row["fog_acc"])
    assert row["snow_acc"] == 50
    assert exported(tmp_path)["fog"].iloc[0].tolist()[:4] == [1.0] * 4
    assert pd.isna(exported(tmp_path)["fog"].iloc[0]["5"])


def test_a_part_of_another_file_takes_no_mean_away(tmp_path: Path) -> None:
    files = {"source": "official"}
    partly = corrupted("fog", 5, 0, **files, files_sha="b", created=NEW)
    assert board(tmp_path, [*whole(["fog"], 4, **files, files_sha="a"), partly])["fog_acc"] == 100
    row = board(tmp_path, whole(["fog"], 2, **files, files_sha="b", created=NEW))
    assert row["fog_acc"] == 50, "as many cells, and later"


def test_files_of_two_seeds_make_no_mean(tmp_path: Path) -> None:
    files = {"source": "official"}
    cells = whole(STANDARD_KINDS, 4, **files, files_sha="a")
    others = whole(STANDARD_KINDS, 4, **files, files_sha="b", seed=1)
    row = board(tmp_path, [*cells, *others])
    assert pd.isna(row["fog_acc"])
    assert pd.isna(row["corruptions_acc"])
    assert "0 of the 75 standard cells" in row["mce_note"]


def test_a_newer_definition_counts_alone(tmp_path: Path) -> None:
    row = board(tmp_path, [*whole(["fog"], 4), corrupted("fog", 5, 0, version=2)])
    assert pd.isna(row["fog_acc"])
    assert exported(tmp_path)["fog"].iloc[0].dropna().to_dict() == {"5": 0.0}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"levels": LEVELS, "created": OLD}, {"levels": [5], "source": "official", "n": 8, "created": NEW}),
        ({"source": "official"}, {"n": 8, "created": NEW}),
        ({"n": 8}, {"n": 4, "created": NEW}),
        ({"created": NEW, "profile": "imagenet"}, {"created": OLD}),
        ({"created": NEW, "seed_of": 1}, {"created": OLD}),
    ],
    ids=["most cells", "official", "more images", "later", "later of another seed"],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_one_set_counts_for_the_whole_row(
    tmp_path: Path, better: dict[str, Any], worse: dict[str, Any], swapped: bool
) -> None:
    def cells(right: int, *, levels: Iterable[int] = LEVELS, seed_of: int = 0, **of: Any) -> list[EvalRecord]:
        made = [corrupted(kind, level, right, **of) for kind in ("fog", "snow") for level in levels]
        return [of_seed(cell, seed_of) for cell in made]

    both = [cells(4, **({"n": 4} | better)), cells(0, **worse)]
    row = board(tmp_path, [cell for found in (reversed(both) if swapped else both) for cell in found])
    wanted = 400 / better.get("n", 4)
    assert (row["fog_acc"], row["snow_acc"]) == (wanted, wanted)
    found = exported(tmp_path)
    assert (found.to_numpy() == wanted / 100).all()
    assert row["corruptions_set"] == f"{better.get('source', 'generated')}:{better.get('profile', 'cifar')}"
    assert row["status"] == "ok"
    assert len(pd.read_csv(tmp_path / "results.csv")) == 1 + len(both[0]) + len(both[1])


def of_seed(cell: EvalRecord, seed: int) -> EvalRecord:
    assert cell.spec.corruption is not None
    spec = dataclasses.replace(cell.spec, corruption=dataclasses.replace(cell.spec.corruption, seed=seed))
    return dataclasses.replace(cell, spec=spec, cell_id=spec.cell_id)


def test_columns_of_a_set_that_does_not_count_are_not_on_the_board(tmp_path: Path) -> None:
    row = board(tmp_path, [*whole(["fog", "snow"], 4), *whole(["frost"], 4, profile="imagenet", created=NEW)])
    assert row["fog_acc"] == 100
    assert "frost_acc" not in row
    assert set(exported(tmp_path).columns.get_level_values(0)) == {"fog", "snow"}


@pytest.mark.parametrize(
    ("failed", "status"),
    [
        ({"source": "official"}, "10 not ok"),
        ({"n": 8}, "10 not ok"),
        ({"n": 2}, "ok"),
        ({"source": "official", "kinds": ["fog"]}, "ok"),
    ],
    ids=["official", "more images", "fewer images", "fewer cells"],
)
def test_failed_cells_of_a_set_that_would_count_do_not_vanish(
    tmp_path: Path, failed: dict[str, Any], status: str
) -> None:
    kinds = failed.pop("kinds", ["fog", "snow"])
    row = board(tmp_path, [*whole(["fog", "snow"], 4), *whole(kinds, 0, ok=False, created=NEW, **failed)])
    assert row["fog_acc"] == 100
    assert row["status"] == status
    assert pd.isna(row["rank"]) == (status != "ok")


def test_failed_cells_alone_are_counted_once(tmp_path: Path) -> None:
    cells = [*whole(["fog"], 0, ok=False), *whole(["fog"], 0, ok=False, n=2)]
    row = board(tmp_path, cells)
    assert row["status"] == "5 not ok"
    assert row["corruptions_acc_n"] == 0
    assert not (tmp_path / "corruptions.csv").exists()


def test_a_family_has_a_mean_when_its_kinds_are_whole(tmp_path: Path) -> None:
    """Without one severity of one of its kinds it has none. Kinds that are not standard have no part in it."""
    cells = [*whole(WEATHER[1:], 4), *whole(WEATHER[:1], 0), *whole(["gaussian_noise", "speckle_noise"], 4)]
    row = board(tmp_path, cells)
    assert row["weather_acc"] == pytest.approx(100 * (len(WEATHER) - 1) / len(WEATHER))
    assert all(pd.isna(row[f"{name}_acc"]) for name in ("noise", "blur", "digital", "severity_1"))
    assert pd.isna(row["corruptions_acc"])
    assert pd.isna(row["mce"])
    assert row["mce_note"].startswith("mce, rel_mce: 25 of the 75 standard cells have an accuracy")
    broken = [cell for cell in cells if cell.spec.corruption.severity < 5 or cell.spec.corruption.kind != WEATHER[0]]
    assert pd.isna(board(tmp_path / "broken", broken)["weather_acc"])


def test_a_severity_has_a_mean_when_all_kinds_have_it(tmp_path: Path) -> None:
    cells = [*whole(STANDARD_KINDS[1:], 4, [2, 5]), *whole(STANDARD_KINDS[:1], 1, [2]), *whole(["saturate"], 0, [2])]
    row = board(tmp_path, cells)
    assert row["severity_2_acc"] == pytest.approx(100 * (14 + 0.25) / 15)
    assert all(pd.isna(row[f"severity_{level}_acc"]) for level in (1, 3, 4, 5))
    assert all(pd.isna(row[column]) for column in ("weather_acc", "mce", "corruptions_acc"))


def test_intervals_stand_beside_what_the_help_names(tmp_path: Path) -> None:
    """Not beside the means of families, severities and kinds."""
    board(tmp_path, whole(STANDARD_KINDS, 2))
    write_tables(Store(tmp_path), intervals=True)
    columns = pd.read_csv(tmp_path / "leaderboard.csv").columns
    assert "weather_acc" in columns
    ends = {name for name in columns if name.endswith("_lo") and not name.endswith("_t_lo")}
    assert ends == {"clean_lo", "corruptions_acc_lo"}
    option = next(o for o in cli.get_command(click.Context(cli), "leaderboard").params if o.name == "intervals")
    assert option.help.endswith("of clean, every attack and corruptions_acc to leaderboard.csv")
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert (
        "`--intervals` adds confidence intervals and standard deviations to `clean`, every attack and `corruptions_acc`"
        in readme
    )


def test_what_changes_nothing_at_8_pixels_is_named() -> None:
    images = load_images(load_dataset("digits", DataRequest()).test, 20, dataset="digits")
    grey = as_bytes(images.pixels.numpy())
    idle = {
        kind
        for kind in CORRUPTIONS
        if all((corrupt_bytes(grey, images.ids, kind, s, seed=0, profile="cifar") == grey).all() for s in LEVELS)
    }
    assert idle == {"defocus_blur", "saturate"}
    readme = (Path(__file__).parents[2] / "results" / "README.md").read_text()
    start = "- At 8 pixels, some kinds do not change the images"
    (sentence,) = [line for line in readme.splitlines() if line.startswith(start)]
    assert all(f"`{kind}`" in sentence for kind in idle)
