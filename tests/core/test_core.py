"""The small agreements: registry, epsilon, seeds, specs."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.epsilon import format_eps, parse_eps
from bench.core.errors import BenchError
from bench.core.records import timestamp
from bench.core.registry import Registry
from bench.core.seeds import derive_seed
from bench.core.specs import (
    AdversarySpec,
    CorruptionSpec,
    DataSpec,
    EvalSpec,
    ModelSpec,
    Recipe,
    TrainSpec,
    VariantSpec,
    fingerprint,
)


def test_a_duplicate_names_both_origins() -> None:
    registry: Registry[int] = Registry("thing")
    registry.register("a", 1, origin="here")
    with pytest.raises(BenchError, match=r"'a' is registered twice: by here and by there"):
        registry.register("a", 2, origin="there")
    assert registry.get("a") == 1


def test_a_miss_suggests() -> None:
    registry: Registry[int] = Registry("attack")
    registry.register("autoattack", 1, origin="x")
    with pytest.raises(BenchError, match=r"unknown attack 'autoatack'; did you mean 'autoattack'\? See 'bench list"):
        registry.get("autoatack")


def test_a_miss_suggests_in_any_case_and_names_all_where_no_command_lists_them() -> None:
    registry: Registry[int] = Registry("profile")
    for name in ("cifar", "Imagenet"):
        registry.register(name, 1, origin="x")
    with pytest.raises(BenchError, match=r"'IMAGENET'; did you mean 'Imagenet'\? Available: cifar and Imagenet\.$"):
        registry.get("IMAGENET")
    for name in ("a", "b", "c"):
        registry.register(name, 1, origin="x")
    with pytest.raises(BenchError, match=r"'CIFAR'; did you mean 'cifar'\? Available: cifar, Imagenet, a, b and c\.$"):
        registry.get("CIFAR")


def test_wildcards_expand_sorted_or_complain() -> None:
    registry: Registry[int] = Registry("thing")
    for name in ("b1", "a1", "b2"):
        registry.register(name, 0, origin="x")
    assert registry.expand("b*") == ["b1", "b2"]
    with pytest.raises(BenchError, match="no thing matches 'z"):
        registry.expand("z*")


@pytest.mark.parametrize("name", ["", "a,b", "a*", "a:b"])
def test_names_that_could_not_be_typed_are_refused(name: str) -> None:
    with pytest.raises(BenchError):
        Registry[int]("thing").register(name, 0, origin="x")


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.05", 0.05), (" 1 / 2 ", 0.5), ("1e-2", 0.01)])
def test_eps_reads_decimals_and_fractions(text: str, value: float) -> None:
    assert parse_eps(text, "linf") == value


@pytest.mark.parametrize("text", ["0", "-1/255", "1.5", "8", "nan", "inf", "abc", "1/0", ""])
def test_eps_that_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match="eps"):
        parse_eps(text, "linf")


def test_eps_above_one_is_a_budget_in_l2() -> None:
    assert parse_eps("2", "l2") == 2.0


@given(st.integers(1, 510))
def test_eps_survives_its_own_column_name(doubled: int) -> None:
    value = doubled / 2 / 255
    assert parse_eps(format_eps(value), "linf") == value


@given(st.floats(1e-6, 1))
def test_every_eps_survives_its_own_column_name(value: float) -> None:
    assert parse_eps(format_eps(value), "linf") == value


def test_seeds_depend_on_every_part_and_on_its_place() -> None:
    seeds = {derive_seed(*parts) for parts in [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), ("0", "a", 1)]}
    assert len(seeds) == 5
    assert derive_seed("ab", "c") != derive_seed("a", "bc")
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_seed_is_the_same_on_every_machine() -> None:
    assert derive_seed(0, "shuffle", 3) == 1728538079839600588


def spec(**changes: object) -> TrainSpec:
    base = TrainSpec(
        data=DataSpec(name="d", train_sha="s", num_classes=2, image_size=8),
        model=ModelSpec(name="m"),
        variant="baseline",
        variant_spec=VariantSpec(),
        recipe=Recipe(epochs=1),
        seed=0,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"recipe": Recipe(epochs=2)},
        {"model": ModelSpec(name="m", pretrained=True)},
        {"variant_spec": VariantSpec(head="linear", latent_dim=8)},
        {"variant_spec": VariantSpec(adversary=AdversarySpec(eps=0.1))},
        {"data": DataSpec(name="d", train_sha="other", num_classes=2, image_size=8)},
    ],
)
def test_whatever_makes_weights_makes_the_run_id(changes: dict[str, object]) -> None:
    assert spec(**changes).run_id != spec().run_id


def test_repeats_share_the_configuration_and_not_the_run() -> None:
    assert spec(seed=1).config_sha == spec().config_sha
    assert spec(recipe=Recipe(epochs=2)).config_sha != spec().config_sha


def test_a_fingerprint_ignores_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_a_cell_without_a_corruption_keeps_the_name_it_had_before_there_were_any() -> None:
    cell = EvalSpec(run_id="r", data_sha="d", attack=None, protocol="standard", limit=None, batch_size=128, seed=0)
    before = {name: value for name, value in dataclasses.asdict(cell).items() if name not in ("corruption", "sampling")}
    assert cell.cell_id == fingerprint(before)[:12]
    foggy = CorruptionSpec(kind="fog", severity=1, source="generated", profile="cifar")
    names = {dataclasses.replace(cell, corruption=c).cell_id for c in (foggy, dataclasses.replace(foggy, severity=2))}
    assert len(names | {cell.cell_id}) == 3


def test_records_are_dated_to_the_microsecond() -> None:
    """Two cells of one second keep their order, also beside older records, which are dated to the second."""
    first, second = timestamp(), timestamp()
    assert "2026-01-01T00:00:00+00:00" < first <= second
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", first)
    assert "2027-01-01T12:00:00+00:00" < "2027-01-01T12:00:00.000001+00:00"
