"""A stopped attack continues where it was: same images, same passes, and little work twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.attacks.adapter import call_attack
from bench.attacks.engine.checkpoint import Saved
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.fast_model import FastModel
from bench.attacks.registry import resolve
from bench.core.specs import Norm
from bench.evaluation import journal as journals
from bench.evaluation.journal import CellJournal
from bench.evaluation.pass_counter import CountingModel
from bench.runtime.interrupt import Stopped, StopRequest

COUNT, SIDE, CLASSES = 12, 6, 6
STOP = StopRequest("SIGTERM", 143)
CASES: list[tuple[str, Norm, float]] = [
    ("pgd-6-r2", "l2", 0.2),
    ("mim-6", "linf", 0.02),
    ("autoattack-apgd-ce+apgd-t+fab-t+square-i6-s40", "linf", 0.02),
    ("autoattack-apgd-ce+square-i6-s40", "l1", 2.0),
    ("ddn-12", "l2", 0.2),
    ("fmn-12", "linf", 0.02),
]


class Net(nn.Module):
    """Small convolutional network with fixed weights in float64. ``offset`` gives another network with near logits."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            layers = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(72, CLASSES)]
            self.layers = nn.Sequential(*layers)
        self.double().requires_grad_(False)
        self.offset = offset

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.layers(inputs)
        return logits + self.offset * torch.sin(40 * logits)


IMAGES = torch.rand(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
LABELS = Net(0.05)(IMAGES).argmax(1)


@pytest.fixture(autouse=True)
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save the state before every batch."""
    monkeypatch.setattr(journals, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(journals, "COST", 0)


@contextmanager
def stopped_after(entries: int, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Request a stop after so many entries of the journal."""
    left = [entries]

    def check() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stopped(STOP)

    with patch.context() as context:
        context.setattr(journals, "check_stop", check)
        yield


def attacked(name: str, norm: Norm, eps: float, journal: CellJournal) -> tuple[Tensor, list[tuple[int, int]]]:
    """Return the images of an attack, and the passes of the model under test and of the search model."""
    chosen = resolve(name, "native")
    counting = [CountingModel(Net(0.05)), CountingModel(Net())]
    journal.counters = counting
    model = FastModel(counting[0], counting[1], checkpoint=journal)
    rng = SampleRng(0, name, [str(i) for i in range(COUNT)], torch.device("cpu"))
    spec = chosen.spec(norm, eps, batch_size=5)
    result = call_attack(chosen.entry, model, IMAGES.clone(), LABELS.clone(), spec=spec, rng=rng)
    return result.adversarials, [(counter.forwards, counter.backwards) for counter in counting]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_stopped_attack_continues_with_the_same_images_and_passes(
    case: tuple[str, Norm, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, passes = attacked(*case, CellJournal())
    path, stops = tmp_path / "cell", 0
    while True:
        assert stops < 300, "an interrupted attack makes no progress"
        journal = CellJournal(path, "key")
        with stopped_after(1 + 2 * (stops % 2), monkeypatch), suppress(Stopped):
            images, counts = attacked(*case, journal)
            break
        stops += 1
    assert stops >= 2
    assert torch.equal(images, expected)
    assert counts == passes
    journal.drop()
    assert not list(tmp_path.iterdir())


def finished(value: float) -> Saved:
    return Saved({"adversarials": torch.full((2,), value)}, {"messages": []}, finished=True)


def entries(path: Path, key: str = "key") -> list[float]:
    """Return the values of the finished batches that a journal gives back."""
    journal, values = CellJournal(path, key), []
    while (saved := journal.begin()) is not None:
        values.append(float(saved.tensors["adversarials"][0]))
    return values


def write(path: Path, *values: float) -> None:
    journal = CellJournal(path, "key")
    for value in values:
        if journal.begin() is None:
            journal.finish(finished(value))


def test_a_torn_or_damaged_end_is_computed_again(tmp_path: Path) -> None:
    path = tmp_path / "cell"
    file = tmp_path / "cell.journal"
    write(path, 1.0)
    first = file.stat().st_size
    write(path, 1.0, 2.0)
    second = file.stat().st_size
    write(path, 1.0, 2.0, 3.0)
    content = file.read_bytes()
    assert entries(path) == [1.0, 2.0, 3.0]
    for torn in range(second, len(content), 7):
        file.write_bytes(content[:torn])
        assert entries(path) == [1.0, 2.0]
    damaged = bytearray(content)
    damaged[first + 60] ^= 1
    file.write_bytes(bytes(damaged))
    assert entries(path) == [1.0]
    journal = CellJournal(path, "key")  # the damaged end is replaced
    journal.begin(), journal.begin(), journal.finish(finished(5.0))
    assert entries(path) == [1.0, 5.0]


def test_entries_of_other_work_are_not_used(tmp_path: Path) -> None:
    write(tmp_path / "cell", 1.0)
    assert entries(tmp_path / "cell", key="other weights") == []


def test_a_state_of_another_search_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of the code, the search starts again and counts no pass twice."""
    path = tmp_path / "cell"
    expected = attacked("mim-6", "linf", 0.02, CellJournal())
    with stopped_after(2, monkeypatch), pytest.raises(Stopped):
        attacked("ddn-12", "l2", 0.2, CellJournal(path, "key"))
    images, passes = attacked("mim-6", "linf", 0.02, CellJournal(path, "key"))
    assert torch.equal(images, expected[0])
    assert passes == expected[1]


def test_entries_after_a_search_that_failed_in_the_earlier_process_are_not_used(tmp_path: Path) -> None:
    """The faster copy of the model raised in the first search, and the entry is of the attack on the model itself."""
    path = tmp_path / "cell"
    journal = CellJournal(path, "key")
    journal.begin(), journal.begin(), journal.finish(finished(2.0))
    journal = CellJournal(path, "key")
    assert journal.begin() is None
    journal.finish(finished(1.0))
    assert journal.begin() is None
    assert entries(path) == [1.0]


def test_entries_with_passes_of_other_models_are_not_used(tmp_path: Path) -> None:
    """The earlier process had no faster copy of the model, and this one has."""
    path = tmp_path / "cell"
    journal = CellJournal(path, "key", counters=[CountingModel(Net())])
    for value in (1.0, 2.0):
        journal.begin(), journal.finish(finished(value))
    both = [CountingModel(Net()), CountingModel(Net())]
    journal = CellJournal(path, "key", counters=both)
    assert journal.begin() is None
    journal.finish(finished(3.0))
    assert [saved.facts for saved in [CellJournal(path, "key", counters=both).begin()] if saved] == [{"messages": []}]
    assert CellJournal(path, "key", counters=both)._end == (tmp_path / "cell.journal").stat().st_size
