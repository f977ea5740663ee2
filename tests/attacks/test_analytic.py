"""Every attack against a model whose margin is known exactly: it finds what exists and nothing else is reported."""

from __future__ import annotations

import pytest
import torch
from helpers import LinearModel

from bench.attacks.registry import ATTACKS, resolve
from bench.core.specs import EvalSpec
from bench.data.tensors import ResidentImages
from bench.evaluation.cell import CellInput
from bench.evaluation.evaluate import evaluate_cell
from bench.models.classifier import freeze
from bench.runtime.progress import Progress

BUILTIN = [resolve(name) for name in ATTACKS if ATTACKS.origin(name) == "bench.attacks.builtin"]
CASES = [(attack.name, norm) for attack in BUILTIN for norm in attack.entry.norms]
SIDE = 6  # Square in l2 needs 5 pixels
# A random search needs room, the published one as much. In L1 one pixel is to take all of ε, and auto-PGD, whose path
# is the published one, leaves a part of it on others; what its start was decides how much.
REACH = {("square", "linf"): 3.0, ("square", "l2"): 4.0, ("square", "l1"): 8.0}
REACH |= {(name, "l1"): 1.3 for name in ("apgd-ce", "apgd-dlr", "apgd-t")}
MARGIN = {"linf": 0.05, "l2": 0.1, "l1": 0.1}


def images_at_margin(norm: str, margin: float, count: int = 4) -> tuple[LinearModel, ResidentImages]:
    """Images of both classes exactly ``margin`` away from the boundary and far from the box's walls."""
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(3 * SIDE * SIDE, generator=generator).double()
    model = LinearModel(weight.float(), bias=float(-0.5 * weight.sum()))
    top = weight.abs() == weight.abs().max()
    dual_direction = {
        "linf": weight.sign() / weight.abs().sum(),
        "l2": weight / weight.norm() ** 2,
        "l1": weight.sign() * top / weight.abs().max(),
    }[norm]
    noise = 0.02 * torch.randn(count, 3 * SIDE * SIDE, generator=generator).double()
    noise -= (noise @ weight)[:, None] * weight / (weight @ weight)
    dual_length = {"linf": weight.abs().sum(), "l2": weight.norm(), "l1": weight.abs().max()}[norm]
    labels = torch.arange(count) % 2
    signs = (2 * labels - 1).double()[:, None]
    flat = 0.5 + noise + signs * margin * dual_length * dual_direction
    pixels = flat.float().view(count, 3, SIDE, SIDE)
    return model, ResidentImages([f"x/{i}" for i in range(count)], pixels, labels)


def robust_count(name: str, norm: str, eps: float, margin: float) -> tuple[int, int]:
    model, images = images_at_margin(norm, margin)
    found = model.margin(images.pixels, norm)
    assert torch.allclose(found, torch.full_like(found, margin), rtol=1e-3)
    assert norm == "l1" or (images.pixels.min() > eps and images.pixels.max() < 1 - eps)
    attack = resolve(name)
    spec = EvalSpec(
        run_id="r",
        data_sha="d",
        attack=attack.spec(norm, eps, batch_size=4),
        protocol="standard",
        limit=None,
        batch_size=4,
        seed=0,
    )
    context = CellInput(
        model=freeze(model),
        weights_sha="",
        images=images,
        n_test=len(images),
        official=False,
        num_classes=2,
        device=torch.device("cpu"),
        entry=attack.entry,
    )
    record, _ = evaluate_cell(spec, context, Progress())
    assert record.status == "ok", record.message
    assert record.n_attacked == record.n == len(images)
    assert record.n_correct is not None
    return record.n_correct, record.n


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_finds_what_exists(name: str, norm: str) -> None:
    """At eps = 1.05 × margin an adversarial exists, and every attack must find it; random search needs more room."""
    margin = MARGIN[norm]
    assert robust_count(name, norm, REACH.get((name, norm), 1.05) * margin, margin)[0] == 0


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_reports_nothing_that_does_not_exist(name: str, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At eps = 0.99 × margin there is none, so every image must be counted robust.

    The stages of ensembles are shortened, since each of them is an attack of its own here, and so are the queries of
    Square: every single one could leave the ball.
    """
    monkeypatch.setattr("bench.attacks.ensemble.SQUARE_QUERIES", 200)
    if name.startswith("autoattack"):
        monkeypatch.setattr("bench.attacks.ensemble.ITERATIONS", 15)
    margin = MARGIN[norm] * (3 if norm == "l2" else 1)
    correct, n = robust_count(name, norm, 0.99 * margin, margin)
    assert correct == n
