"""Every built-in attack meets the contract of attacks, by itself and through its independent library."""

from __future__ import annotations

import pytest

from bench.attacks import ATTACKS
from bench.attacks.registry import backend_version, resolve
from bench.contracts.attack_contract import check_attack
from bench.core.specs import Backend

NAMES = [name for name in ATTACKS if ATTACKS.origin(name) == "bench.attacks.builtin"]
CASES = [
    (name, backend)
    for name in NAMES
    for backend in ("native", "reference")
    if backend == "native" or ATTACKS.get(name).reference
]


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_contract(name: str, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own Auto-PGD takes 20 steps. That libraries are repeatable is tested once (test_own_ensemble)."""
    if backend == "native" and name.startswith("apgd"):
        monkeypatch.setattr("bench.attacks.ensemble.ITERATIONS", 20)
    assert [str(check) for check in check_attack(name, backend=backend) if check.problem] == []


@pytest.mark.parametrize("name", NAMES)
def test_entry_names_a_paper_and_a_distribution(name: str) -> None:
    entry = ATTACKS.get(name)
    assert "arXiv" in entry.source or "ojs.aaai.org" in entry.source
    assert backend_version(entry)
    assert resolve(resolve(name).name) == resolve(name)
