"""Robustness test of the model: a mark with the baseline, and a call of the fixture."""

from collections.abc import Callable

import pytest
from model import load


@pytest.mark.robustness(baseline="robustness.json", tolerance={"clean": 3, "fgsm": 3, "pgd": 3})
def test_robustness(robustness: Callable[..., None]) -> None:
    """Fail if an accuracy is lower than in the baseline by more than the tolerance."""
    robustness(load(), dataset="digits", attacks=["fgsm", "pgd"], eps="0.1", corruptions="none")
