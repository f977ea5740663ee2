"""The rows that come with the package are RobustBench's, and a damaged table is not read."""

from __future__ import annotations

import json
from importlib import resources

import pytest
from published_runs import MODEL_INFO, needs_robustbench

from bench.compare.robustbench import COLUMNS, FILE, parse_models, published_models
from bench.core.errors import BenchError

# Copied by hand: data set, threat, model, clean, robust.
BY_HAND = [
    ("cifar10", "Linf", "Standard", 94.78, 0.0),
    ("cifar10", "Linf", "Wong2020Fast", 83.34, 43.21),
    ("cifar10", "Linf", "Andriushchenko2020Understanding", 79.84, 43.93),
    ("cifar10", "Linf", "Addepalli2022Efficient_RN18", 85.71, 52.48),
    ("cifar10", "Linf", "Sehwag2021Proxy_R18", 84.59, 55.54),
    ("cifar10", "Linf", "Rade2021Helper_R18_extra", 89.02, 57.67),
    ("cifar10", "Linf", "Gowal2021Improving_R18_ddpm_100m", 87.35, 58.63),
    ("cifar10", "Linf", "Bartoldson2024Adversarial_WRN-94-16", 93.68, 73.71),
    ("cifar10", "Linf", "JinRinard2020Manifold", 90.84, 1.35),
    ("cifar10", "L2", "Rice2020Overfitting", 88.67, 67.68),
    ("cifar10", "L2", "Rade2021Helper_R18_ddpm", 90.57, 76.15),
    ("cifar10", "L2", "Wang2023Better_WRN-70-16", 95.54, 84.97),
    ("cifar10", "corruptions", "Standard", 94.78, 73.46),
    ("cifar10", "corruptions", "Kireev2021Effectiveness_Gauss50percent", 93.24, 85.04),
    ("cifar10", "corruptions", "Kireev2021Effectiveness_AugMixNoJSD", 94.97, 86.60),
    ("cifar10", "corruptions", "Modas2021PRIMEResNet18", 93.06, 89.05),
    ("cifar10", "corruptions", "Kireev2021Effectiveness_RLATAugMix", 94.75, 89.60),
    ("cifar10", "corruptions", "Diffenderfer2021Winning_LRR_CARD_Deck", 96.56, 92.78),
    ("cifar100", "corruptions", "Modas2021PRIMEResNet18", 77.60, 68.28),
    ("imagenet", "Linf", "Salman2020Do_R18", 52.92, 25.32),
    ("imagenet", "corruptions", "AlexNet", 56.24, 21.12),
]

CELLS = {
    "dataset": "cifar10", "threat": "Linf", "model": "Ours", "architecture": "ResNet-18", "clean": "90.1",
    "robust": "50.20", "external": "", "mce": "", "eps": "8/255", "additional_data": "false", "unreliable": "false",
    "venue": "a venue", "link": "a link", "source": "a source", "commit": "abc",
}  # fmt: skip


def written(*rows: dict[str, str]) -> str:
    return "\n".join(",".join(row[name] for name in COLUMNS) for row in [dict(zip(COLUMNS, COLUMNS)), *rows])  # noqa: B905


def test_the_rows_are_the_published_ones() -> None:
    found = [(m.dataset, m.threat, m.model, m.clean, m.robust) for m in published_models()]
    assert sorted(found) == sorted(BY_HAND)


def test_a_lower_number_by_another_attack_counts() -> None:
    (gowal,) = [m for m in published_models() if m.model.startswith("Gowal")]
    assert (gowal.robust, gowal.external, gowal.lowest_known) == (58.63, 58.50, 58.50)
    assert all(m.lowest_known == m.robust for m in published_models() if m != gowal)


def test_every_row_says_where_it_is_from() -> None:
    for model in published_models():
        assert (model.source, model.commit) == ("RobustBench/robustbench", "78fcc9e")
        assert model.link.startswith("https://")


@needs_robustbench
def test_every_fact_is_that_of_its_file() -> None:
    for m in published_models():
        info = json.loads((MODEL_INFO / m.dataset / m.threat / f"{m.model}.json").read_text())
        field = "corruptions_acc" if m.threat == "corruptions" else "autoattack_acc"
        assert (m.clean, m.robust) == (float(info["clean_acc"]), float(info[field]))
        assert (m.external is None, m.mce is None) == ("external" not in info, "corruptions_mce" not in info)
        assert (m.architecture, m.venue, m.link) == (info["architecture"], info["venue"], info["link"])
        assert (m.additional_data, m.unreliable) == (info["additional_data"], info.get("unreliable", False))
        assert m.eps == ("" if m.threat == "corruptions" else info["eps"])


def test_a_row_is_read_into_its_types() -> None:
    (model,) = parse_models(written({**CELLS, "external": "49", "unreliable": "true"}), where="a.csv")
    assert (model.clean, model.robust, model.external, model.mce) == (90.1, 50.2, 49.0, None)
    assert (model.additional_data, model.unreliable, model.norm) == (False, True, "linf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clean": "101"}, "clean is '101'; give a percentage"),
        ({"robust": "-1"}, "robust is '-1'; give a percentage"),
        ({"robust": ""}, "robust is empty"),
        ({"external": "low"}, "external is 'low'; give a finite number"),
        ({"eps": ""}, "eps '' is not a number"),
        ({"eps": "8"}, "did you mean 8/255"),
        ({"threat": "corruptions"}, "corruptions have no budget"),
        ({"threat": "linf"}, "threat is 'linf'; write Linf, L2 or corruptions"),
        ({"dataset": "cifar"}, "dataset is 'cifar'; write cifar10"),
        ({"unreliable": "True"}, "unreliable is 'True'; write true or false"),
        ({"model": "First"}, "First under cifar10 Linf is a duplicate row"),
    ],
)
def test_a_broken_line_is_refused_by_its_number(change: dict[str, str], message: str) -> None:
    with pytest.raises(BenchError, match=rf"a\.csv, line 3: .*{message}"):
        parse_models(written({**CELLS, "model": "First"}, {**CELLS, **change}), where="a.csv")


def test_the_file_is_plain() -> None:
    content = resources.files("bench.compare").joinpath(FILE).read_bytes()
    assert content.isascii()
    assert b"\r" not in content
    assert content.endswith(b"\n")
