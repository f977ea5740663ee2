"""Compare the texts of the studies with the files beside them: every figure with a decimal point is recomputed."""

from __future__ import annotations

import pytest
import studies_of_attacks
import studies_of_collapse
import studies_of_training
from scipy.stats import binomtest
from studies import CHECKS, STUDIES, Text, results, where

__all__ = ["studies_of_attacks", "studies_of_collapse", "studies_of_training"]  # they register what is checked


def ask(name: str, text: Text) -> None:
    """Fail where the text differs from the files, or has a figure that no file was asked for."""
    CHECKS[name](text)
    assert not text.left(), "these figures are recomputed from no file"


def test_the_seeds_that_the_results_page_compares_are_those_of_the_audit() -> None:
    """The p is largest where no image is kept by both."""
    table = where(results("audit"), attack="pgd-20", eps=8 / 255, variant="baseline").set_index("seed")["n_correct"]
    assert binomtest(int(table[2]), int(table[0] + table[2])).pvalue < 1e-30
    text = " ".join((STUDIES.parent / "README.md").read_text().split())
    assert f"classifies {table[0]} correctly with seed 0 and {table[2]} with seed 2" in text


def test_every_study_is_checked() -> None:
    assert {path.parent.name for path in STUDIES.glob("*/README.md")} == CHECKS.keys()


@pytest.mark.parametrize("name", CHECKS)
def test_every_figure_of_a_study_is_what_its_files_give(name: str) -> None:
    ask(name, Text(name))


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "engine"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_figure_that_is_changed_is_noticed(name: str, share: float) -> None:
    """The first figure of the text, one in the middle and the last one."""
    text = Text(name)
    text.raise_digit(share)
    with pytest.raises(AssertionError):
        ask(name, text)
