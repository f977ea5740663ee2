"""The tables from hand-made records: means, differences, ranks, and what a failed cell does to them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import cell_record, replace_outcomes, resealed, run_record, samples_of, store_with

from bench.core.errors import BenchError
from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import SAMPLING_VERSION
from bench.leaderboard.report import board_markdown
from bench.leaderboard.write_tables import rebuild
from bench.results.per_image import Sample, dump_samples, parse_samples
from bench.results.record_files import dump_record, parse_record
from bench.results.results_csv import result_row
from bench.results.store import Store
from bench.statistics.intervals import wilson_interval


def test_differences_are_over_common_images(tmp_path: Path) -> None:
    store = store_with(
        tmp_path,
        {
            ("baseline", 0): {"clean": [True] * 4, "fgsm": [True, False, False, False]},
            ("lpc", 0): {"clean": [True] * 4, "fgsm": [True, True]},
        },
    )
    board = rebuild(store).set_index("variant")
    assert board.loc["lpc", "fgsm@linf-0.1"] == 100.0
    assert board.loc["lpc", "fgsm@linf-0.1_diff"] == 50.0  # over the two images that both have
    assert board.loc["lpc", "fgsm@linf-0.1_n"] == 2


def test_seeds_are_averaged_and_their_spread_stands_apart(tmp_path: Path) -> None:
    store = store_with(
        tmp_path,
        {("lpc", 0): {"clean": [True] * 10}, ("lpc", 1): {"clean": [True] * 8 + [False] * 2}},
    )
    row = rebuild(store).iloc[0]
    assert (row["seeds"], row["clean"], row["clean_n"]) == (2, 90.0, 10)
    assert row["clean_std"] == pytest.approx(14.1421, abs=1e-4)
    low, high = wilson_interval(9, 10)
    assert (row["clean_lo"], row["clean_hi"]) == pytest.approx((100 * low, 100 * high))


def test_rank_is_by_the_worst_attack_of_each_budget_and_not_by_the_mean(tmp_path: Path) -> None:
    """Lpc is better on average, but its worst attack leaves less."""
    store = store_with(
        tmp_path,
        {
            ("baseline", 0): {
                "clean": [True] * 4,
                "fgsm": [True, True, False, False],
                "pgd-20": [True, True, False, False],
            },
            ("lpc", 0): {"clean": [True] * 4, "fgsm": [True] * 4, "pgd-20": [True, False, False, False]},
        },
    )
    board = rebuild(store)
    assert list(board["variant"]) == ["baseline", "lpc"]
    assert list(board["rank"]) == [1, 2]


def test_a_row_with_a_failed_cell_is_unranked_and_has_no_number(tmp_path: Path) -> None:
    store = store_with(
        tmp_path,
        {
            ("baseline", 0): {"clean": [True] * 4, "fgsm": [False] * 4},
            ("lpc", 0): {"clean": [True] * 4, "fgsm": [True] * 4},
        },
    )
    run = run_record(variant="lpc", seed=0)
    good = cell_record(run, "fgsm", [True] * 4)
    store.write_cell(dataclasses.replace(good, status="failed", reason="attack_error", n_correct=None), None)
    board = rebuild(store).set_index("variant")
    assert pd.isna(board.loc["lpc", "rank"])
    assert board.loc["lpc", "status"] == "1 not ok"
    assert pd.isna(board.loc["lpc", "fgsm@linf-0.1"])
    assert board.loc["baseline", "rank"] == 1


@pytest.mark.parametrize(("images", "status"), [(8, "1 not ok"), (4, "ok"), (2, "ok")])
def test_a_failed_attack_on_more_images_does_not_vanish_behind_one_on_fewer(
    tmp_path: Path, images: int, status: str
) -> None:
    """A failure that an ok cell of as many images has made good is history."""
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True] * 4, "fgsm": [True] * 4}})
    failed = cell_record(run_record(), "fgsm", [True] * images)
    spec = dataclasses.replace(failed.spec, limit=images, sampling=SAMPLING_VERSION)
    failed = dataclasses.replace(
        failed, spec=spec, cell_id=spec.cell_id, status="failed", reason="out_of_memory", n_correct=None
    )
    store.write_cell(failed, None)
    board = rebuild(store)
    assert list(board["status"]) == [status]
    assert list(board["fgsm@linf-0.1"]) == [100.0]


def test_the_present_way_of_drawing_images_counts_before_more_images(tmp_path: Path) -> None:
    """Images that were drawn equally from unequal classes estimate something else than the accuracy of the split."""
    store = store_with(tmp_path, {("baseline", 0): {}})
    for sampling, correct in ((1, [True] * 8), (SAMPLING_VERSION, [True, True, True, False])):
        cell = cell_record(run_record(), "fgsm", correct)
        spec = dataclasses.replace(cell.spec, limit=len(correct), sampling=sampling)
        store.write_cell(dataclasses.replace(cell, spec=spec, cell_id=spec.cell_id), samples_of(correct))
    assert list(rebuild(store)["fgsm@linf-0.1"]) == [75.0]


def test_one_failed_seed_takes_the_mean_away(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("lpc", 0): {"clean": [True] * 4}, ("lpc", 1): {"clean": [True] * 4}})
    run = run_record(variant="lpc", seed=1)
    failed = dataclasses.replace(
        cell_record(run, "clean", [True] * 4), status="failed", n_correct=None, reason="nan_logits"
    )
    store.write_cell(failed, None)
    assert pd.isna(rebuild(store).iloc[0]["clean"])


def test_an_ok_row_derives_everything_from_its_counts() -> None:
    run = run_record()
    row = result_row(run, cell_record(run, "fgsm", [True, True, False, False]))
    low, high = wilson_interval(2, 4)
    assert (row["acc"], row["acc_lo"], row["acc_hi"], row["n"]) == (0.5, low, high, 4)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775328), (10, 10, 0.7224672, 1.0), (5, 10, 0.2365931, 0.7634069), (81, 263, 0.2552911, 0.3662093)],
)
def test_wilson_against_published_values(correct: int, n: int, low: float, high: float) -> None:
    """The last row is the worked example of Newcombe 1998, Statistics in Medicine 17, table I (81 of 263)."""
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-4)


def test_wilson_ends_exactly_where_shares_end() -> None:
    assert (wilson_interval(0, 200)[0], wilson_interval(200, 200)[1]) == (0.0, 1.0)


@pytest.mark.parametrize(("correct", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_wilson_refuses_what_is_no_share(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="not a share"):
        wilson_interval(correct, n)


@pytest.mark.parametrize("record", [run_record(), cell_record(run_record(), "fgsm", [True, False])])
def test_records_survive_their_files(record: RunRecord | EvalRecord) -> None:
    assert parse_record(type(record), dump_record(record), where="x") == record


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"n": 2', b'"n": "2"'),
        (b'"n": 2', b'"m": 2'),
        (b'"n": 2,', b'"n": 2, "extra": 1,'),
        (b'"device"', b'"devise"'),
        (b'"status": "ok"', b'"status": "fine"'),
    ],
)
def test_records_are_read_strictly(old: bytes, new: bytes) -> None:
    content = dump_record(cell_record(run_record(), "fgsm", [True, False]))
    assert old in content
    with pytest.raises(BenchError, match="where-it-lies is damaged or of another version: it contains no EvalRecord"):
        parse_record(EvalRecord, resealed(content.replace(old, new, 1)), where="where-it-lies")


SAMPLES = st.builds(
    Sample,
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1),
    st.integers(0, 999),
    st.integers(0, 999),
    st.integers(0, 999),
    st.none() | st.floats(0, 10),
)


@given(st.lists(SAMPLES, max_size=5, unique_by=lambda sample: sample.sample_id))
def test_samples_survive_their_files(samples: list[Sample]) -> None:
    assert parse_samples(dump_samples(samples), where="x") == samples


def test_samples_that_contradict_their_record_are_refused(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True] * 4}})
    run = run_record(variant="baseline", seed=0)
    record = cell_record(run, "clean", [True] * 4)
    forged = replace_outcomes(store, record, dump_samples(samples_of([True, True, True, False])))
    with pytest.raises(BenchError, match="has 3 correct of 4 images, but its record says 4 of 4"):
        store.read_samples(forged)


def test_a_failed_cell_is_no_answer_even_where_images_of_an_earlier_one_lie(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True] * 4}})
    run = run_record(variant="baseline", seed=0)
    record = cell_record(run, "clean", [True] * 4)
    assert store.finished_cell(run.run_id, record.cell_id) == store.read_cell(run.run_id, record.cell_id) is not None
    store.write_cell(dataclasses.replace(record, status="failed", reason="attack_error", n_correct=None), None)
    assert store.finished_cell(run.run_id, record.cell_id) is None


def replace_attack(record: EvalRecord, **changes: object) -> EvalRecord:
    """The record of another attack version, batch size or limit: another cell in the same place of the board."""
    attack = record.spec.attack
    assert attack is not None
    version = changes.pop("version", attack.version)
    spec = dataclasses.replace(record.spec, attack=dataclasses.replace(attack, version=version), **changes)  # type: ignore[arg-type]
    return dataclasses.replace(record, spec=spec, cell_id=spec.cell_id)


@pytest.mark.parametrize("seed", range(4))
def test_of_two_cells_in_one_place_the_newer_attack_version_counts(tmp_path: Path, seed: int) -> None:
    store = store_with(tmp_path, {("baseline", seed): {"clean": [True] * 4, "fgsm": [True] * 4}})
    run = run_record(seed=seed)
    newer = replace_attack(cell_record(run, "fgsm", [False] * 4), version=2)
    store.write_cell(newer, samples_of([False] * 4))
    assert rebuild(store).iloc[0]["fgsm@linf-0.1"] == 0


@pytest.mark.parametrize("seed", range(4))
def test_of_two_cells_in_one_place_the_one_that_is_ok_counts(tmp_path: Path, seed: int) -> None:
    store = store_with(tmp_path, {("baseline", seed): {"clean": [True] * 4, "fgsm": [True] * 4}})
    other = replace_attack(cell_record(run_record(seed=seed), "fgsm", [True] * 9), batch_size=99)
    store.write_cell(dataclasses.replace(other, status="failed", reason="attack_error", n_correct=None), None)
    row = rebuild(store).iloc[0]
    assert (row["fgsm@linf-0.1"], row["fgsm@linf-0.1_n"]) == (100, 4)


def test_other_test_images_are_another_row(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True] * 4}})
    record = cell_record(run_record(), "clean", [False] * 4)
    spec = dataclasses.replace(record.spec, data_sha="other")
    other = dataclasses.replace(record, spec=spec, cell_id=spec.cell_id, n=20, n_test=20, n_correct=15)
    store.write_cell(other, samples_of([True] * 15 + [False] * 5))
    board = rebuild(store).set_index("data_sha")
    assert (board.loc["d", "clean"], board.loc["other", "clean"]) == (100, 75)
    assert list(board["rank"]) == [1, 1]


def test_fewer_images_have_no_place_beside_more(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True] * 99 + [False]}, ("lpc", 0): {"clean": [True] * 2}})
    board = rebuild(store).set_index("variant")
    assert board.loc["baseline", "rank"] == 1
    assert pd.isna(board.loc["lpc", "rank"])
    assert board.loc["lpc", "clean_n"] == 2


def test_equal_rows_share_a_place(tmp_path: Path) -> None:
    store = store_with(tmp_path, {(name, 0): {"clean": [True] * 4} for name in ("baseline", "lpc", "other")})
    assert list(rebuild(store)["rank"]) == [1, 1, 1]


def test_the_order_of_the_seeds_makes_no_place(tmp_path: Path) -> None:
    """70, 80 and 90 of 100 have the mean of 90, 80 and 70; as floating-point sums of shares they have not."""
    counts = {"baseline": (7, 8, 9), "lpc": (9, 8, 7)}
    assert 0.7 + 0.8 + 0.9 != 0.9 + 0.8 + 0.7
    cells = {
        (variant, seed): dict.fromkeys(("clean", "fgsm"), [True] * 10 * right + [False] * 10 * (10 - right))
        for variant, rights in counts.items()
        for seed, right in enumerate(rights)
    }
    assert list(rebuild(store_with(tmp_path, cells))["rank"]) == [1, 1]


@pytest.mark.parametrize("second", [{}, {"fgsm": [True] * 3}])
def test_an_attack_without_a_mean_over_the_seeds_was_tried_all_the_same(
    tmp_path: Path, second: dict[str, list[bool]]
) -> None:
    """One seed was not attacked, or on fewer images: nothing failed, and there is no number."""
    clean = {"clean": [True] * 4}
    cells = {("baseline", 0): {**clean, "fgsm": [True] * 4}, ("baseline", 1): clean | second, ("lpc", 0): clean}
    board = rebuild(store_with(tmp_path, cells))
    rows = board.set_index("variant")
    assert (rows.loc["baseline", "fgsm@linf-0.1_n"], rows.loc["baseline", "status"]) == (0, "ok")
    assert pd.isna(rows.loc["baseline", "fgsm@linf-0.1"])
    assert pd.isna(rows.loc["lpc", "fgsm@linf-0.1_n"]), "it was not attacked at all"
    line = next(line for line in board_markdown(board).splitlines() if "| baseline " in line)
    assert "| no mean " in line


def test_a_failed_attack_is_called_so(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True] * 4}})
    failed = cell_record(run_record(), "fgsm", [True] * 4)
    store.write_cell(dataclasses.replace(failed, status="failed", reason="attack_error", n_correct=None), None)
    assert "| failed " in board_markdown(rebuild(store))


def test_attack_seeds_on_one_set_of_weights_have_no_spread_of_trainings(tmp_path: Path) -> None:
    """As of a model that was not trained here: its seeds are those of the attack."""
    store = Store(tmp_path)
    for seed, right in ((0, 30), (1, 20)):
        run = dataclasses.replace(run_record(seed=seed), weights_sha="the same")
        store.write_run(run, None)
        for attack, correct in {"clean": [True] * 40, "fgsm": [True] * right + [False] * (40 - right)}.items():
            store.write_cell(cell_record(run, attack, correct), samples_of(correct))
    row = rebuild(store, intervals=True).iloc[0]
    assert (row["seeds"], row["fgsm@linf-0.1"]) == (2, 62.5)
    columns = [f"{metric}{suffix}" for metric in ("clean", "fgsm@linf-0.1") for suffix in ("_std", "_t_lo", "_t_hi")]
    assert row[columns].isna().all()
    assert row[["clean_lo", "fgsm@linf-0.1_se"]].notna().all()


def test_rank_is_by_the_mean_over_budgets_and_not_by_the_best_of_them(tmp_path: Path) -> None:
    verdicts = {"baseline": ([True] * 4, [False] * 4), "lpc": ([True] * 3 + [False], [True] * 3 + [False])}
    store = Store(tmp_path)
    for variant, budgets in verdicts.items():
        run = run_record(variant=variant)
        store.write_run(run, None)
        store.write_cell(cell_record(run, "clean", [True] * 4), samples_of([True] * 4))
        for eps, correct in zip((0.1, 0.2), budgets, strict=True):
            record = cell_record(run, "fgsm", correct)
            assert record.spec.attack is not None
            spec = dataclasses.replace(record.spec, attack=dataclasses.replace(record.spec.attack, eps=eps))
            store.write_cell(dataclasses.replace(record, spec=spec, cell_id=spec.cell_id), samples_of(correct))
    assert list(rebuild(store)["variant"]) == ["lpc", "baseline"]


def test_prefiltered_numbers_have_a_column_of_their_own(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True] * 4, "fgsm": [True] * 4}})
    record = replace_attack(cell_record(run_record(), "fgsm", [False] * 4), protocol="prefiltered")
    store.write_cell(record, samples_of([False] * 4))
    row = rebuild(store).iloc[0]
    assert (row["fgsm@linf-0.1"], row["fgsm@linf-0.1:prefiltered"]) == (100, 0)


def test_cells_of_replaced_weights_are_no_answer_and_no_row(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True] * 4, "fgsm": [True] * 4}})
    store.write_run(dataclasses.replace(run_record(), weights_sha="new"), None)
    record = cell_record(run_record(), "clean", [True] * 4)
    assert store.finished_cell(record.spec.run_id, record.cell_id) is None
    assert len(rebuild(store)) == 0
    assert (tmp_path / "results.csv").read_text().count("\n") == 1


def test_no_difference_without_the_same_seeds_and_no_mean_over_unequal_sets(tmp_path: Path) -> None:
    store = store_with(
        tmp_path,
        {
            ("baseline", 0): {"clean": [True] * 4},
            ("lpc", 0): {"clean": [True] * 4, "fgsm": [True] * 4},
            ("lpc", 1): {"clean": [False] * 4, "fgsm": [True] * 2},
        },
    )
    row = rebuild(store).set_index("variant").loc["lpc"]
    assert row["clean"] == 50
    assert pd.isna(row["clean_diff"])
    assert pd.isna(row["fgsm@linf-0.1"])


def test_the_printed_board_does_not_round_what_is_rounded(tmp_path: Path) -> None:
    """38 of 150: the lower end of Wilson's interval is 19.049 %."""
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True] * 38 + [False] * 112}})
    assert "25.3 [19.0, 32.8]" in board_markdown(rebuild(store, intervals=True))
    assert pd.read_csv(tmp_path / "leaderboard.csv")["clean_lo"].tolist() == [19.05]
