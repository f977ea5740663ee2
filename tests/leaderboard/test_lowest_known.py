"""A broken image is a fact: whatever any verified attack has broken counts in the robust accuracy that is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results
from records import audit_record, cell_record, run_record, samples_of

from bench.compare.own_rows import stored_lines
from bench.compare.tables import compare
from bench.config import TableConfig
from bench.core.records import AuditRecord, RunRecord
from bench.core.specs import AttackSpec
from bench.leaderboard.report import board_markdown
from bench.leaderboard.write_tables import write_tables
from bench.results.per_image import Sample
from bench.results.store import Store

RUN, LPC = run_record(), run_record("lpc")
N = 100
COLUMN = "robust_acc_lowest@linf-0.1"


def write(
    store: Store, run: RunRecord, attack: str, wrong: set[int], *, n: int = N, eps: float = 0.1, distance: float = 0.05,
    **fields: Any,
) -> None:  # fmt: skip
    """A cell whose attack broke the images ``wrong`` of the first ``n``."""
    record = cell_record(run, attack, [i not in wrong for i in range(n)])
    if record.spec.attack is not None:
        made = AttackSpec(**(vars(record.spec.attack) | {"eps": eps} | fields))
        spec = dataclasses.replace(record.spec, attack=made)
        record = dataclasses.replace(record, spec=spec, cell_id=spec.cell_id)
    samples = [Sample(str(i), 1, 1, int(i not in wrong), distance if i in wrong else None) for i in range(n)]
    store.write_run(run, None)
    store.write_cell(record, samples)


def audit(
    run: RunRecord, broken: Mapping[str, set[int]], *, n: int = 50, eps: float = 0.1, **budget: Any
) -> AuditRecord:
    """An audit that looked at the first ``n`` images."""
    record = audit_record(run)
    found = {name: tuple(sorted(hits)) for name, hits in broken.items()}
    made = dataclasses.replace(
        record.budgets[0], n=n, eps=eps, images=tuple(map(str, range(n))), broken=found, **budget
    )
    return dataclasses.replace(record, budgets=(made,))


def row_of(store: Store, variant: str = "baseline") -> pd.Series[Any]:
    return write_tables(store).board.set_index("variant").loc[variant]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Store in which FGSM breaks images 0 to 29 of 100, and PGD images 10 to 39."""
    made = Store(tmp_path)
    write(made, RUN, "clean", set())
    write(made, RUN, "fgsm", set(range(30)))
    write(made, RUN, "pgd", set(range(10, 40)))
    return made


def test_the_suite_is_pooled_image_by_image(store: Store) -> None:
    row = row_of(store)
    assert (row["fgsm@linf-0.1"], row["pgd@linf-0.1"], row[COLUMN], row[f"{COLUMN}_n"]) == (70, 70, 60, 100)
    assert row[f"{COLUMN}_broken_by"] == "fgsm@linf-0.1 30 (10 alone); pgd@linf-0.1 30 (10 alone)"
    assert pd.isna(row[f"{COLUMN}_audit_n"]), "there is no audit"


def test_what_the_audit_broke_counts(store: Store) -> None:
    """Three images more, and two that were broken already, of the 50 that it saw."""
    cells = tuple(cell.cell_id for cell in store.cells(RUN.run_id))
    found = audit(RUN, {"square": {45, 46, 3}, "margin": {46, 47, 12}})
    store.write_audit(dataclasses.replace(found, cells=cells))
    row = row_of(store)
    assert (row[COLUMN], row[f"{COLUMN}_n"], row[f"{COLUMN}_audit_n"]) == (57, 100, 50)
    assert row[f"{COLUMN}_broken_by"] == (
        "audit:margin 3 (1 alone); audit:square 3 (1 alone); fgsm@linf-0.1 30 (9 alone); pgd@linf-0.1 30 (10 alone)"
    )
    assert row["audit"] == "passed", "three images are no accusation"
    assert "| 57.0 " in board_markdown(write_tables(store).board)
    assert "57" in (store.root / "leaderboard.csv").read_text()


def test_an_audit_of_a_larger_budget_or_another_norm_breaks_nothing_here(store: Store) -> None:
    store.write_audit(audit(RUN, {"square": {45}}, eps=0.2))
    assert (row_of(store)[COLUMN], pd.isna(row_of(store)[f"{COLUMN}_audit_n"])) == (60, True)
    store.write_audit(audit(RUN, {"square": {45}}, norm="l2"))
    assert row_of(store)[COLUMN] == 60
    store.write_audit(audit(RUN, {"square": {45}}, eps=0.05))
    assert row_of(store)[COLUMN] == 59, "a smaller ball lies inside"


def test_an_audit_that_stored_no_images_says_so(store: Store) -> None:
    store.write_audit(audit_record(RUN))
    row = row_of(store)
    assert (row[COLUMN], row[f"{COLUMN}_audit_n"]) == (60, 0)
    assert row[f"{COLUMN}_broken_by"].endswith("; the audit stored no images")


def test_images_that_an_attack_was_not_shown_are_not_broken_by_it(store: Store) -> None:
    """An attack of 60 images limits the images; one of 20 says too little to do so, but what it broke is broken."""
    write(store, RUN, "autoattack", set(range(50)), n=60)
    row = row_of(store)
    assert (row[COLUMN], row[f"{COLUMN}_n"]) == (pytest.approx(100 * 10 / 60), 60)
    write(store, RUN, "square", {5, 55}, n=56)
    assert (row_of(store)[COLUMN], row_of(store)[f"{COLUMN}_n"]) == (pytest.approx(100 * 5 / 56), 56)
    write(store, RUN, "fab", {19}, n=20)
    assert row_of(store)[f"{COLUMN}_n"] == 56


def test_a_few_images_of_a_small_cell_count_too(store: Store) -> None:
    write(store, RUN, "fab", {40, 41}, n=49)
    assert (row_of(store)[COLUMN], row_of(store)[f"{COLUMN}_n"]) == (58, 100)


def test_other_budgets_count_by_their_distance(store: Store) -> None:
    """Smaller budgets lie inside; of a larger one what was found within 0.1."""
    write(store, RUN, "mim", {50, 51}, eps=0.05)
    assert row_of(store)[COLUMN] == 58
    write(store, RUN, "fmn", {60, 61, 62}, eps=0.3, distance=0.1)
    assert row_of(store)[COLUMN] == 55
    write(store, RUN, "ddn", {70, 71, 72}, eps=0.3, distance=0.1000001)
    assert row_of(store)[COLUMN] == 55
    assert row_of(store)["robust_acc_lowest@linf-0.3"] == 100 - 40 - 2 - 3 - 3


def test_a_cell_without_a_place_on_the_board_has_still_broken_images(store: Store) -> None:
    """PGD of another version: one of the two stands on the board."""
    write(store, RUN, "pgd", {90}, version=2)
    row = row_of(store)
    assert (row["pgd@linf-0.1"], row[COLUMN]) == (99, 59)


def test_over_seeds_it_is_a_mean_and_counts_are_sums(store: Store) -> None:
    other = run_record(seed=1)
    write(store, other, "clean", set())
    write(store, other, "fgsm", set(range(50)))
    write(store, other, "pgd", set(range(20)))
    store.write_audit(audit(RUN, {"square": {45}}, n=50))
    assert pd.isna(row_of(store)[f"{COLUMN}_audit_n"]), "one seed has no audit"
    store.write_audit(audit(other, {"square": {51, 52}}, n=60))
    row = row_of(store)
    assert (row[COLUMN], row[f"{COLUMN}_audit_n"]) == ((59 + 48) / 2, 50)
    assert "audit:square 3 (3 alone)" in row[f"{COLUMN}_broken_by"]


def test_the_places_go_by_it(store: Store) -> None:
    """By each attack lpc is better, by all of them together it is not."""
    write(store, LPC, "clean", set())
    write(store, LPC, "fgsm", set(range(29)))
    write(store, LPC, "pgd", set(range(29, 58)))
    board = write_tables(store).board.set_index("variant")
    assert board["rank"].to_dict() == {"baseline": 1, "lpc": 2}
    assert board["fgsm@linf-0.1_diff"]["lpc"] == 1


def test_the_comparison_shows_it_of_both_on_the_same_images(store: Store) -> None:
    write(store, LPC, "clean", set())
    write(store, LPC, "fgsm", set(range(20)), n=80)
    store.write_audit(audit(LPC, {"noise": {70}}, n=75))
    row = write_tables(store).comparison.set_index("metric").loc["fgsm@linf-0.1"]
    lowest = [row[f"robust_acc_lowest{suffix}"] for suffix in ("", "_reference", "_n")]
    assert lowest == [100 * 59 / 80, 100 * 40 / 80, 80]
    assert row["broken_by"] == "audit:noise 1 (1 alone); fgsm@linf-0.1 20 (20 alone)"
    assert row["broken_by_reference"] == "fgsm@linf-0.1 30 (10 alone); pgd@linf-0.1 30 (10 alone)"
    assert pd.isna(row["robust_acc_lowest_audit_n"]), "the baseline has no audit"
    clean = write_tables(store).comparison.set_index("metric").loc["clean"]
    assert pd.isna(clean["robust_acc_lowest"])


def test_beside_published_numbers_it_is_the_number(store: Store) -> None:
    store.write_audit(audit(RUN, {"square": {45, 46, 47}}))
    write(store, RUN, "autoattack", set(range(38)))
    ((_, line),) = stored_lines(store)
    assert (line.robust, line.autoattack, line.protocol.measure) == (57, 62, "autoattack")
    assert line.notes[-1].startswith("lowest known: AutoAttack leaves 62.00; broken by audit:square 3 (3 alone); ")


def test_beside_published_numbers_any_attack_counts(store: Store) -> None:
    """The line is PGD's, which most rows have, or the alphabet's first."""
    ((_, line),) = stored_lines(store)
    assert (line.robust, line.autoattack) == (60, None)


def test_bench_show_has_it(store: Store, bench: Callable[..., Any]) -> None:
    store.write_audit(audit(RUN, {"square": {45, 46, 47}}))
    shown = bench("show", "tiny:baseline", "--results", store.root).out
    assert "lowest known@linf-0.1: 57.0 % of 100 images, 50 of them audited; broken by audit:sq" in shown


def test_images_that_were_wrong_from_the_start_are_counted_for_nobody(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = cell_record(RUN, "fgsm", [True] * 8 + [False] * 2)
    samples = samples_of([True] * 8 + [False] * 2)
    samples[-1] = Sample("9", 1, 0, 0, 0.0)
    store.write_run(RUN, None)
    store.write_cell(record, samples)
    row = row_of(store)
    assert (row[COLUMN], row[f"{COLUMN}_broken_by"]) == (80, "fgsm@linf-0.1 1 (1 alone)")


def twice(store: Store) -> None:
    """LPC beside the baseline: the same attacks, of which FGSM breaks one image more."""
    write(store, LPC, "clean", set())
    write(store, LPC, "fgsm", set(range(31)))
    write(store, LPC, "pgd", set(range(10, 41)))


def places(store: Store, **options: Any) -> dict[str, tuple[int, str]]:
    board = write_tables(store, TableConfig(**options)).board.set_index("variant")
    return {name: (row["rank"], row["rank_by"]) for name, row in board.iterrows()}


def test_an_audit_of_one_row_alone_costs_it_no_place(store: Store) -> None:
    """60 against 59 % by the attacks of both; the audit takes two points from the one that was audited."""
    twice(store)
    store.write_audit(audit(RUN, {"square": {60, 61}}, n=70))
    board = write_tables(store).board.set_index("variant")
    assert board[COLUMN].to_dict() == {"baseline": 58, "lpc": 59}
    assert places(store) == {"baseline": (1, "attacks"), "lpc": (2, "attacks")}


@pytest.mark.parametrize(("change", "by"), [
    ({}, "attacks and audit"), ({"n": 40}, "attacks"), ({"eps": 0.05}, "attacks"), ({"level": "full"}, "attacks"),
])  # fmt: skip
def test_audits_count_for_the_places_where_all_rows_have_the_same(
    store: Store, change: dict[str, Any], by: str
) -> None:
    twice(store)
    level = change.pop("level", "default")
    store.write_audit(audit(RUN, {"square": {60, 61}}, n=70))
    store.write_audit(dataclasses.replace(audit(LPC, {"square": set()}, **{"n": 70, **change}), level=level))
    first, second = (2, 1) if by == "attacks and audit" else (1, 2)
    assert places(store) == {"baseline": (first, by), "lpc": (second, by)}


def test_images_made_on_the_baseline_count_only_where_all_rows_were_shown_some(store: Store) -> None:
    twice(store)
    store.write_audit(audit(RUN, {"square": {60, 61}}, n=70))
    store.write_audit(audit(LPC, {"square": {60}, "transfer": {62, 63, 64}}, n=70, baseline_run="b"))
    assert places(store) == {"baseline": (1, "attacks and audit"), "lpc": (1, "attacks and audit")}
    assert row_of(store, "lpc")[COLUMN] == 55


def test_cells_of_another_version_cost_no_place(store: Store) -> None:
    twice(store)
    write(store, RUN, "pgd", {90, 91}, version=0)
    assert row_of(store)[COLUMN] == 58
    assert places(store) == {"baseline": (1, "attacks"), "lpc": (2, "attacks")}


def test_beside_published_numbers_an_audit_of_one_row_alone_costs_it_no_place(store: Store) -> None:
    for run, broken in ((RUN, 41), (LPC, 42)):
        write(store, run, "clean", set())
        write(store, run, "autoattack", set(range(broken)))
    for attack in ("fgsm", "pgd"):
        write(store, LPC, attack, set(range(10)))
    store.write_audit(audit(RUN, {"square": {60, 61}}, n=70))
    (table,) = compare(stored_lines(store), [])
    assert [(p.line.model, p.rank, round(p.line.robust or 0)) for p in table.placed] == [
        ("tiny:baseline", 1, 57), ("tiny:lpc", 2, 58),
    ]  # fmt: skip
    assert table.placed[0].note.endswith(
        "ranked by 59.00, under the attack of the table alone: our rows have different attacks or audits"
    )
    store.write_audit(audit(LPC, {"square": set()}, n=70))
    (table,) = compare(stored_lines(store), [])
    assert [(p.line.model, p.rank, p.by_alone) for p in table.placed] == [
        ("tiny:lpc", 1, False), ("tiny:baseline", 2, False),
    ]  # fmt: skip


def test_an_attack_is_not_credited_with_what_filtered_its_images(tmp_path: Path) -> None:
    """FGSM breaks 0 to 29, PGD 10 to 39; the prefiltered AutoAttack was shown the other 60 and breaks 5 of them."""
    store = Store(tmp_path)
    for attack, wrong in (("clean", set[int]()), ("fgsm", set(range(30))), ("pgd", set(range(10, 40)))):
        write(store, RUN, attack, wrong)
    filters = tuple(cell.cell_id for cell in store.cells(RUN.run_id) if cell.spec.attack)
    record = cell_record(RUN, "autoattack", [i >= 45 for i in range(N)])
    spec = dataclasses.replace(record.spec, protocol="prefiltered", filters=filters)
    record = dataclasses.replace(record, spec=spec, cell_id=spec.cell_id, n_attacked=60)
    store.write_cell(record, samples_of([i >= 45 for i in range(N)]))
    row = row_of(store)
    assert row[COLUMN] == 55
    assert row[f"{COLUMN}_broken_by"] == (
        "autoattack@linf-0.1:prefiltered 5 (5 alone); fgsm@linf-0.1 30 (10 alone); pgd@linf-0.1 30 (10 alone)"
    )


def results_of(store: Store) -> pd.DataFrame:
    write_tables(store)
    return pd.read_csv(store.root / "results.csv").set_index("attack")


def test_every_attacks_row_in_results_has_it(store: Store) -> None:
    """Per run and budget: 57 of 100 at 0.1, 55 at 0.3, where MIM breaks two more."""
    store.write_audit(audit(RUN, {"square": {45, 46, 47}}))
    write(store, RUN, "mim", {50, 51}, eps=0.3, distance=0.2)
    found = results_of(store)
    assert found["robust_acc_lowest"].dropna().to_dict() == {"fgsm": 0.57, "pgd": 0.57, "mim": 0.55}
    assert found["robust_acc_lowest_n"].dropna().unique().tolist() == [100]
    assert found.loc["pgd", "broken_by"] == (
        "audit:square 3 (3 alone); fgsm@linf-0.1 30 (10 alone); pgd@linf-0.1 30 (10 alone)"
    )
    assert pd.isna(found.loc["clean", "robust_acc_lowest"])


def test_each_seed_has_its_own_in_results(store: Store) -> None:
    write(store, run_record(seed=1), "fgsm", set(range(45)))
    found = results_of(store).copy().reset_index().set_index(["attack", "seed"])
    assert found.loc[("fgsm", 0), "robust_acc_lowest"] == 0.6
    assert found.loc[("fgsm", 1), "robust_acc_lowest"] == 0.55


def test_a_model_card_has_it(store: Store, bench: Callable[..., Any]) -> None:
    store.write_audit(audit(RUN, {"square": {45, 46, 47}}))
    text = bench("export", "tiny:baseline", "--format", "huggingface", "--results", store.root).out
    _, results = model_index_to_eval_results(yaml.safe_load(text)["model-index"])
    (lowest,) = [result for result in results if "lowest" in (result.metric_name or "")]
    assert (lowest.metric_name, lowest.metric_value) == (COLUMN, 0.57)
    args = lowest.metric_args or {}
    assert (args["n"], args["audit_n"], args["eps"]) == (100, 50, 0.1)
    assert args["broken_by"].startswith("audit:square 3 (3 alone); ")
