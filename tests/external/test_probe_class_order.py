"""The probe finds whole and partial permutations of the outputs, and leaves right class orders alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from elsewhere import Outputs, RandomFeatures, colours, declared, digits, images_of, normalised, trained
from torch import nn

from bench.core.errors import BenchError
from bench.core.specs import Preprocessing
from bench.external.class_names import order_from_names, read_class_names
from bench.external.preprocessing import Preprocessed
from bench.external.probe import ProbeReport, probe
from bench.external.reordering import fitted_order

GENERATOR = np.random.default_rng(5)
IDENTITY = tuple(range(10))
PERMUTATIONS = {
    "two swapped": (0, 1, 2, 8, 4, 5, 6, 7, 3, 9),
    "cycle of three": (4, 1, 2, 3, 7, 5, 6, 0, 8, 9),
    "shifted by one": (9, 0, 1, 2, 3, 4, 5, 6, 7, 8),
    "reversed": IDENTITY[::-1],
    "five pairs": (1, 0, 3, 2, 5, 4, 7, 6, 9, 8),
    "any": (3, 9, 1, 7, 0, 6, 2, 8, 5, 4),
}
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def report(network: nn.Module, preprocessing: Preprocessing, names: tuple[str, ...] = ()) -> ProbeReport:
    return probe(network, preprocessing, *images_of("test"), class_names=names, train_moments=digits().moments)


@pytest.mark.parametrize("kind", PERMUTATIONS)
@pytest.mark.parametrize("width", [200, 40])
def test_permutations_are_found(kind: str, width: int) -> None:
    order = PERMUTATIONS[kind]
    network = Outputs(trained("half", width=width), order)
    found = report(network, declared("half"))
    assert found.class_order == order
    moved = [k for k in range(10) if order[k] != k]
    assert f"output {moved[0]} is class {order[moved[0]]}, not class {moved[0]}" in found.problem
    assert ("more)" in found.problem) == (len(moved) > 3)
    assert "clean accuracy on 128 probe images" in found.problem  # those that the order was not fitted on
    assert "give --class-names FILE" in found.problem
    right = replace(declared("half"), class_order=order)
    assert report(network, right).problem == ""
    logits = Preprocessed(network, right)(images_of("test")[0])
    assert (logits.argmax(1) == images_of("test")[1]).float().mean() > 0.8


def test_a_wrong_order_that_was_declared() -> None:
    """The proposed order is that of the outputs, not of the columns that the declared order makes."""
    network = Outputs(trained("half"), PERMUTATIONS["any"])
    found = report(network, replace(declared("half"), class_order=PERMUTATIONS["reversed"]))
    assert found.class_order == PERMUTATIONS["any"]


def test_names_in_the_sentence() -> None:
    found = report(Outputs(trained("half"), PERMUTATIONS["two swapped"]), declared("half"), WORDS)
    assert "(output 3 is 'eight', not 'three', output 8 is 'three', not 'eight')" in found.problem


@pytest.mark.parametrize("seed", range(3))
def test_both_wrong(seed: int) -> None:
    """At chance under the declared pair: both options are named."""
    network = Outputs(trained("cifar10", seed), PERMUTATIONS["shifted by one"])
    found = report(network, declared("none"))
    assert found.class_order == PERMUTATIONS["shifted by one"]
    assert "--normalize " in found.problem
    assert "--class-names FILE" in found.problem


def test_the_larger_of_two_mistakes_is_reported_first() -> None:
    """58 % as declared, 79 % after --normalize, 70 % in the right order; with four classes moved 38, 58 and 70 %."""
    network = trained("none")
    found = report(Outputs(network, PERMUTATIONS["two swapped"]), declared("dataset"))
    assert "--normalize none, or" in found.problem
    assert found.class_order is None
    four = (1, 2, 3, 0, *range(4, 10))
    found = report(Outputs(network, four), declared("dataset"))
    assert found.class_order == four
    assert "--normalize" not in found.problem


def test_classes_without_images_keep_their_declared_order() -> None:
    labels = np.repeat(np.arange(5), 4)
    outputs = np.array([1, 0, 2, 3, 4])[labels]
    for declared_order in (np.arange(10), np.array([0, 1, 2, 3, 4, 9, 8, 7, 6, 5])):
        found = fitted_order(outputs, labels, declared_order)
        assert found is not None
        assert found.order == (1, 0, 2, 3, 4, *declared_order[5:])
        assert found.after.all()


def test_sorted_class_names(tmp_path: Path) -> None:
    """A folder of class names as ImageFolder sorts them: no fit is needed, so that it is found among many classes."""
    names = tuple(str(k) for k in range(100))
    strings = sorted(range(100), key=lambda k: names[k])
    images, labels = colours(3000, seed=1, classes=100)
    network = RandomFeatures(normalised(images, declared("half")), labels, seed=0, width=400, classes=100)
    images, labels = colours(150, seed=2, classes=100)
    found = probe(Outputs(network, strings), declared("half"), images, labels, class_names=names)
    assert found.class_order == tuple(strings)
    assert "with the class names in string order ('0', '1', '10', …)" in found.problem
    assert "--class-order string" in found.problem
    assert any("too few to check the class order" in note for note in found.as_notes)
    (tmp_path / "names").write_text("\n".join(sorted(names)))
    order = order_from_names(read_class_names(tmp_path / "names"), names)
    assert order == found.class_order
    right = replace(declared("half"), class_order=order)
    assert probe(Outputs(network, strings), right, images, labels, class_names=names).problem == ""
    assert probe(network, declared("half"), images, labels, class_names=names).problem == ""


def test_a_right_order_is_never_contradicted() -> None:
    """Networks from weak to accurate, with systematic confusions: not one false alarm."""
    for seed in range(40):
        network = trained("half", seed, width=(10, 20, 40, 200)[seed % 4])
        assert report(network, declared("half"), WORDS).problem == ""


def test_a_wrong_normalisation_is_not_taken_for_a_class_order() -> None:
    """The right one is not among the common ones."""
    for seed in range(30):
        mean, std = GENERATOR.uniform(0, 1, 2), GENERATOR.uniform(0.05, 1, 2)
        true, wrong = (
            Preprocessing(normalization="given", mean=(float(m),), std=(float(s),))
            for m, s in zip(mean, std, strict=True)
        )
        images, labels = images_of("train")
        network = RandomFeatures(normalised(images, true), labels, seed=seed)
        assert report(network, wrong).class_order is None


@pytest.mark.parametrize("order", [(0, 1), (0,) * 10])
def test_a_declared_order_is_a_permutation_of_all_classes(order: tuple[int, ...]) -> None:
    with pytest.raises(BenchError, match="must have each of the classes 0…9 once"):
        report(trained("half"), replace(declared("half"), class_order=order))
