"""``bench verify``: agrees with honest files, and finds each way of changing one of them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from records import replace_outcomes
from safetensors.torch import load_file, save_file

from bench.core.records import EvalRecord
from bench.core.specs import AttackSpec
from bench.evaluation.adversarials import Adversarials, dump_adversarials, parse_adversarials
from bench.evaluation.reverify import check_float32, compare_predictions
from bench.results.per_image import Sample
from bench.results.record_files import dump_record
from bench.results.store import Store
from bench.runtime.progress import PlainProgress

Bench = Callable[..., Any]
TINY = ("--models", "tiny", "--limit", "60", "--train-limit", "all", "--epochs", "4", "--eps", "0.1", "--no-diagnose")
CELL = "pgd-5@linf-0.1"


@pytest.fixture
def run(bench: Bench, plugin: Path, tmp_path: Path) -> Bench:
    def call(*arguments: object) -> Any:
        defaults = [*TINY, "--plugin", plugin, "--variants", "baseline", "--results", tmp_path]
        return bench("run", *defaults, *arguments)

    return call


@pytest.fixture
def verify(bench: Bench, plugin: Path, tmp_path: Path) -> Bench:
    return lambda *arguments: bench("verify", "tiny:baseline", "--plugin", plugin, "--results", tmp_path, *arguments)


@pytest.fixture
def verify_all(bench: Bench, plugin: Path, tmp_path: Path) -> Bench:
    return lambda *arguments: bench("verify", "--all", "--plugin", plugin, "--results", tmp_path, *arguments)


def attack_cell(results: Path, attack: str = "pgd-5") -> tuple[Store, EvalRecord]:
    store = Store(results)
    (run,) = store.runs()
    return store, next(c for c in store.cells(run.run_id) if c.spec.attack and c.spec.attack.name == attack)


def forge(results: Path, change: Callable[[Adversarials], Adversarials], *, sign: bool = True) -> None:
    """Change the stored images, and (``sign``) have the record vouch for the change."""
    store, record = attack_cell(results)
    stored = parse_adversarials(store.read_adversarials(record), record.cell_id, record.weights_sha, where="")
    content = dump_adversarials(change(stored), record.cell_id, record.weights_sha)
    store.adversarials_path(record.spec.run_id, record.cell_id).write_bytes(content)
    if sign:
        resign(store, dataclasses.replace(record, adversarials_sha=hashlib.sha256(content).hexdigest()))


def resign(store: Store, record: EvalRecord) -> None:
    (store.run_folder(record.spec.run_id) / "cells" / f"{record.cell_id}.json").write_bytes(dump_record(record))


def edit_samples(results: Path, change: Callable[[list[list[str]]], None]) -> None:
    store, record = attack_cell(results)
    path = store.samples_path(record.spec.run_id, record.cell_id)
    table = [line.split(",") for line in path.read_text().splitlines()]
    change(table)
    replace_outcomes(store, record, "".join(",".join(line) + "\n" for line in table).encode())


@pytest.mark.parametrize("encoding", ["float32", "uint8"])
def test_honest_files_agree(run: Bench, verify: Bench, verify_all: Bench, tmp_path: Path, encoding: str) -> None:
    assert run("--attacks", "fgsm,pgd-5", "--save-adversarials", encoding).code == 0
    outcome = verify()
    _, record = attack_cell(tmp_path)
    broken = record.n_attacked - (record.n_correct or 0)
    shown = broken if encoding == "float32" else record.n_broken_8bit
    lines = outcome.out.splitlines()
    assert (outcome.code, len(lines)) == (0, 3)
    assert lines[0] == "clean: 60 of 60 predictions verified"
    start = f"{CELL}: {shown} of {broken} adversarials verified, {'in 8 bits, ' if encoding == 'uint8' else ''}largest"
    assert lines[2].startswith(start)
    assert "largest distance 0.1" in lines[2] or encoding == "uint8"
    found = verify("--json").json
    assert found["agreed"]
    assert [cell["n_verified"] for cell in found["cells"]] == [60, found["cells"][1]["n_verified"], shown]
    everything = verify_all("--json").json
    assert (everything["agreed"], everything["problems"], everything["not_verified"]) == (True, [], [])
    assert everything["adversarials"] == sum(cell["n_verified"] for cell in found["cells"][1:])


def test_progress_is_shown_on_stderr(run: Bench, verify: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--attacks", "fgsm", "--save-adversarials", "float32").code == 0
    monkeypatch.setattr(PlainProgress, "interval", 0.0)
    lines = verify().err.splitlines()
    assert [line.partition(" images, ")[0] for line in lines if "images, " in line] == [
        "  verify tiny:baseline:0: 60/120",
        "  verify tiny:baseline:0: 120/120",
    ]


def test_images_that_a_filter_broke_are_found_beside_the_filter(run: Bench, verify: Bench, tmp_path: Path) -> None:
    arguments = ("--attacks", "pgd-5,autoattack", "--protocol", "prefiltered", "--attack-limit", "autoattack=20")
    assert run(*arguments, "--save-adversarials", "float32").code == 0
    outcome = verify()
    assert outcome.code == 0
    store, record = attack_cell(tmp_path, "autoattack")
    claimed = sum(s.clean_pred == s.label != s.adv_pred for s in store.read_samples(record))
    assert f"autoattack@linf-0.1:prefiltered: {claimed} of {claimed} adversarials verified" in outcome.out
    own = load_file(store.adversarials_path(record.spec.run_id, record.cell_id))
    assert len(own["images"]) < claimed
    _, filtering = attack_cell(tmp_path)
    store.adversarials_path(filtering.spec.run_id, filtering.cell_id).unlink()
    outcome = verify("--json")
    cells = {cell["name"]: cell for cell in outcome.json["cells"]}
    assert outcome.code == 1
    assert cells["autoattack@linf-0.1:prefiltered"]["n_verified"] == len(own["images"])


def shifted(stored: Adversarials, step: float) -> Adversarials:
    images = stored.images.clone()
    images[3] = (images[3] + step).clamp(0, 1)
    return dataclasses.replace(stored, images=images)


def misplaced(stored: Adversarials) -> Adversarials:
    return dataclasses.replace(stored, ids=[stored.ids[1], stored.ids[0], *stored.ids[2:]])


def outside(stored: Adversarials) -> Adversarials:
    images = stored.images.clone()
    images[3].view(-1)[images[3].argmin()] = -0.01
    return dataclasses.replace(stored, images=images)


def not_a_number(stored: Adversarials) -> Adversarials:
    images = stored.images.clone()
    images[3, 0, 0, 0] = torch.nan
    return dataclasses.replace(stored, images=images)


def shortened(stored: Adversarials) -> Adversarials:
    return Adversarials(stored.ids[1:], stored.images[1:], stored.predictions[1:])


IMAGES = {
    "a step too far": (lambda s: shifted(s, 0.15), "beyond eps"),
    "another distance": (lambda s: dataclasses.replace(s, images=s.images * 0.9 + 0.05), "recorded 0.1"),
    "outside the box": (outside, "outside [0, 1]"),
    "not a number": (not_a_number, "outside [0, 1]"),
    "of another image": (misplaced, "beyond eps"),
    "one is missing": (shortened, "but no image is stored"),
    "one too many": (
        lambda s: Adversarials(["x", *s.ids], *(torch.cat((t[:1], t)) for t in (s.images, s.predictions))),
        "x: an image is stored, but it is not recorded as misclassified",
    ),
    "smaller images": (lambda s: dataclasses.replace(s, images=s.images[..., 1:]), "has torch.float32 (3, 8, 7)"),
    "bytes": (lambda s: dataclasses.replace(s, images=(s.images * 255).to(torch.uint8)), "not float32"),
}


def test_a_changed_image_is_found_though_the_record_vouches_for_it(
    run: Bench, verify: Bench, verify_all: Bench, tmp_path: Path
) -> None:
    run("--attacks", "pgd-5", "--save-adversarials", "float32")
    store, record = attack_cell(tmp_path)
    path = store.adversarials_path(record.spec.run_id, record.cell_id)
    content, broken = path.read_bytes(), record.n_attacked - (record.n_correct or 0)
    for name, (change, sentence) in IMAGES.items():
        forge(tmp_path, change)
        outcome = verify()
        assert (outcome.code, sentence in outcome.out) == (1, True), (name, outcome.out)
        assert "clean: 60 of 60" in outcome.out
        if name == "outside the box":
            everything = verify_all()
            assert (everything.code, sentence in everything.out) == (1, True)
            assert everything.out.splitlines()[-1].endswith("1 problem.")
        if name in ("a step too far", "outside the box", "not a number"):
            assert f"{broken - 1} of {broken} adversarials verified" in outcome.out
        path.write_bytes(content)
        resign(store, record)
    assert verify().code == 0


def test_a_change_too_small_to_tell_is_found_by_its_hash(run: Bench, verify: Bench, tmp_path: Path) -> None:
    run("--attacks", "pgd-5", "--save-adversarials", "float32")
    forge(tmp_path, lambda stored: shifted(stored, 1e-8), sign=False)
    assert "differs from the file in its record" in (outcome := verify()).out
    assert outcome.code == 1
    store, record = attack_cell(tmp_path)
    store.adversarials_path(record.spec.run_id, record.cell_id).unlink()
    outcome = verify()
    assert (outcome.code, "cannot read" in outcome.out) == (1, True)


def swap_label(table: list[list[str]]) -> None:
    """Exchange the labels of two images that the predictions do not meet either, so that every count stays."""
    broken = [line for line in table[1:] if line[4] not in ("", "0.0")]
    one, other = next((a, b) for a in broken for b in broken if a[1] not in (b[1], b[3]) and b[1] != a[3])
    one[1], other[1] = other[1], one[1]


def exchange(table: list[list[str]]) -> None:
    table[1], table[2] = table[2], table[1]


def claim(table: list[list[str]]) -> None:
    """An image that survived is said to be broken, and the other way round."""
    survivor = next(line for line in table[1:] if line[4] == "")
    broken = next(line for line in table[1:] if line[4] not in ("", "0.0"))
    survivor[3], survivor[4] = str((int(survivor[1]) + 1) % 10), broken[4]
    broken[3], broken[4] = broken[1], ""


def another_class(table: list[list[str]]) -> None:
    broken = next(line for line in table[1:] if line[4] not in ("", "0.0"))
    broken[3] = next(str(k) for k in range(10) if str(k) not in (broken[1], broken[3]))


def another_clean_class(table: list[list[str]]) -> None:
    wrong = next(line for line in table[1:] if line[4] == "0.0")
    wrong[2] = wrong[3] = next(str(k) for k in range(10) if str(k) not in (wrong[1], wrong[3]))


ROWS = {
    "another label": (swap_label, "the data set has"),
    "images exchanged": (exchange, "differ from the images of the data set"),
    "a survivor called broken": (claim, "but no image is stored"),
    "another class": (another_class, "prediction"),
    "another clean class": (another_clean_class, "clean prediction"),
    "a row removed": (lambda table: table.pop(), "its record says"),
    "another distance": (
        lambda table: next(line for line in table[1:] if line[4] not in ("", "0.0")).__setitem__(4, "0.07"),
        "recorded 0.07",
    ),
    "no distance": (
        lambda table: next(line for line in table[1:] if line[4] not in ("", "0.0")).__setitem__(4, ""),
        "contradicts its predictions",
    ),
}


def test_a_changed_row_is_found(run: Bench, verify: Bench, tmp_path: Path) -> None:
    run("--attacks", "pgd-5", "--save-adversarials", "float32")
    store, record = attack_cell(tmp_path)
    path = store.samples_path(record.spec.run_id, record.cell_id)
    text = path.read_text()
    for name, (change, sentence) in ROWS.items():
        edit_samples(tmp_path, change)
        outcome = verify()
        assert (outcome.code, sentence in outcome.out) == (1, True), (name, outcome.out)
        path.write_text(text)
        resign(store, record)
    for field, value, sentence in (("max_distance", 0.05, "largest distance 0.05"), ("n_attacked", 60, "60 images")):
        resign(store, dataclasses.replace(record, **{field: value}))
        outcome = verify()
        assert (outcome.code, sentence in outcome.out) == (1, True)
    resign(store, record)
    assert verify().code == 0


def test_8_bit_images_are_judged_as_they_are(run: Bench, verify: Bench, tmp_path: Path) -> None:
    run("--attacks", "pgd-5", "--save-adversarials", "uint8")
    store, record = attack_cell(tmp_path)
    resign(store, dataclasses.replace(record, n_broken_8bit=(record.n_broken_8bit or 0) + 1))
    outcome = verify()
    assert (outcome.code, "images misclassified in 8 bits, recorded" in outcome.out) == (1, True)
    resign(store, record)

    def blackened(stored: Adversarials) -> Adversarials:
        images = stored.images.clone()
        images[0] = 0
        return dataclasses.replace(stored, images=images)

    forge(tmp_path, blackened)
    outcome = verify()
    assert (outcome.code, "DISAGREES" in outcome.out) == (1, True)


def test_what_8_bits_do_not_show_is_not_called_verified(run: Bench, verify: Bench, tmp_path: Path) -> None:
    """Minimal perturbations, of which rounding takes some back."""
    run("--attacks", "fmn-20", "--save-adversarials", "uint8")
    _, record = attack_cell(tmp_path, "fmn-20")
    broken = record.n_attacked - (record.n_correct or 0)
    assert 0 < (record.n_broken_8bit or 0) < broken
    outcome = verify("--json")
    cell = next(cell for cell in outcome.json["cells"] if cell["name"].startswith("fmn-20"))
    assert (outcome.code, cell["status"], cell["n_verified"], cell["n"]) == (0, "in part", record.n_broken_8bit, broken)
    assert "the others cannot be verified" in verify().out


def changed_weights(path: Path) -> str:
    tensors = load_file(path)
    name = next(name for name in sorted(tensors) if name.endswith("output.weight"))
    tensors[name] = tensors[name].flip(0).contiguous()
    save_file(tensors, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_changed_weights_are_found_by_their_hash(run: Bench, verify: Bench, tmp_path: Path) -> None:
    run("--attacks", "pgd-5", "--save-adversarials", "float32")
    changed_weights(next(tmp_path.rglob("weights.safetensors")))
    outcome = verify()
    assert (outcome.code, outcome.out.startswith("weights: ")) == (1, True)
    assert verify("--json").json["weights"] is False


def test_changed_weights_that_every_record_vouches_for_are_found_by_their_predictions(
    run: Bench, verify: Bench, tmp_path: Path
) -> None:
    run("--attacks", "pgd-5", "--save-adversarials", "float32")
    sha = changed_weights(next(tmp_path.rglob("weights.safetensors")))
    store, record = attack_cell(tmp_path)
    (trained,) = store.runs()
    store.write_run(dataclasses.replace(trained, weights_sha=sha), None)
    outcome = verify()  # the cells are of other weights now
    assert (outcome.code, outcome.out.count("belongs to other weights")) == (1, 2)
    stored = parse_adversarials(store.read_adversarials(record), record.cell_id, record.weights_sha, where="")
    content = dump_adversarials(stored, record.cell_id, sha)
    store.adversarials_path(record.spec.run_id, record.cell_id).write_bytes(content)
    for cell in store.cells(trained.run_id):
        content_sha = hashlib.sha256(content).hexdigest() if cell.spec.attack else ""
        resign(store, dataclasses.replace(cell, weights_sha=sha, adversarials_sha=content_sha))
    outcome = verify()
    assert (outcome.code, "clean prediction" in outcome.out, "belongs to other weights" in outcome.out) == (
        1,
        True,
        False,
    )


def test_usage(run: Bench, verify: Bench, bench: Bench, tmp_path: Path) -> None:
    outcome = bench("verify", "nothing", "--results", tmp_path)
    assert (outcome.code, "no run 'nothing'" in outcome.err) == (2, True)
    run("--attacks", "fgsm")
    outcome = verify()
    assert (outcome.code, outcome.out) == (2, "")
    assert "--save-adversarials float32" in outcome.err
    run("--attacks", "pgd-5,crash", "--save-adversarials", "float32")
    outcome = verify()
    assert outcome.code == 0
    assert "fgsm@linf-0.1: no adversarial images are stored" in outcome.out
    assert "crash@linf-0.1: the cell is not ok" in outcome.out


def test_no_attack_takes_part(run: Bench, verify: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run("--attacks", "pgd-5", "--save-adversarials", "float32")

    def refuse(*arguments: object) -> None:
        raise AssertionError("an attack was loaded")

    monkeypatch.setattr("bench.attacks.registry.load_function", refuse)
    monkeypatch.setattr("bench.attacks.adapter.load_function", refuse)
    assert verify().code == 0


def test_on_the_boundary_rounding_decides_and_nowhere_else() -> None:
    """Two logits that differ by 1e-7 of the largest may change places between two passes; by 1e-3 they may not."""
    model = torch.nn.Flatten()
    inputs = torch.tensor([[5.0, 5.0 - 1e-6, 0.0], [5.0, 4.99, 0.0], [5.0, 5.0, 0.0]])
    found, same, near = compare_predictions(model, inputs, torch.tensor([1, 1, 7]))
    assert found.tolist() == [0, 0, 0]
    assert (same.tolist(), near.tolist()) == ([True, False, False], [True, False, False])
    found, same, near = compare_predictions(model, inputs, torch.tensor([0, 0, 1]))
    assert (same.tolist(), near.tolist()) == ([True, True, True], [False, False, True])
    found, same, near = compare_predictions(model, torch.tensor([[5.0, 4.0, -1e9]]), torch.tensor([1]))
    assert (same.tolist(), near.tolist()) == ([False], [False])  # a class that is switched off excuses no other


@pytest.mark.parametrize(("eps", "problems"), [(0.25, ()), (0.2, ("a: distance 0.25, beyond eps 0.2",))])
def test_a_stored_image_beyond_the_budget_is_no_certificate(eps: float, problems: tuple[str, ...]) -> None:
    inputs, stored = torch.tensor([0.75, 0.5]).view(1, 1, 1, 2), torch.tensor([0.5, 0.75]).view(1, 1, 1, 2)
    adversarials = Adversarials(["a"], stored, torch.tensor([1]))
    attack = AttackSpec(name="pgd", norm="linf", eps=eps)
    checked = check_float32(torch.nn.Flatten(), inputs, adversarials, [Sample("a", 0, 0, 1, 0.25)], attack)
    assert (checked.true.tolist(), checked.problems) == ([not problems], problems)


def test_an_attack_without_images_is_checked_by_its_clean_predictions(
    run: Bench, verify: Bench, tmp_path: Path
) -> None:
    """Every image is recorded as correctly classified, and the record vouches for it."""
    more = ("--corruptions", "none", "--audit", "none")
    run("--attacks", "pgd-5", *more)
    run("--attacks", "fgsm", "--save-adversarials", "float32", *more)
    assert "its clean predictions agree" in verify().out
    store, record = attack_cell(tmp_path)
    samples = [Sample(s.sample_id, s.label, s.label, s.label, None) for s in store.read_samples(record)]
    n = len(samples)
    store.write_cell(dataclasses.replace(record, n_correct=n, n_attacked=n, max_distance=None), samples)
    outcome = verify()
    assert outcome.code == 1
    assert "clean prediction" in outcome.out
