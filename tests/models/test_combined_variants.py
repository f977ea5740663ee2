"""Names such as lpc+pgd_at: the fields of all parts, one name whatever the order, and one error for a contradiction."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import pytest

from bench.config import RunConfig, TableConfig
from bench.core.errors import BenchError
from bench.core.specs import AdversarySpec, VariantSpec
from bench.models.variants import VARIANTS, VariantEntry, has_collapse_penalty
from bench.planning.plan import make_plan
from bench.planning.request import make_request


def test_a_combination_has_the_fields_of_both_parts() -> None:
    assert VARIANTS.get("lpc+pgd_at").spec == VariantSpec(
        head="linear", latent_dim=64, penalty="mean_square", schedule="recipe", balance_dim=64,
        adversary=AdversarySpec(), ema=0.995,
    )  # fmt: skip
    trades = VARIANTS.get("lpc+trades").spec
    assert (trades.training_step, trades.step_weight, trades.penalty) == ("trades", 6.0, "mean_square")
    three = VARIANTS.get("lpc+pgd_at+spectral_norm").spec
    assert dataclasses.replace(VARIANTS.get("lpc+pgd_at").spec, spectral_norm=True) == three


def test_the_order_of_the_parts_does_not_matter() -> None:
    """Neither for the spec nor for the id of the training: the parts are in alphabetical order."""
    ids, names = set(), set()
    for parts in itertools.permutations(["lpc", "pgd_at", "gaussian_aug"]):
        request, _ = make_request(RunConfig(models=["resnet10t"], variants=["+".join(parts)]))
        (plan,) = make_plan(request)
        ids.add(plan.train.run_id)
        names.add(plan.train.variant)
    assert (len(ids), names) == (1, {"gaussian_aug+lpc+pgd_at"})
    request, _ = make_request(RunConfig(models=["resnet10t"], variants=["pgd_at+lpc", "lpc+pgd_at"]))
    assert list(request.variants) == ["lpc+pgd_at"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lpc+lpc_wide", r"'lpc' sets latent_dim to 64, and 'lpc_wide' to 128; leave one of them out"),
        ("mart+trades", r"'mart' sets training_step to 'mart', and 'trades' to 'trades'"),
        (
            "fast_at+pgd_at",
            r"'fast_at' sets adversary to AdversarySpec\(steps=1, .*, and 'pgd_at' to Adv.*\(\)",
        ),
        ("baseline+lpc", r"the same as 'lpc'; write 'lpc'"),
        ("pgd_at+trades", r"the same as 'trades'"),
        ("lpc+lpc", "twice"),
        ("lpc+", "empty part"),
        ("lpc+pdg_at", "unknown variant 'pdg_at'; did you mean 'pgd_at'"),
    ],
)
def test_parts_that_contradict_or_add_nothing_are_refused(name: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        VARIANTS.get(name)
    assert name not in VARIANTS


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("augmix+pgd_at", "'augmix', which attacks no image, and an adversary"),
        ("arcface+mart", "'mart', which replaces the criterion, and the criterion 'arcface'"),
    ],
)
def test_a_step_that_would_ignore_a_part_is_refused(variant: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        make_request(RunConfig(models=["resnet10t"], variants=[variant]))


def test_a_combination_collapses_if_a_part_does() -> None:
    assert has_collapse_penalty("lpc+pgd_at", VARIANTS.get("lpc+pgd_at").spec)
    assert not has_collapse_penalty("l1_pen+pgd_at", VARIANTS.get("l1_pen+pgd_at").spec)
    assert not has_collapse_penalty("lin_pen+pgd_at", VARIANTS.get("lin_pen+pgd_at").spec)


def test_wildcards_stand_for_parts() -> None:
    assert VARIANTS.expand("lpc*+pgd_at") == [
        f"{name}+pgd_at" for name in ("lpc", "lpc_exp", "lpc_narrow", "lpc_no_pen", "lpc_scl", "lpc_wide")
    ]
    assert VARIANTS.expand("pgd_a[t]+lin_pen") == ["lin_pen+pgd_at"]
    assert not any("+" in name for name in VARIANTS.expand("*"))
    with pytest.raises(BenchError, match=r"no combination of variants matches 'lpc\*\+lpc'"):
        VARIANTS.expand("lpc*+lpc")


def test_the_reference_of_a_comparison_is_found_in_any_order() -> None:
    assert TableConfig(against="pgd_at+lpc").against == "lpc+pgd_at"
    assert TableConfig(against="z+a").against == "z+a"  # not ours: a network that was trained elsewhere


@pytest.fixture
def own() -> Iterator[None]:
    entry = VariantEntry(summary="s", source="s", spec=VariantSpec(weight_decay=0.3))
    VARIANTS.register("own", entry, origin="own.py")
    yield
    VARIANTS.remove("own")


@pytest.mark.usefixtures("own")
def test_a_combination_with_a_plugin_has_its_origin() -> None:
    assert VARIANTS.origin("lpc+own") == "own.py"
    assert VARIANTS.origin("lpc+pgd_at") == VARIANTS.origin("lpc")
    with pytest.raises(BenchError, match="contains '\\+', which combines variants; call it 'own_2'"):
        VARIANTS.register("own+2", VARIANTS.get("own"), origin="own.py")
