"""A cell that is stopped again and again has the record of a cell that ran at once: notes, passes and batch size."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import AttackEntry
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.pgd_attack import pgd
from bench.attacks.registry import resolve
from bench.core.records import EvalRecord
from bench.core.specs import AttackSpec, EvalSpec, Norm
from bench.data.tensors import ResidentImages
from bench.evaluation import journal as journals
from bench.evaluation.cell import CellInput
from bench.evaluation.evaluate import evaluate_cell
from bench.evaluation.fast_model import SearchModels
from bench.evaluation.journal import CellJournal
from bench.runtime.interrupt import Stopped, StopRequest
from bench.runtime.progress import Progress, Stage

COUNT, CLASSES, SHAPE = 24, 6, (3, 6, 6)
IMAGES = torch.rand(COUNT, *SHAPE, generator=torch.Generator().manual_seed(2))


class Net(nn.Module):
    """Small convolutional network with fixed weights."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten())
            self.output = nn.Linear(72, CLASSES)
        self.requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.output(self.layers(inputs))
        return logits


class Warning20(Net):
    """Warn for some inputs: every attack sees other warnings than the checks before it."""

    def forward(self, inputs: Tensor) -> Tensor:
        warnings.warn(f"input of kind {int(1e5 * float(inputs.detach().std())) % 20}", stacklevel=1)
        return super().forward(inputs)


class Odd(Net):
    """The channels-last copy of this network has other logits for many images at once, so for images of an attack."""

    def forward(self, inputs: Tensor) -> Tensor:
        logits = super().forward(inputs)
        is_copy = not self.layers[0].weight.is_contiguous()
        return 3 * logits.flip(1) if is_copy and len(inputs) > 8 else logits


def nested(model: nn.Module, inputs: Tensor, labels: Tensor, *, norm: Norm, eps: float, rng: SampleRng) -> Tensor:
    return pgd(model, inputs, labels, norm=norm, eps=eps, rng=rng, steps=4)


def crowded(model: nn.Module, inputs: Tensor, labels: Tensor, *, norm: Norm, eps: float, rng: SampleRng) -> Tensor:
    if len(inputs) > 8:
        raise torch.OutOfMemoryError("too many images")
    return nested(model, inputs, labels, norm=norm, eps=eps, rng=rng)


def plugin(function: Callable[..., Tensor], *, fast: bool) -> tuple[AttackEntry, AttackSpec]:
    entry = AttackEntry(
        summary="pgd", source="this test", function=function, uses_gradient=True,
        precisions=("fp32", "bf16") if fast else ("fp32",),
    )  # fmt: skip
    return entry, AttackSpec(name="plugin", norm="linf", eps=0.02, version=1)


def builtin(name: str) -> tuple[AttackEntry, AttackSpec]:
    attack = resolve(name)
    return attack.entry, attack.spec("linf", 0.02, batch_size=16)


class Counted(Progress):
    """Add the passes of this process and of earlier ones."""

    done = earlier = 0

    @contextmanager
    def stage(self, title: str, *, total: int, unit: str) -> Iterator[Stage]:
        yield self

    def advance(self, count: int, *, accuracy: float | None = None) -> None:
        self.done += count

    def resume(self, count: int) -> None:
        self.earlier += count


def evaluated(
    model: nn.Module,
    attack: tuple[AttackEntry, AttackSpec],
    journal: CellJournal,
    progress: Progress | None = None,
) -> EvalRecord:
    """Return the record of the cell without its times."""
    entry, attack_spec = attack
    spec = EvalSpec(
        run_id="r", data_sha="d", attack=attack_spec, protocol="standard", limit=None, batch_size=16, seed=0
    )
    labels = Net()(IMAGES).argmax(1)
    images = ResidentImages([str(i) for i in range(COUNT)], IMAGES, labels)
    cell_input = CellInput(
        model=model, weights_sha="", images=images, n_test=COUNT,
        official=False, num_classes=CLASSES, device=torch.device("cpu"), entry=entry, auto_batch=True,
        search_models=SearchModels(model, SHAPE, torch.device("cpu")), journal=journal,
    )  # fmt: skip
    record, _ = evaluate_cell(spec, cell_input, progress or Progress())
    return dataclasses.replace(record, time_s=0.0, created="")


ENSEMBLE = "autoattack-apgd-ce+square-i4-s12"


@pytest.mark.parametrize(
    ("model", "attack"),
    [
        (Warning20, builtin(ENSEMBLE)),
        (Odd, builtin(ENSEMBLE)),
        (Net, plugin(nested, fast=True)),
        (Net, plugin(crowded, fast=False)),
    ],
    ids=["warnings", "discarded copy", "plug-in that calls an attack of ours", "out of memory"],
)
def test_a_stopped_cell_has_the_record_of_a_whole_one(
    model: type[Net], attack: tuple[AttackEntry, AttackSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = evaluated(model(), attack, CellJournal())
    assert expected.status == "ok"
    monkeypatch.setattr(journals, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(journals, "COST", 0)
    left, stops = [0], 0

    def check() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stopped(StopRequest("SIGTERM", 143))

    monkeypatch.setattr(journals, "check_stop", check)
    while True:
        assert stops < 200, "an interrupted cell makes no progress"
        left[0] = (1, 3, 2, 5)[stops % 4]
        try:
            record = evaluated(model(), attack, CellJournal(tmp_path / "cell", "key"))
            break
        except Stopped:
            stops += 1
    assert stops
    assert record == expected


def test_a_copy_is_discarded_for_one_cell_only() -> None:
    """Otherwise the passes of a cell would depend on the cells that were computed before it in the same process."""
    models = SearchModels(Odd(), SHAPE, torch.device("cpu"))
    copied = models.get("fp32")
    assert copied is not models._model
    models.leave_out("fp32", "it differs")
    assert models.get("fp32") is models._model
    models.begin_cell()
    assert models.get("fp32") is not models._model
    assert not models.note("fp32")


@pytest.mark.parametrize("attack", [builtin(ENSEMBLE), plugin(nested, fast=False)], ids=["searches", "batches"])
def test_the_progress_of_a_continued_cell_begins_at_its_passes(
    attack: tuple[AttackEntry, AttackSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(journals, "COST", 0)
    left = [1 if attack[0].function is nested else 6]

    def check() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Stopped(StopRequest("SIGTERM", 143))

    monkeypatch.setattr(journals, "check_stop", check)
    with pytest.raises(Stopped):
        evaluated(Net(), attack, CellJournal(tmp_path / "cell", "key"))
    progress = Counted()
    record = evaluated(Net(), attack, CellJournal(tmp_path / "cell", "key"), progress)
    assert progress.earlier > 0
    assert progress.earlier + progress.done == record.n_forwards
