"""The published numbers are what the manuscript's tables say, and a damaged file is not read."""

from __future__ import annotations

from collections import Counter
from importlib import resources

import pytest

from bench.compare.lpc_published import COLUMNS, FILE, PublishedRow, parse_published, published_lpc
from bench.core.errors import BenchError
from bench.models.variants import VARIANTS
from bench.planning.recipes import RECIPES, resolve_variants

# Copied by hand from Tables 1 and 2: dataset, name, metric, value, spread.
BY_HAND = [
    ("cifar10", "IB", "deepfool_rho", 0.725, 0.067),
    ("cifar100", "WideIB", "deepfool_rho", 0.114, 0.013),
    ("svhn", "NoPen", "deepfool_rho", 0.029, 0.001),
    ("cifar100", "NoPenDropout", "deepfool_rho", 0.008, 0.0),
    ("cifar100", "IB", "accuracy", 77.90, 0.34),
    ("cifar10", "NarrowIB", "accuracy", 94.54, 0.08),
    ("svhn", "NonlinPenL1", "accuracy", 96.44, 0.11),
    ("cifar100", "LinPenDropout", "accuracy", 76.75, 0.22),
    ("svhn", "IB", "auroc_mahalanobis", 0.91, None),
    ("cifar10", "LinPen", "auroc_mahalanobis", 0.77, None),
    ("cifar10", "NarrowIB", "auroc_odin", 0.77, None),
    ("svhn", "NonlinPen", "auroc_odin", 0.67, None),
    ("cifar10", "WideIB", "sigma_w_mean_entry", 7.890e-15, None),
    ("svhn", "NarrowIB", "sigma_w_mean_entry", 9.142e-11, None),
    ("cifar10", "NonlinPen", "sigma_w_mean_entry", 17.825, None),
    ("cifar10", "IB", "cov_norm", 0.033, None),
    ("svhn", "NonlinPenL1", "cov_norm", 0.268, None),
    ("cifar100", "WideIB", "entropy_kl_raw", -19645, None),
    ("cifar100", "NoPen", "entropy_kl_raw", 3562.5, None),
    ("svhn", "LinPen", "entropy_kl_raw", 25.6, None),
]

UNITS = {
    "deepfool_rho": "ratio",
    "accuracy": "percent",
    "auroc_mahalanobis": "fraction",
    "auroc_odin": "fraction",
    "sigma_w_mean_entry": "squared latent units",
    "cov_norm": "ratio",
    "entropy_kl_raw": "nats",
}

OURS = {
    "IB": "lpc",
    "WideIB": "lpc_wide",
    "NarrowIB": "lpc_narrow",
    "NoPen": "baseline",
    "NoPenDropout": "",
    "LinPen": "lin_pen",
    "NonlinPen": "nonlin_pen",
    "NonlinPenL1": "l1_pen",
    "LinPenDropout": "dropout_pen",
}

CELLS = {
    "source": "a paper",
    "table": "Table 2",
    "dataset": "cifar10",
    "backbone": "resnet18",
    "published_name": "IB",
    "variant": "lpc",
    "recipe": "paper-cifar10-2024",
    "latent_dim": "8",
    "metric": "accuracy",
    "value": "94.86",
    "std": "0.09",
    "unit": "percent",
    "n_images": "",
    "protocol": "clean images",
    "note": "",
}


def written(*rows: dict[str, str], columns: tuple[str, ...] = COLUMNS) -> str:
    header = {name: name for name in columns}
    return "\n".join(",".join(row.get(name, "x") for name in columns) for row in [header, *rows])


@pytest.mark.parametrize(("dataset", "name", "metric", "value", "std"), BY_HAND)
def test_a_number_is_the_published_one(dataset: str, name: str, metric: str, value: float, std: float | None) -> None:
    (row,) = [r for r in published_lpc() if (r.dataset, r.published_name, r.metric) == (dataset, name, metric)]
    assert (row.value, row.std) == (value, std)


def test_every_number_of_both_tables_is_there() -> None:
    """Table 2: 9 models, 3 data sets, 4 numbers; Table 1: without the one struck out, 3 numbers."""
    rows = published_lpc()
    assert Counter(row.table for row in rows) == {"Table 2": 9 * 3 * 4, "Table 1": 8 * 3 * 3}
    table_1 = {"sigma_w_mean_entry", "cov_norm", "entropy_kl_raw"}
    assert all((row.metric in table_1) == (row.table == "Table 1") for row in rows)
    assert {row.published_name for row in rows if row.table == "Table 2"} == set(OURS)
    assert {row.published_name for row in rows if row.table == "Table 1"} == set(OURS) - {"LinPenDropout"}
    assert {row.metric: row.unit for row in rows} == UNITS


def test_every_row_says_where_it_is_from_and_on_what() -> None:
    rows = published_lpc()
    assert all("FwlM1k4ODx" in row.source and "ICLR 2025" in row.source for row in rows)
    assert {(row.dataset, row.backbone) for row in rows} == {
        ("cifar10", "resnet18"),
        ("cifar100", "resnet50"),
        ("svhn", "resnet18"),
    }


def test_published_names_are_matched_with_variants_that_exist() -> None:
    assert {row.published_name: row.variant for row in published_lpc()} == OURS
    assert {name for name in OURS.values() if name} <= set(VARIANTS)


@pytest.mark.parametrize("row", published_lpc(), ids=str)
def test_the_width_is_that_of_the_recipe_for_the_variant_of_the_row(row: PublishedRow) -> None:
    entry = RECIPES.get(row.recipe)
    if row.variant:
        spec = resolve_variants({row.variant: VARIANTS.get(row.variant).spec}, entry, None)[row.variant]
        assert spec.latent_dim == row.latent_dim


def test_what_is_doubtful_says_so() -> None:
    rows = published_lpc()
    assert {row.published_name for row in rows if "struck out" in row.note} == {"LinPenDropout"}
    assert all("struck out" in row.note for row in rows if row.published_name == "LinPenDropout")
    (slip,) = [row for row in rows if "7.792" in row.note]
    assert (slip.dataset, slip.published_name, slip.metric) == ("cifar10", "NonlinPenL1", "sigma_w_mean_entry")
    assert (slip.value, slip.std) == (0.003, None)
    rho = [row for row in rows if row.metric == "deepfool_rho"]
    assert {row.n_images for row in rho} == {"100 in the text, 1000 in the code"}
    assert {row.protocol for row in rho} == {"DeepFool L2, normalised space, overshoot 0.02, all images, not refined"}


@pytest.mark.parametrize(
    ("dataset", "widths"),
    [
        ("cifar10", {"IB": 8, "NarrowIB": 4, "WideIB": 512}),
        ("svhn", {"IB": 8, "NarrowIB": 6, "WideIB": 512}),
        ("cifar100", {"IB": 64, "NarrowIB": 8, "WideIB": 2048}),
    ],
)
def test_the_width_of_their_layer_stands_in_the_note(dataset: str, widths: dict[str, int]) -> None:
    """It is not this project's: a reader who compares must see it."""
    for row in published_lpc():
        if row.dataset == dataset:
            width = widths.get(row.published_name)
            assert row.note.startswith(f"latent dimension {width}") == (width is not None)
            layer = None if row.published_name.startswith("NoPen") else widths["IB"]
            assert row.latent_dim == (width or layer)


def test_the_columns_may_stand_in_any_order() -> None:
    (row,) = parse_published(written(CELLS, columns=COLUMNS[::-1]), where="a.csv")
    assert (row.value, row.std, row.variant, row.note) == (94.86, 0.09, "lpc", "")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((*COLUMNS, "colour"), r"a\.csv, line 1: unknown column 'colour'"),
        (COLUMNS[1:], r"a\.csv, line 1: missing column 'source'"),
        ((*COLUMNS, "note"), r"a\.csv, line 1: repeated column 'note'"),
    ],
)
def test_other_columns_are_refused(columns: tuple[str, ...], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        parse_published(written(CELLS, columns=columns), where="a.csv")


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(BenchError, match=r"a\.csv, line 1: missing column 'source'"):
        parse_published("", where="a.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "about 3"}, "value is 'about 3'; give a finite number"),
        ({"value": "nan"}, "value is 'nan'"),
        ({"value": "inf"}, "value is 'inf'"),
        ({"value": ""}, "value is empty"),
        ({"latent_dim": "0"}, "latent_dim is 0; it must be a whole number from 1"),
        ({"latent_dim": "8.5"}, "latent_dim is 8.5; it must be a whole number from 1"),
        ({"std": "small"}, "std is 'small'"),
        ({"std": "-0.1"}, "must be 0 or more"),
        ({"metric": ""}, "metric is empty"),
        ({"dataset": "cifar10 "}, "dataset is 'cifar10 '"),
        ({"note": "one, too many"}, "16 fields, but the header has 15"),
        ({"note": '"two\nlines"'}, "remove the white space"),
        ({"note": '"never closed'}, "not readable as CSV"),
    ],
)
def test_a_broken_line_is_refused_by_its_number(change: dict[str, str], message: str) -> None:
    first = {**CELLS, "published_name": "WideIB"}
    with pytest.raises(BenchError, match=rf"a\.csv, line 3: .*{message}"):
        parse_published(written(first, {**CELLS, **change}), where="a.csv")


def test_the_same_number_twice_is_refused() -> None:
    with pytest.raises(BenchError, match=r"line 3: accuracy of IB is a duplicate row"):
        parse_published(written(CELLS, {**CELLS, "value": "94.87"}), where="a.csv")


def test_the_file_is_plain() -> None:
    """ASCII, line feeds and one at the end: nothing that a spreadsheet left behind."""
    content = resources.files("bench.compare").joinpath(FILE).read_bytes()
    assert content.isascii()
    assert b"\r" not in content
    assert content.endswith(b"\n")
    assert content.splitlines()[0].decode().split(",") == list(COLUMNS)
