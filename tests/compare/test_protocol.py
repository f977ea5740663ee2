"""Two numbers may be compared only where everything that makes them agrees; each difference has its reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bench.compare.lpc_published import published_lpc
from bench.compare.published_rows import board_protocol, lpc_lines, robustbench_lines
from bench.compare.robustbench import published_models
from bench.compare.rows import CORRUPTIONS, DEEPFOOL, Protocol, mismatches

OURS = Protocol(dataset="cifar10", n=10_000, n_clean=10_000, measure="autoattack", norm="linf", eps=8 / 255)
CORRUPTED = Protocol(
    dataset="cifar10", n=10_000, n_clean=10_000, measure=CORRUPTIONS, source="official", cells=75
)  # fmt: skip


def test_the_boards_are_what_robustbench_says() -> None:
    assert board_protocol("cifar10", "Linf") == OURS
    assert board_protocol("cifar10", "L2") == dataclasses.replace(OURS, norm="l2", eps=0.5)
    assert board_protocol("cifar10", "corruptions") == CORRUPTED
    assert board_protocol("imagenet", "Linf").eps == 4 / 255
    assert board_protocol("imagenet", "corruptions").n == 5_000
    assert board_protocol("cifar10", "Linf", "0.031").eps == 0.031


@pytest.mark.parametrize("protocol", [OURS, CORRUPTED])
def test_equal_protocols_agree(protocol: Protocol) -> None:
    assert mismatches(protocol, dataclasses.replace(protocol)) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dataset": "cifar10-jpeg"}, "cifar10-jpeg is not cifar10"),
        ({"official": False}, "not the official files, by checksum"),
        ({"n": 1000, "n_clean": 1000}, "n = 1000, published on 10,000"),
        ({"n": 9_999, "n_clean": 9_999}, "n = 9999, published on 10,000"),
        ({"n_clean": 1000}, "clean n = 1000, published on 10,000"),
        ({"n_clean": None}, "no clean accuracy, published on 10,000"),
        ({"norm": "l2"}, "l2 is not linf"),
        ({"eps": 4 / 255}, "eps 4/255, published at 8/255"),
        ({"eps": 0.031}, "eps 0.031, published at 8/255"),
        ({"measure": "pgd-20"}, "pgd-20 is not autoattack"),
        ({"measure": "autoattack-q500"}, "autoattack-q500 is not autoattack"),
        ({"protocol": "prefiltered"}, "protocol prefiltered, published as standard"),
        ({"precision": "bf16"}, "searched in bf16, which may miss adversarial images that fp32 finds"),
    ],
)
def test_each_difference_alone_is_refused_with_its_reason(change: dict[str, Any], reason: str) -> None:
    assert mismatches(dataclasses.replace(OURS, **change), OURS) == [reason]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": "generated"}, "corrupted images generated, published on the official files"),
        ({"cells": 74}, "74 of the 75 standard kinds and severities"),
        ({"official": False}, "not the official files, by checksum"),
        ({"n": 500, "n_clean": 500}, "n = 500, published on 10,000"),
    ],
)
def test_so_it_is_of_corruptions(change: dict[str, Any], reason: str) -> None:
    assert mismatches(dataclasses.replace(CORRUPTED, **change), CORRUPTED) == [reason]


def test_every_reason_is_given() -> None:
    ours = dataclasses.replace(OURS, dataset="digits", n=500, n_clean=500, eps=0.1, official=False)
    assert mismatches(ours, OURS) == [
        "digits is not cifar10",
        "not the official files, by checksum",
        "n = 500, published on 10,000",
        "eps 0.1, published at 8/255",
    ]


def test_a_list_of_images_of_their_own_is_never_ours() -> None:
    theirs = board_protocol("imagenet", "Linf")
    ours = dataclasses.replace(theirs, subset="")
    assert mismatches(ours, theirs) == ["published on RobustBench's own list of 5,000 validation images"]


def test_a_published_ratio_on_nobody_knows_how_many_images_is_never_comparable() -> None:
    for line in lpc_lines(published_lpc()):
        for n in (100, 1000):
            ours = Protocol(dataset=line.protocol.dataset, n=n, n_clean=n, measure=DEEPFOOL, norm="l2")
            assert mismatches(ours, line.protocol) == [
                "published on an unclear number of images: 100 in the text, 1000 in the code"
            ]


def test_robustbenchs_own_doubts_and_notes_stand_in_the_line() -> None:
    gowal = next(model for model in published_models() if model.external is not None)
    (line,) = robustbench_lines([dataclasses.replace(gowal, unreliable=True, additional_data=True)])
    assert (line.flags, line.bound, line.robust, line.autoattack) == (("unreliable",), "≤", 58.50, 58.63)
    assert line.notes == (
        "robust accuracy under an attack other than AutoAttack (under AutoAttack: 58.63)", "additional training data",
    )  # fmt: skip
    (other,) = robustbench_lines([dataclasses.replace(gowal, eps="0.031")])
    assert other.protocol == dataclasses.replace(OURS, eps=0.031)
    (alexnet,) = robustbench_lines(m for m in published_models() if m.model == "AlexNet")
    assert (alexnet.notes, alexnet.flags, alexnet.protocol.eps) == (("mCE 100.00",), (), None)


def test_every_network_of_the_tables_has_its_ratio_and_its_accuracy() -> None:
    lines = lpc_lines(published_lpc())
    assert len(lines) == 9 * 3
    (wide,) = [line for line in lines if line.model.startswith("WideIB") and line.protocol.dataset == "svhn"]
    assert (wide.clean, wide.robust) == (96.65, 0.228)
    (ours,) = [line for line in lines if line.model.startswith("IB") and line.protocol.dataset == "cifar100"]
    assert (ours.model, ours.clean, ours.robust) == ("IB, in this project lpc", 77.90, 0.247)
