"""Read model cards written by ``bench export`` again, as Hugging Face's hub reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub.repocard_data import EvalResult, model_index_to_eval_results
from hypothesis import given
from hypothesis import strategies as st
from published_runs import COUNTS, TEXT, MadeOutcomes, N, attack, cell, corruptions, row_of, run_on, stored

from bench.compare.to_huggingface import model_index

RUN = run_on()


def read_card(text: str) -> tuple[str, list[EvalResult]]:
    """As the hub reads the head of a model card."""
    return model_index_to_eval_results(yaml.safe_load(text)["model-index"])


@given(name=TEXT, dataset=TEXT, clean=COUNTS, robust=COUNTS, n=st.integers(1, N), official=st.booleans())
def test_any_run_is_read_again_from_a_model_card(
    name: str, dataset: str, clean: int, robust: int, n: int, official: bool
) -> None:
    run = dataclasses.replace(RUN, dataset=dataset)
    cells = cell(run, None, clean, official=official), cell(run, attack(), robust % (n + 1), n=n, official=official)
    row = row_of(run, *cells)
    model, (first, second, lowest) = read_card(model_index(row, name, MadeOutcomes(), [row]))
    of, chance = (f", of a model {row.chance()}", {"chance": row.chance()}) if row.chance() else ("", {})
    assert (model, first.dataset_name, first.dataset_type, first.dataset_split) == (name, dataset, dataset, "test")
    assert (first.metric_name, first.metric_value) == (f"clean{of}", clean / N)
    assert (second.metric_name, second.metric_value) == (f"autoattack@linf-8/255{of}", (robust % (n + 1)) / n)
    assert (lowest.metric_name, lowest.metric_value) == (f"robust_acc_lowest@linf-8/255{of}", second.metric_value)
    assert {r.metric_type for r in (first, second, lowest)} == {"accuracy"}
    assert second.metric_args == {
        "n": n, "n_test": N, "official": official, "attack": "autoattack", "norm": "linf", "eps": 8 / 255,
        "protocol": "standard", "precision": "fp32", **chance,
    }  # fmt: skip


def test_a_card_has_the_mean_of_corruptions_and_what_is_flagged(tmp_path: Path, bench: Callable[..., Any]) -> None:
    flagged = cell(RUN, attack("pgd-20"), 4000, flags=("randomised",))
    failed = dataclasses.replace(cell(RUN, attack(), 0), status="failed", n_correct=None, n=0, n_attacked=0)
    stored(tmp_path, cell(RUN, None, 9000), flagged, failed, *corruptions(RUN, 7000), runs=(RUN,))
    _, results = read_card(bench("export", "tiny:baseline", "--format", "huggingface", "--results", tmp_path).out)
    assert [(r.metric_name, r.metric_value) for r in results] == [
        ("clean", 0.9), ("pgd-20@linf-8/255, an upper bound", 0.4), ("corruptions_acc", pytest.approx(0.7)),
        ("robust_acc_lowest@linf-8/255, an upper bound", 0.4),
    ]  # fmt: skip
    assert results[1].metric_args["flags"] == ["randomised"]
    assert (results[2].metric_args["source"], results[2].metric_args["n"]) == ("official", N)


@pytest.mark.parametrize(("form", "words"), [("timm", "no clean accuracy"), ("huggingface", "has no accuracy")])
def test_a_run_of_failures_has_nothing_to_export(
    tmp_path: Path, bench: Callable[..., Any], form: str, words: str
) -> None:
    failed = dataclasses.replace(cell(RUN, None, 0), status="failed", n_correct=None, n=0, n_attacked=0)
    stored(tmp_path, failed, runs=(RUN,))
    found = bench("export", "tiny:baseline", "--format", form, "--results", tmp_path)
    assert found.code == 2
    assert words in found.err


def test_a_run_without_cells_is_said(tmp_path: Path, bench: Callable[..., Any]) -> None:
    stored(tmp_path, runs=(RUN,))
    assert "has no cells" in bench("export", "tiny:baseline", "--format", "timm", "--results", tmp_path).err


@pytest.mark.parametrize("option", [("--threat", "Linf"), ("--eps", "0.1"), ("--additional-data",)])
def test_options_of_robustbenchs_form_are_refused_for_another(
    tmp_path: Path, bench: Callable[..., Any], option: tuple[str, ...]
) -> None:
    stored(tmp_path, cell(RUN, None, 9000), runs=(RUN,))
    found = bench("export", "tiny:baseline", "--format", "huggingface", "--results", tmp_path, *option)
    assert found.code == 2
    assert f"{option[0]} is for --format robustbench" in found.err
