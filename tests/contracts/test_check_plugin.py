"""``bench check-plugin``: wrong plug-ins fail the check of the rule that they break, and no other."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "plugin.py"
LINE = re.compile(r"(?P<entry>\S+ \S+?)( \S+)*: (?P<rule>.+?) … (FAILED: (?P<problem>.+)|ok.*|skipped: .+)")

Problems = dict[str, dict[str, str]]  # entry to rule to problem

ATTACKS = {
    "attack no-source": ("has a summary and a source", "its source is empty; write one line"),
    "attack crashes": ("runs", "it raised ValueError: the attack is broken"),
    "attack no-tensor": ("runs", "it returned ndarray; return a tensor"),
    "attack wrong-type": ("returns images of the same shape and type", "it returned torch.float64 for torch.float32"),
    "attack out-of-ball": ("stays inside the ball and the box", "at linf distance 0.101, beyond eps 0.1; project"),
    "attack out-of-box": ("stays inside the ball and the box", r"outside \[0, 1\]; project"),
    "attack changes-inputs": ("leaves its inputs and labels unchanged", "it changed its inputs in place"),
    "attack changes-labels": ("leaves its inputs and labels unchanged", "it changed its labels in place"),
    "attack hooks": ("leaves the model unchanged", "it changed the model's _forward_hooks "),
    "attack changes-weights": ("leaves the model unchanged", "it changed the model's first, last"),
    "attack trains": ("leaves the model unchanged", "it left the model in training mode"),
    "attack freezes": ("leaves the model unchanged", "it changed requires_grad of the model's first, last"),
    "attack leaves-gradients": ("leaves no gradients behind", "it left gradients in the model's first, last"),
    "attack attached": ("leaves no gradients behind", "its result is attached to a graph"),
    "attack averages": ("independent of the batch", "pixels of images attacked alone differ by up to 0.2"),
    "attack hides-passes": ("costs what its entry states", "it made 20 forward .* states 0 to 0 forward"),
    "attack hides-gradients": ("costs what its entry states", "made 1 forward and 1 backward .* up to 0 backward"),
    "attack no-gradients": ("uses gradients as declared", "it makes no backward pass .* uses_gradient=True"),
    "attack does-not-report": ("stops at max_queries", "did not report which images max_queries stopped"),
    "attack does-not-stop": ("stops at max_queries", "it made 20 forward passes per image with max_queries=3"),
}
MODELS = {
    "model model-no-summary": ("has a summary and a source", "its summary is empty"),
    "model model-fails": ("builds a network", "made for 224 px, not 16"),
    "model model-infinite": ("builds a network", "returns NaN or infinite features at 16 px"),
    "model model-random": ("logits are a function of each image", "differ between two passes"),
    "model model-unseeded": ("equal seeds give equal weights", "two builds with one seed differ in"),
    "model model-detached": ("has a gradient at its input", "is zero for 8 of 8 images"),
    "variant variant-unused": ("trains with a finite loss that moves every parameter", "does not change head.unused"),
    "variant variant-infinite": ("trains with a finite loss that moves every parameter", "the loss became inf"),
    "variant variant-detached": ("trains with a finite loss that moves every parameter", "the penalty has no gradient"),
    "variant variant-vector": (
        "trains with a finite loss that moves every parameter",
        r"returned torch.float32 of shape \(6,\)",
    ),
    "variant variant-number": ("trains with a finite loss that moves every parameter", "the penalty returned int"),
    "variant variant-whole": ("trains with a finite loss that moves every parameter", "returned torch.int64"),
    "variant variant-unseeded": (
        "its training step is repeatable and leaves the model in training mode",
        "two trainings with equal seeds differ",
    ),
    "variant variant-evaluates": (
        "its training step is repeatable and leaves the model in training mode",
        "left model in evaluation mode",
    ),
    "variant variant-unknown-head": ("builds a network", "unknown head 'lineer'; did you mean 'linear'"),
}
DATA = {
    "dataset dataset-no-source": ("has a summary and a source", "its source is empty"),
    "dataset dataset-no-budgets": ("declares what a run needs", "it declares no budgets"),
    "dataset dataset-unsorted-budgets": ("declares what a run needs", "its linf budgets are 0.2, 0.1"),
    "dataset dataset-unknown-norm": ("declares what a run needs", "norm 'l0'; the norms are linf, l2, l1"),
    "dataset dataset-no-epochs": ("declares what a run needs", "its recipe has 0 epochs"),
    "dataset dataset-raises": ("loads", "its loader raised FileNotFoundError: no such file: images.npy"),
    "dataset dataset-no-dataset": ("loads", "its loader returned tuple; return a bench.data.Dataset"),
    "dataset dataset-label-out-of-range": ("ids are unique and labels are classes", "has label 2, outside 0…1"),
    "dataset dataset-float-labels": ("ids are unique and labels are classes", "label"),
    "dataset dataset-equal-ids": ("ids are unique and labels are classes", "two test images have the same id"),
    "dataset dataset-unseeded": ("two loads give the same images", "its train images differ between two loads"),
    "dataset dataset-other-classes": (
        "has the declared number of classes and image size",
        "declares num_classes=3, but its images have 2",
    ),
    "corruption silent": ("draws random numbers as declared", "it draws random numbers, but .* random=False"),
    "corruption loud": ("draws random numbers as declared", "it does not draw random numbers, but .* random=True"),
    "diagnostic diagnostic-undefined": ("returns a number", "it is undefined for plain latents"),
    "diagnostic diagnostic-not-repeatable": ("repeatable", "two calls give"),
    "diagnostic diagnostic-of-two-classes": (
        "returns a number or a reason for odd latents",
        "for latents of one class it raised ValueError",
    ),
    "diagnostic diagnostic-not-invariant": (
        "invariant to the scale of the latents as declared",
        "declare invariant=False",
    ),
}
#: Entries that break several rules at once.
SEVERAL = {
    "attack wrong-shape": "returns images of the same shape and type",
    "attack not-a-number": "stays inside the ball and the box",
    "attack draws-globally": "draws nothing from torch's global generator",
    "dataset dataset-too-bright": "pixels are images in [0, 1]",
    "attack not-repeatable": "repeatable",
    "model model-counter": "logits are a function of each image",
    "model model-batch-dependent": "logits are a function of each image",
    "model model-wrong-type": "features are (N, d) and float32",
    "variant variant-silent": "trains with a finite loss that moves every parameter",
    "variant variant-threat": "trains with a finite loss that moves every parameter",
    "variant variant-narrow": "latents are (N, d) and logits (N, K)",
    "dataset dataset-redrawn": "two reads give the same images",
    "diagnostic diagnostic-float": "returns a number",
    "diagnostic diagnostic-changes-latents": "leaves the latents unchanged",
}
OF_THE_EXAMPLE = (
    "model two_layers", "variant strong", "variant mixup", "attack noise", "corruption dust", "dataset stripes",
    "diagnostic sparsity", "metric clean_error",
)  # fmt: skip
WRONG = [HERE / name for name in ("wrong_attacks.py", "wrong_models.py", "wrong_data.py")]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """Check the example and the wrong plug-ins in a process of their own, since other tests register the same names."""
    command = [sys.executable, "-m", "bench", "check-plugin", "--image-size", "16", str(EXAMPLE), *map(str, WRONG)]
    shown = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert shown.returncode == 1, shown.stderr
    return shown.stdout.splitlines()


@pytest.fixture(scope="module")
def problems(lines: list[str]) -> Problems:
    """Return every entry with what it fails."""
    found: Problems = {}
    for line in lines[:-1]:
        match = LINE.fullmatch(line)
        assert match, line
        rules = found.setdefault(match["entry"], {})
        if match["problem"]:
            rules[match["rule"]] = match["problem"]
    return found


@pytest.mark.parametrize("entry", [*ATTACKS, *MODELS, *DATA])
def test_a_wrong_entry_fails_its_rule_and_no_other(entry: str, problems: Problems) -> None:
    rule, problem = {**ATTACKS, **MODELS, **DATA}[entry]
    assert list(problems[entry]) == [rule], problems[entry]
    assert re.search(problem, problems[entry][rule]), problems[entry][rule]


@pytest.mark.parametrize("entry", SEVERAL)
def test_an_entry_that_breaks_several_rules(entry: str, problems: Problems) -> None:
    assert SEVERAL[entry] in problems[entry], problems[entry]


def test_good_entries_pass_and_every_wrong_one_is_expected(problems: Problems) -> None:
    good = {entry for entry, rules in problems.items() if not rules}
    kinds = ("model model", "variant variant", "dataset dataset", "diagnostic diagnostic")
    assert good == {"attack good", *(f"{kind}-good" for kind in kinds), *OF_THE_EXAMPLE}
    assert set(problems) - good == {*ATTACKS, *MODELS, *DATA, *SEVERAL}


def test_the_example_passes_with_one_line_per_check(lines: list[str], problems: Problems) -> None:
    assert [problems[entry] for entry in OF_THE_EXAMPLE] == [{}] * len(OF_THE_EXAMPLE)
    assert "attack noise linf: stays inside the ball and the box … ok" in lines
    *checks, summary = lines
    assert len(set(checks)) == len(checks)
    failed = sum("… FAILED: " in line for line in checks)
    assert summary == f"{len(checks) - failed} checks passed, {failed} failed, 0 skipped"


def test_bad_input_is_one_sentence(bench: Callable[..., Any], tmp_path: Path) -> None:
    empty, broken = tmp_path / "empty.py", tmp_path / "broken.py"
    empty.write_text("import bench.attacks\n")
    broken.write_text("1 / 0\n")
    for file, says in (
        (tmp_path / "none.py", "does not exist"),
        (broken, "failed: ZeroDivisionError"),
        (empty, "registers no model, variant, attack, corruption, dataset, diagnostic or metric"),
    ):
        shown = bench("check-plugin", file)
        assert shown.code == 2
        assert says in shown.err
        assert len(shown.err.splitlines()) == 1
    assert bench("check-plugin").code == 2


def test_a_data_set_whose_files_are_elsewhere_is_skipped(bench: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "own_files.py"
    file.write_text(
        "from bench.core.specs import Recipe\n"
        "from bench.data import DATASETS\n"
        "from bench.data.mnist import load_mnist\n"
        "from bench.data.registry import DatasetEntry\n"
        "entry = DatasetEntry(summary='s', source='s', load=load_mnist, num_classes=10, image_size=28,\n"
        "    eps={'linf': ('0.1',)}, recipe=Recipe(epochs=1), costly_limit=5)\n"
        "DATASETS.register('own-files', entry, origin=__file__)\n"
    )
    shown = bench("check-plugin", file)
    assert shown.code == 0
    assert "dataset own-files: loads … skipped: without --data-dir: " in shown.out
    assert shown.out.endswith("2 checks passed, 0 failed, 1 skipped\n")
