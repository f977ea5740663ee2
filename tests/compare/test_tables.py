"""Test the ranks of published tables against ranks made by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bench.compare.rows import CORRUPTIONS, DEEPFOOL, Line, Protocol
from bench.compare.tables import Table, compare

PROTOCOL = Protocol(dataset="cifar10", n=10_000, n_clean=10_000, measure="autoattack", norm="linf", eps=8 / 255)


def line(model: str, clean: float, robust: float | None, *, published: bool = True, **changes: Any) -> Line:
    flags, notes = changes.pop("flags", ()), changes.pop("notes", ())
    return Line(
        published=published, model=model, architecture="a", source="s", clean=clean, robust=robust,
        protocol=dataclasses.replace(PROTOCOL, **changes), flags=flags, notes=notes,
    )  # fmt: skip


def ours(model: str, clean: float, robust: float | None, **changes: Any) -> tuple[str, Line]:
    return "d", line(model, clean, robust, published=False, **changes)


def places(table: Table) -> list[tuple[str, int | None]]:
    return [(p.line.model, p.rank) for p in table.placed]


PUBLISHED = [line("best", 93.68, 73.71), line("standard", 94.78, 0.0), line("fast", 83.34, 43.21)]


def test_agreeing_rows_are_ranked_together() -> None:
    (table,) = compare([ours("mine", 90.0, 50.0)], PUBLISHED)
    assert places(table) == [("best", 1), ("mine", 2), ("fast", 3), ("standard", 4)]
    assert table.summary == "3 of 3 published rows may be compared with ours."


def test_a_row_of_another_protocol_has_no_place_and_takes_none() -> None:
    others = [line("elsewhere", 99.0, 99.0, eps=0.031), *PUBLISHED]
    (table,) = compare([ours("mine", 90.0, 50.0)], others)
    assert places(table) == [("best", 1), ("mine", 2), ("fast", 3), ("standard", 4), ("elsewhere", None)]
    assert table.placed[-1].note == "not comparable: eps 8/255, published at 0.031"
    assert table.summary == "3 of 4 published rows may be compared with ours (eps 8/255, published at 0.031: 1)."


def test_where_nothing_agrees_only_ours_are_ranked() -> None:
    few = {"n": 1000, "n_clean": 1000}
    lines = [ours("mine", 90.0, 50.0, **few), ours("other", 80.0, 60.0, **few)]
    (table,) = compare(lines, PUBLISHED)
    assert places(table) == [("other", 1), ("mine", 2), ("best", None), ("standard", None), ("fast", None)]
    assert table.placed[2].note == "not comparable: n = 1000, published on 10,000"


def test_our_rows_of_other_protocols_stand_in_other_tables() -> None:
    lines = [ours("all", 90.0, 50.0), ours("few", 90.0, 80.0, n=1000), ours("fewer images", 90.0, 85.0, n=500)]
    tables = compare(lines, PUBLISHED)
    assert [[m for m, _ in places(t) if m not in ("best", "standard", "fast")] for t in tables] == [
        ["all"], ["few"], ["fewer images"],
    ]  # fmt: skip


def test_other_images_are_another_table_whatever_they_are_called() -> None:
    tables = compare([ours("mine", 90.0, 50.0), ("e", ours("mine", 90.0, 51.0)[1])], PUBLISHED)
    assert [table.title for table in tables] == [
        "cifar10: autoattack linf 8/255, n = 10000, split d", "cifar10: autoattack linf 8/255, n = 10000, split e",
    ]  # fmt: skip


def test_a_flagged_row_is_an_upper_bound_without_a_place() -> None:
    (table,) = compare([ours("mine", 90.0, 80.0, flags=("black_box_stronger",)), ours("good", 90.0, 50.0)], PUBLISHED)
    assert places(table) == [("best", 1), ("good", 2), ("fast", 3), ("standard", 4), ("mine", None)]
    assert table.placed[-1].line.bound == "≤"
    assert all(p.line.bound == "" for p in table.placed[:-1])


def test_so_is_a_published_one_that_its_publishers_doubt() -> None:
    (table,) = compare([ours("mine", 90.0, 50.0)], [line("doubted", 93.0, 90.0, flags=("unreliable",)), *PUBLISHED])
    assert dict(places(table))["doubted"] is None
    assert dict(places(table))["mine"] == 2


def test_a_row_without_a_number_has_no_place() -> None:
    (table,) = compare([ours("mine", 90.0, None), ours("good", 90.0, 50.0)], PUBLISHED)
    assert dict(places(table)) == {"best": 1, "good": 2, "fast": 3, "standard": 4, "mine": None}
    assert {p.line.bound for p in table.placed} == {""}


def test_equal_numbers_share_a_place_and_clean_decides_first() -> None:
    """To two decimals, as published: a mean over seeds of 57.674 is no better than 57.67 of theirs."""
    published = [line("theirs", 89.02, 57.67), line("below", 89.02, 57.0)]
    (table,) = compare([ours("mine", 89.018, 57.674), ours("cleaner", 95.0, 57.67)], published)
    assert dict(places(table)) == {"cleaner": 1, "mine": 2, "theirs": 2, "below": 4}


def test_of_the_same_norm_and_data_set_if_there_are_any() -> None:
    l2, svhn = line("l2", 90.0, 60.0, norm="l2", eps=0.5), line("svhn", 90.0, 60.0, dataset="svhn")
    (table,) = compare([ours("mine", 90.0, 50.0)], [l2, svhn, *PUBLISHED])
    assert {m for m, _ in places(table)} == {"mine", "best", "standard", "fast"}
    (table,) = compare([ours("mine", 90.0, 50.0, dataset="digits")], [l2, svhn, *PUBLISHED])
    assert {m for m, _ in places(table)} == {"mine", "svhn", "best", "standard", "fast"}
    (table,) = compare([ours("mine", 90.0, 50.0, norm="l1", eps=12.0)], [l2, svhn, *PUBLISHED])
    assert {m for m, _ in places(table)} == {"mine", "l2", "best", "standard", "fast"}
    assert all(p.rank is None for p in table.placed[1:])


def test_deepfools_ratio_gives_no_place() -> None:
    row = ours("mine", 90.0, 0.5, measure=DEEPFOOL, norm="l2", eps=None)
    theirs = line("theirs", 94.0, 0.7, measure=DEEPFOOL, norm="l2", eps=None, n=None, subset="who knows")
    (table,) = compare([row], [theirs])
    assert places(table) == [("mine", None), ("theirs", None)]
    assert "not ranked by the DeepFool distance" in table.summary


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Protocol)])
def test_tables_of_two_protocols_have_two_titles(field: str) -> None:
    """Rows of a CSV file belong to a table by its title: ranks of two tables must not be mixed."""
    changes: dict[str, Any] = {
        "dataset": "cifar100", "n": 500, "measure": "pgd-20", "n_clean": 500, "subset": "every second image",
        "official": False, "norm": "l2", "eps": 0.031, "protocol": "prefiltered", "precision": "bf16",
        "source": "official", "cells": 58, "profile": "imagenet",
    }  # fmt: skip
    corrupted = dataclasses.replace(PROTOCOL, measure=CORRUPTIONS, norm="", eps=None, source="generated", cells=75)
    corrupted = dataclasses.replace(corrupted, profile="cifar")
    protocol = corrupted if field in ("source", "cells", "profile") else PROTOCOL
    other = dataclasses.replace(protocol, **{field: changes[field]})
    mine = line("mine", 90.0, 50.0, published=False)
    lines = [("d", dataclasses.replace(mine, protocol=each)) for each in (protocol, other)]
    first, second = compare(lines, [])
    assert first.title != second.title


def test_a_title_says_on_how_many_images_the_clean_accuracy_is() -> None:
    titles = [dataclasses.replace(PROTOCOL, n=1000, n_clean=n).title for n in (10_000, None, 1000)]
    assert titles == [
        "cifar10: autoattack linf 8/255, n = 1000, clean n = 10000",
        "cifar10: autoattack linf 8/255, n = 1000, no clean accuracy",
        "cifar10: autoattack linf 8/255, n = 1000",
    ]


def test_a_row_whose_audit_is_incomplete_has_no_place() -> None:
    """As on the leaderboard: the flags of the missing part are not known."""
    data_sha, whole = ours("mine", 90.0, 50.0)
    (table,) = compare([(data_sha, dataclasses.replace(whole, audit_lacks=True))], PUBLISHED)
    assert places(table) == [("best", 1), ("fast", 2), ("standard", 3), ("mine", None)]
