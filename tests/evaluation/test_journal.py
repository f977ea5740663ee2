"""A stopped attack continues where it was: same images, same passes, and little work twice."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from bench.attacks.adapter import call_attack
from bench.attacks.engine.checkpoint import Saved
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.fast_model import FastModel
from bench.attacks.registry import AttackEntry, Cost, resolve
from bench.core.errors import BenchError
from bench.core.records import EvalRecord
from bench.core.specs import EvalSpec, Norm
from bench.data.tensors import ResidentImages
from bench.evaluation import journal as journals
from bench.evaluation.cell import CellInput
from bench.evaluation.cell_stats import CellStats
from bench.evaluation.evaluate import evaluate_cell
from bench.evaluation.journal import CellJournal
from bench.evaluation.pass_counter import CountingModel
from bench.runtime.files import FACTS, read_facts
from bench.runtime.interrupt import Stopped, StopRequest
from bench.runtime.progress import Progress

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
    write(path, 1.0, 2.0)
    second = file.stat().st_size
    write(path, 1.0, 2.0, 3.0)
    content = file.read_bytes()
    assert entries(path) == [1.0, 2.0, 3.0]
    for torn in range(second, len(content), 7):
        file.write_bytes(content[:torn])
        assert entries(path) == [1.0, 2.0]
    damaged = bytearray(content)
    damaged[second - 1] ^= 1
    file.write_bytes(bytes(damaged))
    assert entries(path) == [1.0]
    journal = CellJournal(path, "key")  # the damaged end is replaced
    journal.begin(), journal.begin(), journal.finish(finished(5.0))
    assert entries(path) == [1.0, 5.0]


def of_models(path: Path, models: int) -> CellJournal:
    """Open a journal for an attack on so many models."""
    return CellJournal(path, "key", counters=[CountingModel(nn.Identity())] * models)


def test_an_attack_that_is_repeated_without_the_search_model_has_numbers_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "cell"
    journal = of_models(path, 2)
    assert journal.begin() is None  # raises an error on the search model, which leaves no entry
    journal.counters = journal.counters[:1]
    assert journal.begin() is None
    journal.finish(finished(1.0))
    assert of_models(path, 2).begin() is None
    assert of_models(path, 1).begin() is not None


def hungry(model: nn.Module, inputs: Tensor, labels: Tensor, **others: object) -> Tensor:
    """Return other images; run out of memory with more than 8 images."""
    if len(inputs) > 8:
        raise torch.OutOfMemoryError("tried to allocate everything")
    model(inputs)
    return (inputs + 0.05).clamp(0, 1)


def evaluated(journal: CellJournal) -> EvalRecord:
    """Evaluate an attack that needs smaller batches than those requested."""
    entry = AttackEntry(
        summary="s", source="s", function=hungry, uses_gradient=False, cost=lambda params, classes: Cost(1, 0, 1, 0)
    )
    attack = replace(resolve("fgsm").spec("linf", 0.1, batch_size=32), name="hungry")
    spec = EvalSpec(run_id="r", data_sha="d", attack=attack, protocol="standard", limit=None, batch_size=32, seed=0)
    pixels = IMAGES.float().repeat(3, 1, 1, 1)
    model = Net(0.05).float().eval()
    images = ResidentImages([str(i) for i in range(len(pixels))], pixels, model(pixels).argmax(1))
    given = CellInput(
        model=model, weights_sha="", images=images, n_test=len(pixels), official=False, num_classes=CLASSES,
        device=torch.device("cpu"), entry=entry, auto_batch=True, journal=journal,
    )  # fmt: skip
    return evaluate_cell(spec, given, Progress())[0]


def test_a_cell_that_ran_out_of_memory_continues_in_the_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cell"
    expected = evaluated(CellJournal())
    assert (expected.status, expected.batch_size) == ("ok", 8)
    with stopped_after(2, monkeypatch), pytest.raises(Stopped):
        evaluated(CellJournal(path, "key"))
    journal = CellJournal(path, "key")
    assert journal.resumed
    found = evaluated(journal)
    assert replace(found, time_s=0.0, created="") == replace(expected, time_s=0.0, created="")


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


@pytest.mark.parametrize("suffix", ["journal", "search"])
def test_an_odd_file_takes_no_memory_and_is_not_used(tmp_path: Path, suffix: str) -> None:
    with (tmp_path / f"cell.{suffix}").open("wb") as file:
        file.truncate(20 * 10**9)  # sparse
    tracemalloc.start()
    assert not CellJournal(tmp_path / "cell", "key").resumed
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    (tmp_path / f"cell.{suffix}").unlink()
    with (tmp_path / f"cell.{suffix}").open("wb") as file:
        file.truncate(10**13)
    with pytest.raises(BenchError, match="at most 64 GB"):
        CellJournal(tmp_path / "cell", "key")


def test_an_entry_with_missing_facts_is_not_used(tmp_path: Path) -> None:
    entry = save({}, {"facts": json.dumps({"key": "key"})})
    (tmp_path / "cell.search").write_bytes(journals._sealed(entry))
    assert not CellJournal(tmp_path / "cell", "key").resumed


@pytest.mark.parametrize(("batch", "start"), [(0, 8), (16, 8), (10**18, 8), (8, 0)])
def test_an_entry_with_an_impossible_batch_is_not_used(batch: int, start: int, tmp_path: Path) -> None:
    """Batches begin with the size of the cell and only become smaller. Without this check the cell failed."""
    path = tmp_path / "cell"
    journal = CellJournal(path, "key", stats=CellStats(batch_size=4))
    journal.start_size = 8
    assert journal.begin() is None
    journal.finish(finished(1.0))
    assert entries(path) == [1.0]
    content = (tmp_path / "cell.journal").read_bytes()[journals.LENGTH + journals.HASH :]
    facts = {**read_facts(content), "batch_size": batch, "start_size": start}
    forged = save(load(content), {FACTS: json.dumps(facts)})
    (tmp_path / "cell.journal").write_bytes(len(forged).to_bytes(journals.LENGTH, "little") + journals._sealed(forged))
    assert entries(path) == []


def test_a_journal_with_a_second_name_is_continued_in_a_file_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "cell", 1, 2)
    (tmp_path / "copy").hardlink_to(tmp_path / "cell.journal")
    (tmp_path / "precious").write_text("content")
    (tmp_path / "other.journal").hardlink_to(tmp_path / "precious")
    before = (tmp_path / "copy").read_bytes()
    for name in ("cell", "other"):
        journal = CellJournal(tmp_path / name, "key")
        for value in (1, 2, 3):
            if journal.begin() is None:
                journal.finish(finished(value))
        assert len(entries(tmp_path / name)) == 3
    assert (tmp_path / "copy").read_bytes() == before
    assert (tmp_path / "precious").read_text() == "content"


def test_a_journal_that_is_a_pipe_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cell.journal")
    reader = os.open(tmp_path / "cell.journal", os.O_RDONLY | os.O_NONBLOCK)  # else opening it for writing would wait
    journal = CellJournal(tmp_path / "cell", "key")
    journal.begin()
    journal.finish(finished(1))
    os.close(reader)
    assert entries(tmp_path / "cell") == [1]


def test_a_journal_that_is_a_link_leaves_its_target(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("content")
    (tmp_path / "cell.journal").symlink_to(tmp_path / "precious")
    journal = CellJournal(tmp_path / "cell", "key")
    journal.begin()
    journal.finish(Saved({}))
    assert (tmp_path / "precious").read_text() == "content"
    assert CellJournal(tmp_path / "cell", "key").resumed
