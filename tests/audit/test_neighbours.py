"""Steps towards images of other classes: their geometry, and a model whose gradients lead nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench import api
from bench.attacks.geometry.norms import length
from bench.audit.neighbours import neighbours, points_towards
from bench.core.specs import Norm
from bench.data import DataRequest, load_dataset
from bench.data.from_python import as_dataset
from bench.data.tensors import Images, load_images
from bench.results.store import Store


def split(name: str, limit: int | None = None) -> Images:
    return load_images(getattr(load_dataset("digits", DataRequest()), name), limit, dataset="digits")


def tensors(images: Images) -> tuple[Tensor, Tensor]:
    return images.inputs(torch.arange(len(images)), torch.device("cpu")), images.labels


def ridge() -> nn.Sequential:
    """Linear, by least squares."""
    x, y = tensors(split("train"))
    x = x.flatten(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    with torch.no_grad():
        net[1].weight.copy_(torch.linalg.solve(x.T @ x + 3 * torch.eye(192), x.T @ (torch.eye(10)[y] - 0.1)).T)
        net[1].bias.zero_()
    return net


class Votes(nn.Module):
    """The votes of the five nearest training images, which have no gradient, and a little of a linear network."""

    def __init__(self) -> None:
        super().__init__()
        x, self.labels = tensors(split("train"))
        self.bank, self.base = nn.Parameter(x.flatten(1)), ridge()

    def forward(self, x: Tensor) -> Tensor:
        nearest = torch.cdist(x.flatten(1), self.bank).topk(5, largest=False).indices
        votes = nn.functional.one_hot(self.labels[nearest], 10).float().mean(1)
        logits: Tensor = 3 * votes + 0.01 * self.base(x)
        return logits


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.5), ("l1", 3.0)])
def test_the_points_lie_at_the_edge_on_the_way_to_other_classes(norm: Norm, eps: float) -> None:
    images = split("test", 60)
    part = torch.arange(5, 45)
    candidates = split("train", 100)
    found = neighbours(images, part, candidates, 4)
    (x, labels), (near, y) = tensors(images), tensors(candidates)
    apart = torch.cdist(x[part].flatten(1), near.flatten(1))
    assert (y[found] != labels[part][:, None]).all()
    for row, taken in enumerate(found.tolist()):
        others = apart[row][y != labels[part[row]]].sort().values
        assert torch.allclose(apart[row, taken], others[:4], atol=1e-4)
    for column, points in enumerate(points_towards(x[part], candidates, found, norm, eps)):
        assert points.min() >= 0
        assert points.max() <= 1
        assert torch.allclose(length(points - x[part], norm), torch.full((40,), eps), atol=1e-4)
        target = near[found[:, column]]
        assert (length(points - target, norm) < length(x[part] - target, norm)).all()


def audited(model: nn.Module, folder: Path) -> tuple[str, float, float, str]:
    attacks = {"attacks": ["pgd"], "eps": ["0.15"]}
    rows = api.evaluate(model.eval(), name="n", limit=100, corruptions="none", results=folder, device="cpu", **attacks)  # type: ignore[arg-type]
    row = rows.set_index("attack").loc["pgd-20"]
    return row["audit_flags"], row["acc"], row["robust_acc_lowest"], row["broken_by"]


def test_a_model_of_votes_is_found_out(tmp_path: Path) -> None:
    flags, measured, lowest, broken = audited(Votes(), tmp_path)
    assert measured > 0.9
    assert "black_box_stronger" in flags
    assert lowest <= measured - 0.12
    assert "audit:neighbours" in broken


def test_an_honest_network_has_no_flag_by_it(tmp_path: Path) -> None:
    flags, measured, lowest, _ = audited(ridge(), tmp_path)
    assert "black_box_stronger" not in str(flags)
    assert lowest <= measured


def test_an_audit_without_training_images_uses_the_audited_ones(tmp_path: Path) -> None:
    pairs = tensors(split("test", 100))
    rows = api.evaluate(
        Votes(), name="votes", dataset=as_dataset(pairs), attacks=["fgsm", "pgd-5"], eps=[0.15], corruptions="none",
        results=tmp_path,
    )  # fmt: skip
    assert set(rows["status"]) == {"ok"}
    (run,) = Store(tmp_path).runs()
    (audit,) = Store(tmp_path).audits(run.run_id)
    assert audit.status == "ok"
    assert audit.budgets[0].broken["neighbours"]
