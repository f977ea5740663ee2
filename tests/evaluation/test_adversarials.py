"""Adversarial images beside their cell: the 8-bit grid, the file, and when a cell is computed again for their sake."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from bench.core.errors import BenchError
from bench.data.tensors import as_inputs
from bench.evaluation.adversarials import Adversarials, dump_adversarials, in_ball, parse_adversarials, quantised
from bench.results.store import Store

Bench = Callable[..., Any]
TINY = ("--models", "tiny", "--limit", "60", "--train-limit", "all", "--epochs", "4", "--eps", "0.1", "--no-diagnose")


@pytest.fixture
def run(bench: Bench, plugin: Path, tmp_path: Path) -> Bench:
    def call(*arguments: object) -> Any:
        defaults = [*TINY, "--plugin", plugin, "--variants", "baseline", "--results", tmp_path]
        return bench("run", *defaults, *arguments)

    return call


def rows(results: Path) -> dict[str, dict[str, str]]:
    with (results / "results.csv").open() as file:
        return {row["attack"]: row for row in csv.DictReader(file)}


def files(results: Path) -> list[Path]:
    return sorted(results.rglob("*.adversarials.safetensors"))


def some_images(on_grid: bool, count: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(count, 3, 4, 4, generator=generator)
    if on_grid:
        inputs = as_inputs((inputs * 255).round().to(torch.uint8))
    return inputs, torch.randn(count, 3, 4, 4, generator=generator)


@pytest.mark.parametrize("eps", [1 / 255, 8 / 255, 0.1])
def test_linf_images_of_the_grid_stay_in_the_ball_and_keep_their_levels(eps: float) -> None:
    """A step of exactly eps = 8/255 is 8 levels and must not lose one to rounding."""
    inputs, direction = some_images(on_grid=True)
    adversarials = (inputs + eps * direction.sign()).clamp(0, 1)
    found, clean = quantised(inputs, adversarials, "linf", eps), (inputs * 255).round()
    levels = int(eps * 255 + 1e-6)
    assert torch.equal(found.float(), (clean + levels * direction.sign()).clamp(0, 255))
    assert in_ball(inputs, found, "linf", eps).all()


@pytest.mark.parametrize("eps", [0.005, 0.05, 0.3])
def test_l2_images_of_the_grid_stay_in_the_ball_near_where_they_were(eps: float) -> None:
    inputs, direction = some_images(on_grid=True)
    delta = eps * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    adversarials = (inputs + delta).clamp(0, 1)
    found = as_inputs(quantised(inputs, adversarials, "l2", eps))
    reached = (found.double() - inputs.double()).flatten(1).norm(dim=1)
    assert reached.max() <= eps + 1e-6
    assert (found - adversarials).abs().max() <= 1 / 255 + 1e-6
    nearest = (adversarials * 255).round() / 255
    allowed = (nearest.double() - inputs.double()).flatten(1).norm(dim=1) <= eps
    assert torch.equal((found * 255).round()[allowed], (nearest * 255).round()[allowed])
    assert not allowed.all()  # some had to be drawn in …
    assert reached[~allowed].min() > eps - 2 / 255  # … and no further than a level or two


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_image_is_outside_only_if_no_image_of_the_grid_is_inside(norm: str) -> None:
    """Clean images between the levels, budgets of about one: every neighbouring image of the grid is tried."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(60, 1, 1, 3, generator=generator)
    eps = {"linf": 0.4 / 255, "l2": 0.6 / 255}[norm]
    adversarials = (inputs + eps * torch.randn(60, 1, 1, 3, generator=generator).sign() / 2).clamp(0, 1)
    order = torch.inf if norm == "linf" else 2
    found = []
    for image, grid in zip(inputs.double(), quantised(inputs, adversarials, norm, eps), strict=True):  # type: ignore[arg-type]
        steps = itertools.product((-1, 0, 1), repeat=3)
        near = [(image * 255).round().flatten() + torch.tensor(step) for step in steps]
        best = min(float((n.clamp(0, 255) / 255 - image.flatten()).norm(p=order)) for n in near)
        reached = float((grid.double().flatten() / 255 - image.flatten()).norm(p=order))
        assert (reached <= eps + 1e-6) == (best <= eps + 5e-7)
        found.append(best <= eps + 5e-7)
    assert 0 < sum(found) < 60


def test_the_8_bit_image_is_what_a_png_holds() -> None:
    inputs, direction = some_images(on_grid=True, count=1)
    grid = quantised(inputs, (inputs + 0.05 * direction).clamp(0, 1), "l2", 0.5)[0]
    file = io.BytesIO()
    Image.fromarray(grid.permute(1, 2, 0).numpy()).save(file, "PNG")
    again = torch.frombuffer(bytearray(Image.open(file).tobytes()), dtype=torch.uint8).view(4, 4, 3).permute(2, 0, 1)
    assert torch.equal(grid, again)


def test_files_are_read_strictly() -> None:
    stored = Adversarials(["a", "b"], torch.rand(2, 3, 4, 4), torch.tensor([1, 2]))
    content = dump_adversarials(stored, "cell", "weights")
    again = parse_adversarials(content, "cell", "weights", where="x")
    assert torch.equal(again.images, stored.images)
    assert (list(again.ids), again.predictions.tolist()) == (["a", "b"], [1, 2])
    for cell, weights in (("other", "weights"), ("cell", "other")):
        with pytest.raises(BenchError, match="x belongs to cell cell or to other weights"):
            parse_adversarials(content, cell, weights, where="x")
    bad = [
        Adversarials(["a", "a"], stored.images, stored.predictions),
        Adversarials(["a"], stored.images, stored.predictions),
        Adversarials(["a", "b"], stored.images, stored.predictions[:1]),
        Adversarials(["a", "b"], stored.images.double(), stored.predictions),
    ]
    contents = [dump_adversarials(wrong, "cell", "weights") for wrong in bad]
    for wrong in (*contents, content[:-1], content[:20], b"", save({"images": stored.images}), b"{}" * 20):
        with pytest.raises(BenchError, match=r"^x "):
            parse_adversarials(wrong, "cell", "weights", where="x")


@pytest.mark.parametrize("facts", ['"a text"', "3", "null", "[]", "{}", "["])
def test_facts_that_are_no_object_are_refused(facts: str) -> None:
    tensors = {"images": torch.zeros(0, 3, 4, 4), "predictions": torch.zeros(0, dtype=torch.int64)}
    with pytest.raises(BenchError, match=r"^x has no valid adversarial images"):
        parse_adversarials(save(tensors, {"facts": facts}), "cell", "weights", where="x")


@pytest.mark.parametrize("ids", [5, None, [["a"], ["b"]], {"a": 1, "b": 2}, "ab", [1, 2]])
def test_odd_ids_are_refused(ids: Any) -> None:
    facts = {"cell_id": "cell", "weights_sha": "weights", "ids": ids}
    tensors = {"images": torch.zeros(2, 3, 4, 4), "predictions": torch.zeros(2, dtype=torch.int64)}
    with pytest.raises(BenchError, match="has ids that are no list of texts"):
        parse_adversarials(save(tensors, {"facts": json.dumps(facts)}), "cell", "weights", where="x")


@pytest.mark.parametrize("encoding", ["float32", "uint8"])
def test_what_is_stored_is_what_was_broken(run: Bench, tmp_path: Path, encoding: str) -> None:
    assert run("--attacks", "pgd-5", "--save-adversarials", encoding).code == 0
    row = rows(tmp_path)["pgd-5"]
    assert row["adversarials"] == encoding
    (path,) = files(tmp_path)  # the clean cell has none
    tensors = load_file(path)
    broken = int(row["n_attacked"]) - int(row["n_correct"])
    assert tuple(tensors["images"].shape) == (broken, 3, 8, 8)
    assert broken > 10
    assert str(tensors["images"].dtype) == f"torch.{encoding}"
    record = next(c for c in Store(tmp_path).cells(row["run_id"]) if c.spec.attack)
    samples = {s.sample_id: s for s in Store(tmp_path).read_samples(record)}
    stored = parse_adversarials(path.read_bytes(), row["cell_id"], row["weights_sha"], where="x")
    assert set(stored.ids) == {i for i, s in samples.items() if s.clean_pred == s.label != s.adv_pred}
    assert list(stored.ids) == [i for i in samples if i in set(stored.ids)]
    if encoding == "float32":
        assert row["n_broken_8bit"] == ""
        assert stored.predictions.tolist() == [samples[i].adv_pred for i in stored.ids]
    else:
        # Digits lie between the levels (k/16), but every pixel has some within 0.1.
        kept = sum(int(p) != samples[i].label for p, i in zip(stored.predictions, stored.ids, strict=True))
        assert 0 < int(row["n_broken_8bit"]) == kept <= broken


def test_storing_changes_neither_the_number_nor_its_identity(run: Bench, tmp_path: Path) -> None:
    run("--attacks", "pgd-5")
    before = rows(tmp_path)["pgd-5"]
    assert (before["adversarials"], files(tmp_path)) == ("", [])
    outcome = run("--attacks", "pgd-5", "--save-adversarials", "float32")
    assert "0 trained, 1 of 2 cells computed, 1 already stored" in outcome.err
    after = rows(tmp_path)["pgd-5"]
    differ = {column for column in before if before[column] != after[column]}
    assert differ <= {"adversarials", "time_s", "created"}
    assert len(files(tmp_path)) == 1
    assert "nothing to do" in run("--attacks", "pgd-5", "--save-adversarials", "float32").err
    assert "nothing to do" in run("--attacks", "pgd-5").err
    assert len(files(tmp_path)) == 1


def test_images_that_are_missing_or_of_another_form_are_made_again(run: Bench, tmp_path: Path) -> None:
    arguments = ("--attacks", "fgsm", "--save-adversarials")
    run(*arguments, "float32")
    (path,) = files(tmp_path)
    content = path.read_bytes()
    for damaged in (None, content[:-1] + bytes([content[-1] ^ 1])):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        assert "1 of 2 cells computed" in run(*arguments, "float32").err
        assert path.read_bytes() == content
    assert "1 of 2 cells computed" in run(*arguments, "uint8").err
    assert path.read_bytes() != content
    assert rows(tmp_path)["fgsm"]["n_broken_8bit"] != ""


def test_a_cell_that_is_made_again_without_images_leaves_none_behind(run: Bench, tmp_path: Path) -> None:
    run("--attacks", "fgsm", "--save-adversarials", "float32")
    run("--attacks", "fgsm", "--force")
    assert (files(tmp_path), rows(tmp_path)["fgsm"]["adversarials"]) == ([], "")


def test_an_attack_that_breaks_nothing_stores_an_empty_file(run: Bench, tmp_path: Path) -> None:
    assert run("--attacks", "idle", "--save-adversarials", "uint8").code == 0
    assert rows(tmp_path)["idle"]["n_broken_8bit"] == "0"
    assert [len(load_file(path)["images"]) for path in files(tmp_path)] == [0]


def test_memory_that_runs_out_stores_every_image_once(run: Bench, tmp_path: Path, monkeypatch: Any) -> None:
    """The batches of an attempt that is given up do not count."""
    import bench.evaluation.attack_runner as attacking

    real, calls = attacking.call_attack, []

    def starved(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("once")
        return real(*arguments, **options)

    monkeypatch.setattr(attacking, "call_attack", starved)
    monkeypatch.setattr("bench.evaluation.evaluate.SMALLEST_BATCH", 2)
    defaults = ("--attacks", "fgsm", "--save-adversarials", "float32")
    import bench.planning.request as request

    monkeypatch.setattr(request, "DEFAULT_BATCH", 16)
    assert run(*defaults).code == 0
    row = rows(tmp_path)["fgsm"]
    assert row["batch_size"] == "8"
    (path,) = files(tmp_path)
    assert len(load_file(path)["images"]) == int(row["n_attacked"]) - int(row["n_correct"])
