"""Three lines: a mark that names the baseline, the fixture, and a call of it with the model."""

import pytest
from model import load


@pytest.mark.robustness(baseline="robustness.json", tolerance={"clean": 3, "fgsm": 3, "pgd": 3})
def test_robustness(robustness):
    robustness(load(), dataset="digits", attacks=["fgsm", "pgd"], eps="0.1", corruptions="none")
