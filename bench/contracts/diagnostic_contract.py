"""Contract of a diagnostic: for any latents, a reproducible number or the reason why it is undefined."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from bench.contracts.check import Check, Rule, check_documented, require, run_checks
from bench.core.errors import BenchError
from bench.diagnostics.latents import Latents, Value
from bench.diagnostics.registry import DIAGNOSTICS, DiagnosticEntry

COUNT, WIDTH, NUM_CLASSES = 240, 6, 3
SCALE = 8.0
RELATIVE_TOLERANCE = 1e-6


def check_diagnostic(name: str) -> Iterator[Check]:
    """Check the diagnostic ``name`` on latents of three classes, and on latents for which it may be undefined."""
    entry, subject = DIAGNOSTICS.get(name), f"diagnostic {name}"
    yield check_documented(subject, entry.summary, entry.definition)
    rules: list[Rule] = [
        ("returns a number", partial(_number, entry)),
        ("repeatable", partial(_repeatable, entry)),
        ("leaves the latents unchanged", partial(_latents_unchanged, entry)),
        ("returns a number or a reason for odd latents", partial(_odd_latents, entry)),
        ("invariant to the scale of the latents as declared", partial(_invariant, entry)),
    ]
    yield from run_checks(subject, rules)


def _latents(scale: float = 1.0) -> Latents:
    rng = np.random.default_rng(0)
    labels = np.arange(COUNT) % NUM_CLASSES
    means = rng.normal(0, 3, (NUM_CLASSES, WIDTH))
    weights = rng.normal(0, 1, (NUM_CLASSES, WIDTH))
    z = means[labels] + rng.normal(0, 1, (COUNT, WIDTH))
    return Latents(
        z=z * scale,
        labels=labels,
        num_classes=NUM_CLASSES,
        weights=weights / scale,
        predictions=(z @ weights.T).argmax(1),
    )


def _value(entry: DiagnosticEntry, latents: Latents) -> float:
    value = entry.function(latents)
    require(
        isinstance(value, Value),
        f"it returned {type(value).__name__}; return a bench.diagnostics.latents.Value, or undefined(reason)",
    )
    return value.value


def _number(entry: DiagnosticEntry) -> str:
    value = _value(entry, _latents())
    require(math.isfinite(value), "it is undefined for plain latents of three classes; return a finite number")
    return f"{value:.4g}"


def _repeatable(entry: DiagnosticEntry) -> None:
    first, second = _value(entry, _latents()), _value(entry, _latents())
    same = first == second or (math.isnan(first) and math.isnan(second))
    require(same, f"two calls give {first:.6g} and {second:.6g}; seed all random generators")


def _latents_unchanged(entry: DiagnosticEntry) -> None:
    latents, expected = _latents(), _latents()
    _value(entry, latents)
    require(
        np.array_equal(latents.z, expected.z) and np.array_equal(latents.labels, expected.labels),
        "it changed the latents in place; work on a copy",
    )


def _odd_latents(entry: DiagnosticEntry) -> None:
    """Check latents of a single class, equal latents, and latents without output weights and predictions."""
    regular = _latents()
    special_cases = {
        "latents of one class": replace(regular, labels=np.zeros(COUNT, dtype=np.int64)),
        "equal latents": replace(regular, z=np.ones((COUNT, WIDTH))),
        "latents without output weights and predictions": replace(regular, weights=None, predictions=None),
    }
    for description, latents in special_cases.items():
        try:
            _value(entry, latents)
        except BenchError:
            raise
        except Exception as error:  # noqa: BLE001 - a plug-in diagnostic may raise any exception
            require(
                False, f"for {description} it raised {type(error).__name__}: {error}; return undefined(reason) instead"
            )


def _invariant(entry: DiagnosticEntry) -> None:
    first, second = _value(entry, _latents()), _value(entry, _latents(SCALE))
    same = math.isclose(first, second, rel_tol=RELATIVE_TOLERANCE, abs_tol=RELATIVE_TOLERANCE)
    require(
        same or not entry.invariant,
        f"it is {first:.6g}, but {second:.6g} for latents times {SCALE:g} and weights divided by {SCALE:g}; declare "
        "invariant=False",
    )
