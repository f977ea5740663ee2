"""What a plug-in's diagnostic may return: a number, or an error with its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.core.errors import CellFailure
from bench.diagnostics.latents import Latents, Value
from bench.diagnostics.registry import DIAGNOSTICS, DiagnosticEntry, diagnose_latents

LATENTS = Latents(
    z=np.ones((4, 2)), labels=np.array([0, 1, 0, 1]), num_classes=2, weights=None, predictions=np.array([0, 1, 0, 1])
)


def diagnosed(returned: Any) -> Value:
    entry = DiagnosticEntry(summary="s", definition="d", invariant=True, better="", function=lambda latents: returned)
    DIAGNOSTICS.register("odd", entry, origin="tests")
    try:
        return diagnose_latents(LATENTS, ["odd"])["odd"]
    finally:
        DIAGNOSTICS.remove("odd")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (1.0, "diagnostic odd returned float; return a Value"),
        (None, "returned NoneType"),
        ((Value(1.0),), "returned tuple"),
        (Value(True), "returned a Value of bool"),
        (Value(np.array(1.0)), "returned a Value of ndarray"),
    ],
)
def test_an_odd_diagnostic_is_named(returned: Any, message: str) -> None:
    with pytest.raises(CellFailure, match=message) as caught:
        diagnosed(returned)
    assert caught.value.reason == "diagnosis_error"


@pytest.mark.parametrize("number", [1, 1.0, np.float32(1), np.int64(1), np.float64(1)])
def test_numbers_of_numpy_become_numbers_that_json_holds(number: Any) -> None:
    found = diagnosed(Value(number))
    assert (found, type(found.value)) == (Value(1.0), float)
