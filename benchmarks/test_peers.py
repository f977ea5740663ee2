"""Compare our attacks with torchattacks and adv-lib, if they are installed by the extra ``peers``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from measure import Bench, Run, Target
from subjects import EvaluatedModel
from torch import Tensor

from bench.core.specs import Norm
from bench.evaluation.verify import RELATIVE_TOLERANCE, distances

Attack = Callable[[Tensor, Tensor], Tensor]


def theirs(engine: Bench, target: Target, attack: Attack, norm: Norm, eps: float) -> Run:
    """Run an attack of a library with our batch size. Images beyond ``eps`` are replaced by the clean images."""
    begin = engine.now()
    parts = zip(target.inputs.split(engine.batch_size), target.labels.split(engine.batch_size), strict=True)
    images = torch.cat([attack(*part).detach() for part in parts])
    seconds = engine.now() - begin
    beyond = distances(target.inputs, images, norm) > eps * (1 + RELATIVE_TOLERANCE)
    images = torch.where(beyond.view(-1, 1, 1, 1), target.inputs, images)
    return Run(seconds, 0, 0, engine.misclassified(target, images, norm, eps))


def note(engine: Bench, case: str, eps: float, ours: Run, other: Run) -> None:
    """Record the time and the verdicts of both runs."""
    faster = other.seconds / ours.seconds
    measured = (
        f"ε {eps:.4g}: {ours.seconds:.2f} s, theirs {other.seconds:.2f} s ({faster:.2f}×); "
        f"robust {ours.robust:.1%}, theirs {other.robust:.1%}; same verdict on {ours.agreement(other):.1%}"
    )
    engine.note(case, measured, "≥ 1×, not more robust", faster >= 1 and ours.survivors <= other.survivors)


def test_pgd(engine: Bench, undefended: EvaluatedModel) -> None:
    """Compare PGD-20 with torchattacks."""
    torchattacks = pytest.importorskip("torchattacks")
    target, eps = undefended.target, undefended.budgets["half"]
    pgd = torchattacks.PGD(target.model, eps=eps, alpha=2.5 * eps / 20, steps=20)
    ours = engine.attack(target, "pgd-20", eps)
    note(engine, "PGD-20, torchattacks", eps, ours, theirs(engine, target, pgd, "linf", eps))


def test_apgd(engine: Bench, undefended: EvaluatedModel) -> None:
    """Compare APGD-CE with adv-lib."""
    attacks = pytest.importorskip("adv_lib.attacks")
    target, eps = undefended.target, undefended.budgets["half"]

    def apgd(inputs: Tensor, labels: Tensor) -> Tensor:
        images: Tensor = attacks.apgd(target.model, inputs, labels, eps, float("inf"), loss_function="ce")
        return images

    ours = engine.attack(target, "apgd-ce", eps)
    note(engine, "APGD-CE, adv-lib", eps, ours, theirs(engine, target, apgd, "linf", eps))


@pytest.mark.parametrize(("name", "norm"), [("ddn", "l2"), ("fmn", "l2"), ("fmn", "linf")])
def test_minimal_norm(name: str, norm: Norm, engine: Bench, undefended: EvaluatedModel) -> None:
    """Compare at a budget that fools about half of the images. Only our attack stops within ε."""
    attacks = pytest.importorskip("adv_lib.attacks")
    target = undefended.target

    def ddn(inputs: Tensor, labels: Tensor) -> Tensor:
        images: Tensor = attacks.ddn(target.model, inputs, labels, steps=100, levels=None)
        return images

    def fmn(inputs: Tensor, labels: Tensor) -> Tensor:
        order = {"l2": 2, "linf": float("inf")}[norm]
        images: Tensor = attacks.fmn(target.model, inputs, labels, norm=order, steps=100)
        return images

    eps = undefended.budgets["half"]
    if norm == "l2":
        subset = target.inputs[: engine.batch_size]
        eps = float(distances(subset, ddn(subset, target.labels[: len(subset)]), norm).median())
    ours = engine.attack(target, f"{name}-100", eps, norm=norm)
    other = theirs(engine, target, ddn if name == "ddn" else fmn, norm, eps)
    note(engine, f"{name.upper()}-100 {norm}, adv-lib", eps, ours, other)
