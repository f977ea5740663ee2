"""Names such as lpc+pgd_at: the fields of all parts, one name whatever the order, and one error for a contradiction."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.config import NetworkConfig, RunConfig, TableConfig
from bench.core.errors import BenchError
from bench.core.specs import AdversarySpec, DataSpec, ModelSpec, Recipe, TrainSpec, VariantSpec, short_id
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


def test_a_negative_zero_is_zero() -> None:
    """Otherwise the same training would have two ids."""
    plans = [
        make_plan(make_request(RunConfig(models=["resnet10t"], variants=["pgd_at"], ema=ema))[0]) for ema in (0.0, -0.0)
    ]
    assert plans[0][0].train.run_id == plans[1][0].train.run_id


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
        ("baseline+lpc+pgd_at", r"the same as 'lpc\+pgd_at'; write 'lpc\+pgd_at'"),
        ("awp+lpc+pgd_at", r"the same as 'awp\+lpc'"),
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


def test_names_of_users_are_accepted_in_any_order() -> None:
    assert NetworkConfig(checkpoint="a.pt", variant="pgd_at+lpc").variant == "lpc+pgd_at"  # type: ignore[arg-type]
    assert TableConfig(against="pgd_at+lpc").against == "lpc+pgd_at"
    assert TableConfig(against="z+a").against == "z+a"  # not ours: a network that was trained elsewhere


def test_they_are_listed(bench: Callable[..., Any]) -> None:
    """With the summaries of their parts."""
    (row,) = json.loads(bench("list", "variants", "lpc+[p]gd_at", "--json").out)
    assert row["name"] == "lpc+pgd_at"
    assert row["summary"].startswith("lpc: latent point collapse")
    assert "pgd_at: adversarial training" in row["summary"]


def test_new_fields_at_their_defaults_do_not_change_ids() -> None:
    """The id of a training is that of its definition without the fields that were added later."""
    adversary = AdversarySpec(eps=0.1)
    spec = TrainSpec(
        data=DataSpec(name="d", train_sha="", num_classes=3, image_size=4), model=ModelSpec(name="m"), variant="v",
        variant_spec=VariantSpec(adversary=adversary), recipe=Recipe(epochs=1), seed=0,
    )  # fmt: skip
    earlier = dataclasses.asdict(spec)
    del earlier["data"]["sampling"], earlier["model"]["mean"], earlier["model"]["std"]
    del earlier["model"]["stem"]
    kept = {
        "variant_spec": (
            "head", "latent_dim", "criterion", "penalty", "schedule", "gamma", "balance_dim", "term", "term_weight",
            "weight_decay", "adversary", "code_sha",
        ),
        "recipe": (
            "epochs", "batch_size", "lr", "lr_schedule", "weight_decay", "activation", "horizontal_flip",
            "crop_padding", "crop_fill", "resized_crop", "precision", "noise",
        ),
    }  # fmt: skip
    earlier |= {part: {name: earlier[part][name] for name in names} for part, names in kept.items()}
    earlier["variant_spec"]["adversary"] = {"norm": "linf", "eps": 0.1, "steps": 10, "step_size": 0.25}
    assert spec.run_id == short_id(earlier)
    changed = (
        {"noise": 0.1}, {"noise_share": 0.5}, {"spectral_norm": True}, {"weight_perturbation": 0.1},
        {"adversary": dataclasses.replace(adversary, start=2.0)},
        {"adversary": dataclasses.replace(adversary, projected=False)},
    )  # fmt: skip
    variants = [dataclasses.replace(spec.variant_spec, **fields) for fields in changed]  # type: ignore[arg-type]
    assert len({dataclasses.replace(spec, variant_spec=v).run_id for v in variants} - {spec.run_id}) == len(changed)


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
