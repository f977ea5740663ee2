"""Test the changes of a step of the Square Attack: windows, patterns, and the length that moves between them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from squares import begun, grey, published, samples, told
from torch import Tensor

from bench.attacks.square_attack import Square
from bench.attacks.square_windows import pattern, window_sizes


def share(query: int) -> float:
    """P after ``query`` queries, over p_init, as the paper's program has it."""
    last = 1.0
    for after, halved in ((10, 2), (50, 4), (200, 8), (500, 16), (1000, 32), (2000, 64), (4000, 128), (6000, 256)):
        last = 1 / halved if query > after else last
    return 1 / 512 if query > 8000 else last


STEPS = [0, 10, 11, 50, 51, 200, 201, 500, 501, 1000, 1001, 2000, 2001, 4000, 4001, 6000, 6001, 8000, 8001, 20000]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (13, 20)])
def test_windows_are_squares_of_the_published_size_anywhere_but_at_the_far_edge(height: int, width: int) -> None:
    """All at once: the samples of a batch stand at different steps."""
    steps = torch.tensor(STEPS).repeat(60)
    inputs = grey(len(steps), height, width)
    search = Square("linf", 0.1)
    state = replace(begun(search, samples(inputs)), points=inputs, best=inputs, step=steps)
    changed = told(search, state, -1.0).points != inputs
    assert (changed == changed[:, :1]).all()
    rows, columns = changed[:, 0].any(2), changed[:, 0].any(1)
    expected = torch.tensor([round(math.sqrt(0.8 * share(step) * height * width)) for step in steps.tolist()])
    expected = expected.clamp(1, min(height, width))
    assert torch.equal(rows.sum(1), expected)
    assert torch.equal(columns.sum(1), expected)
    assert torch.equal(changed[:, 0].sum((1, 2)), expected**2)
    for lines, length in ((rows, height), (columns, width)):
        first = lines.int().argmax(1)
        assert torch.equal(length - lines.flip(1).int().argmax(1) - first, expected)
        room = (length - expected).clamp_min(1)
        assert (first < room).all()
        assert (first == 0)[expected <= 5].any()
        assert (first == room - 1)[expected <= 5].any()
        middle = (first + 0.5) / room
        assert abs(middle.mean().item() - 0.5) < 4 * math.sqrt(1 / 12 / len(steps))


def test_sizes_are_those_of_the_published_program() -> None:
    theirs = published("linf", 0.1, 5000)
    for step in range(10001):
        assert theirs.p_selection(step) == 0.8 * share(step)
    assert window_sizes("linf", 0.8, 32, 32) == (29, 20, 14, 10, 7, 5, 4, 3, 2, 1)
    assert window_sizes("l2", 0.8, 32, 32) == (29, 21, 15, 11, 7, 5, 5, 3, 3, 3)
    assert window_sizes("l2", 1.0, 6, 9) == (6, 5, 5, 3, 3, 3, 3, 3, 3, 3)
    assert window_sizes("linf", 0.8, 1, 1) == (1,) * 10


def test_a_linf_window_has_one_sign_a_channel() -> None:
    inputs = grey(200)
    search = Square("linf", 0.1)
    state = replace(begun(search, samples(inputs)), points=inputs, best=inputs)
    sign = (told(search, state, -1.0).points - inputs).sign()
    high, low = sign.amax((2, 3)), sign.amin((2, 3))
    assert ((high > 0) ^ (low < 0)).all()
    assert len({tuple(row.tolist()) for row in high + low}) == 8
    assert abs((high + low).mean().item()) < 4 / math.sqrt(600)


@pytest.mark.parametrize("side", [1, 2, 3, 5, 6, 7, 11, 21, 32])
def test_the_pattern_is_the_published_one(side: int) -> None:
    ours, theirs = pattern(side), published("l2", 1.0, 0).eta(side).double()
    assert ours.norm().item() == pytest.approx(1)
    assert min((ours - theirs).abs().max(), (ours.T - theirs).abs().max()) < 1e-6


@pytest.mark.parametrize(("step", "after_step"), [(30, 10), (60, 50), (1500, 1000)])
def test_an_l2_step_moves_length_into_one_window_as_the_paper_says(step: int, after_step: int) -> None:
    """From 0.8 ε, as the walls may leave it, to ε; the last scaling does nothing, since the walls are far.

    No window is a tile of the start: where δ is −η, ν is 0.
    """
    inputs = grey(40, 20, 20)
    search = Square("l2", 0.3)
    state = replace(begun(search, samples(inputs)), step=torch.full((40,), step))
    for turn in range(8):
        state = told(search, state, float(turn))
    state = replace(state, points=inputs + 0.8 * (state.points - inputs))
    after = told(search, state, 100.0)
    was, now = state.points - inputs, after.points - inputs
    size = window_sizes("l2", 0.8, 20, 20)[[0, 10, 50, 200, 500, 1000, 2000].index(after_step)]
    assert torch.allclose(now.square().sum((2, 3)), was.square().sum((2, 3)) + 0.36 * 0.3**2 / 3)
    orientations, emptied = set(), 0
    for before, then in zip(was, now, strict=True):
        changed = (then - before).abs().amax(0) > 1e-9
        window = changed & (then.abs().amax(0) > 1e-9)
        top, left = int(window.any(1).int().argmax()), int(window.any(0).int().argmax())
        inside = (slice(None), slice(top, top + size), slice(left, left + size))
        assert window.sum() == window[inside[1:]].sum()
        old = before[inside] / before[inside].flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None]
        new = then[inside] / then[inside].flatten(1).norm(dim=1)[:, None, None]
        fits = [
            (unit(old + eta) - new).abs().amax((1, 2)) < 1e-6
            for eta in (pattern(size), -pattern(size), pattern(size).T, -pattern(size).T)
        ]
        stands, lies = (fits[0] | fits[1]).all().item(), (fits[2] | fits[3]).all().item()
        assert stands or lies
        orientations |= {stands}
        source = changed & ~window
        rows, columns = source.any(1).sum(), source.any(0).sum()
        assert max(rows, columns) <= size
        emptied += int(source.any())
    assert orientations == {True, False}
    assert emptied > 10


def unit(values: Tensor) -> Tensor:
    return values / values.flatten(1).norm(dim=1)[:, None, None]
