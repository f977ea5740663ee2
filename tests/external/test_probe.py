"""The probe finds a wrong normalisation and leaves a right one alone; McNemar's test is recomputed with scipy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from elsewhere import Fed, Outputs, RandomFeatures, colours, declared, digits, images_of, normalised, trained
from scipy.stats import binomtest
from torch import nn

from bench.core.errors import BenchError
from bench.core.specs import Preprocessing
from bench.external.preprocessing import NORMALIZATIONS, parse_normalization
from bench.external.probe import ALPHA, MARGIN, PROBE_IMAGES, ProbeReport, probe

COMMON = ("imagenet", "half", "cifar10", "none", "dataset")
SHAPES = ({}, {"width": 30}, {"width": 15})  # of networks: accurate, fair, weak


def report(network: nn.Module, preprocessing: Preprocessing, **options: Any) -> ProbeReport:
    images, labels = images_of("test")
    known = {"class_names": digits().class_names, "train_moments": digits().moments}
    return probe(network, preprocessing, images, labels, **known | options)


def test_a_right_normalisation_is_never_contradicted() -> None:
    """50 networks of three sizes under five normalisations: not one false alarm."""
    problems = []
    for seed in range(50):
        name = COMMON[seed % 5]
        found = report(trained(name, seed, **SHAPES[seed % 3]), declared(name))
        assert len(found.declared.correct) == PROBE_IMAGES == 256
        assert found.declared.accuracy > 0.5
        problems += [found.problem] if found.problem else []
    assert problems == []


@pytest.mark.parametrize("true", COMMON)
@pytest.mark.parametrize("wrong", COMMON)
def test_a_wrong_normalisation_is_found(true: str, wrong: str) -> None:
    """A problem is reported exactly where scipy's binomial test and the margin say so, with the way out."""
    images, labels = images_of("test")
    for seed in range(3):
        network = trained(true, seed, **SHAPES[seed])
        found = report(network, declared(wrong))
        accuracy = {}
        for name in {*NORMALIZATIONS, "dataset"}:
            correct = network(normalised(images, declared(name))).argmax(1) == labels
            accuracy[name] = correct.numpy()
        assert found.declared.accuracy == accuracy[wrong].mean()
        gains = {name: right.mean() - accuracy[wrong].mean() for name, right in accuracy.items()}
        better = {name for name, gain in gains.items() if gain > MARGIN and _p(accuracy[wrong], accuracy[name]) < ALPHA}
        assert bool(found.problem) == bool(better)
        assert found.class_order is None
        if gains[true] > 0.1:
            assert better
        if better:
            option = found.problem.split("--normalize ")[1].split(",")[0]
            assert option in better
            assert gains[option] == max(gains.values())
            assert f"{100 * accuracy[wrong].mean():.1f} % under" in found.problem
            assert f"{100 * accuracy[option].mean():.1f} % under" in found.problem
            assert "--trust-normalization" in found.problem
            assert found.as_notes[-1] == f"probe: {found.problem.rstrip('.')}"
            assert report(network, declared(option)).problem == ""


def _p(before: np.ndarray, after: np.ndarray) -> float:
    n_regressed, n_improved = int((before & ~after).sum()), int((~before & after).sum())
    return float(binomtest(n_improved, n_regressed + n_improved, 0.5).pvalue) if n_regressed + n_improved else 1.0


def test_images_that_were_not_divided_by_255() -> None:
    images, labels = images_of("train")
    network = RandomFeatures(normalised(255 * images, declared("half")), labels, seed=0)
    found = report(network, declared("half"))
    way_out = found.problem.split("--normalize ")[1].split(", or")[0]
    assert "half on the 0–255 scale" in found.problem
    name, mean, std = parse_normalization(way_out, None)
    right = report(network, Preprocessing(normalization=name, mean=mean, std=std))
    assert right.declared.accuracy > 0.9
    assert right.problem == ""


def test_blue_green_red() -> None:
    images, labels = colours(1000, seed=1)
    for bgr in (False, True):
        fed = normalised(images, declared("imagenet"))
        network = RandomFeatures(fed.flip(1) if bgr else fed, labels, seed=0)
        found = probe(network, declared("imagenet"), *colours(256, seed=2))
        assert ("imagenet in BGR channel order" in found.problem) == bgr
        assert bool(found.problem) == bgr
        assert any("BGR" in line for line in found.lines)


def test_grey_images_have_no_other_channel_order() -> None:
    assert not any("BGR" in line for line in report(trained("half"), declared("half")).lines)


def test_a_network_with_one_channel() -> None:
    preprocessing = declared("dataset", channels=1)
    images, labels = images_of("train")
    network = RandomFeatures(normalised(images.mean(1, keepdim=True), preprocessing), labels, seed=0)
    assert report(network, preprocessing).problem == ""
    assert "--normalize dataset" in report(network, declared("none", channels=1)).problem
    small = replace(preprocessing, mean=(0.001, 0.002, 0.003), std=(0.001, 0.002, 0.003))  # of three channels
    assert "--normalize dataset" in report(network, small).problem


class Pooled(nn.Module):
    """A network for any size that expects ``side``: patches of side/4 pixels are its features."""

    def __init__(self, side: int, strict: bool = False) -> None:
        super().__init__()
        images, labels = colours(1000, seed=1, side=side)
        self.side, self.strict = side, strict
        self.inner = RandomFeatures(self.pool(normalised(images, declared("imagenet"))), labels, seed=0)

    def pool(self, fed: torch.Tensor) -> torch.Tensor:
        part = nn.functional.pad(fed, (0, self.side, 0, self.side))[:, :, : self.side, : self.side]
        return nn.functional.avg_pool2d(part, self.side // 4)

    def forward(self, fed: torch.Tensor) -> torch.Tensor:
        if self.strict and fed.shape[-1] != self.side:
            raise AssertionError("wrong size")
        return self.inner(self.pool(fed))


@pytest.mark.parametrize("normalization", ["imagenet", "none"])
def test_a_size_from_the_config_that_the_network_was_not_trained_at(normalization: str) -> None:
    """The declared normalisation may be wrong at the same time."""
    found = probe(Pooled(16), declared(normalization, input_size=48), *colours(256, seed=2))
    assert f"{'' if normalization == 'imagenet' else '--normalize imagenet '}--input-size 16, or" in found.problem
    assert "under imagenet at 16×16" in found.problem
    assert probe(Pooled(16), declared("imagenet", input_size=None), *colours(256, seed=2), config_size=48).problem == ""


def test_a_size_from_the_config_that_is_not_fed() -> None:
    images, labels = colours(256, seed=2)
    found = probe(Pooled(48), declared("imagenet"), images, labels, config_size=48)
    assert "--input-size 48, or" in found.problem


def test_a_network_that_refuses_the_other_size() -> None:
    found = probe(Pooled(16, strict=True), declared("imagenet"), *colours(256, seed=2), config_size=48)
    assert found.problem == ""
    assert "imagenet at 48×48: the network cannot run it (AssertionError)" in found.notes
    assert set(found.notes) <= set(found.as_notes)
    with pytest.raises(BenchError, match="AssertionError: wrong size"):  # as declared it must run
        probe(Pooled(16, strict=True), declared("imagenet", input_size=48), *colours(256, seed=2))


def test_another_stem() -> None:
    """Blurred images stand for the features of another stem; it is reported only if it is the better one."""
    images, labels = images_of("test")
    train, truth = images_of("train")
    fed = normalised(train, declared("none"))
    plain = RandomFeatures(fed, truth, seed=0)

    def pooled(images: torch.Tensor) -> torch.Tensor:
        return nn.functional.max_pool2d(images, 3, 1, 1)

    of_pooled = RandomFeatures(pooled(fed), truth, seed=0)
    wrong, right = Fed(of_pooled, nn.Identity()), Fed(of_pooled, pooled)
    found = report(wrong, declared("none"), other_stem=("native", right))
    accuracy = float((right(images).argmax(1) == labels).float().mean())
    assert f"and {100 * accuracy:.1f} % under none with the native stem; give --stem native, or" in found.problem
    assert report(right, declared("none"), other_stem=("small", wrong)).problem == ""
    assert report(plain, declared("none"), other_stem=("small", Failing())).problem == ""


class Failing(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise ValueError("too small")


def test_untrained_networks_are_at_chance_and_nothing_else() -> None:
    """Neither another preprocessing nor another class order is proposed for what has learnt nothing."""
    for seed in range(40):
        torch.manual_seed(seed)
        network = trained("dataset", seed, width=100)
        network.head = nn.Parameter(torch.randn(101, 10))
        assert report(network, declared(COMMON[seed % 5])).problem == ""


def test_random_labels_are_at_chance_and_nothing_else() -> None:
    images, labels = images_of("train")
    for seed in range(20):
        mixed = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
        network = RandomFeatures(normalised(images, declared("half")), mixed, seed=seed)
        assert report(network, declared("half")).problem == ""


def test_a_constant_answer_is_not_better() -> None:
    """Under 'none' the network answers the most frequent class, for nine of ten images."""
    images = torch.rand(200, 3, 4, 4, generator=torch.Generator().manual_seed(0)) / 100
    labels = (torch.arange(200) % 10 == 0).long()
    network = Fed(nn.Identity(), lambda fed: torch.stack([fed.mean((1, 2, 3)) + 0.5, torch.zeros(len(fed))], dim=1))
    found = probe(network, declared("imagenet"), images, labels)
    assert found.declared.accuracy == 0.1
    assert max(trial.accuracy for trial in found.others) == 0.9
    assert found.problem == ""


def test_logits_that_are_no_numbers_are_wrong() -> None:
    network = Fed(nn.Identity(), lambda fed: fed.mean((2, 3)) * float("nan"))
    labels = torch.full((30,), 2)  # the last class, index −1
    found = probe(network, declared("none"), torch.rand(30, 3, 4, 4), labels)
    assert found.declared.accuracy == 0
    assert found.problem == ""


@pytest.mark.parametrize(("outputs", "shape"), [(1000, r"\(1, 1000\)"), (9, r"\(1, 9\)"), (1, r"\(1, 1\)")])
def test_another_number_of_outputs_is_refused(outputs: int, shape: str) -> None:
    network = Outputs(trained("half"), [k % 10 for k in range(outputs)])
    with pytest.raises(BenchError, match=rf"has shape {shape}, but the data set has 10 classes; it must be \(1, 10\)"):
        report(network, declared("half"))


def test_few_images_prove_nothing() -> None:
    images, labels = images_of("test")
    found = probe(trained("none", width=15), declared("half"), images[:8], labels[:8], num_classes=10)
    assert max(trial.accuracy for trial in found.others) - found.declared.accuracy > MARGIN
    assert found.problem == ""


def test_table_and_notes() -> None:
    found = report(trained("half"), declared("half"))
    assert found.lines[0] == "clean accuracy on 256 probe images by preprocessing:"
    assert found.lines[1].split()[:2] == ["half", "(declared)"]
    assert len(found.lines) == 2 + len(found.others) == 8  # clip, imagenet, cifar10, none, data set, 0–255
    assert all(line.endswith(" %") for line in found.lines[1:])
    (note,) = found.as_notes
    assert note.startswith(f"probe of 256 images: {100 * found.declared.accuracy:.1f} % under half; best of 6 others: ")
    named = replace(declared("half"), normalization="given")
    assert "the given mean and std (declared)" in report(trained("half"), named).lines[1]
