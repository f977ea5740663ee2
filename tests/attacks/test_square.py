"""The Square Attack against what is known of its points, windows and linear models, and against the authors' code."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from helpers import LinearModel
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from attacks.active import ask, hunt
from attacks.prepared import Prepared
from attacks.search import Answer, Samples, take
from attacks.square import Square, SquareState
from attacks.square_pattern import pattern
from attacks.square_windows import window_sizes
from bench.core.specs import Norm

NORMS = ("linf", "l2", "l1")
THEIRS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def samples(inputs: Tensor, labels: Tensor | None = None, *, first_key: int = 1) -> Samples:
    count = len(inputs)
    labels = torch.zeros(count, dtype=torch.int64) if labels is None else labels
    keys = (torch.arange(count) + first_key) * 0x1234567
    return Samples(inputs, labels, keys, torch.zeros(count, 2, dtype=torch.int64))


def noise(count: int, height: int = 10, width: int = 10, dtype: torch.dtype = torch.float64) -> Tensor:
    """From wall to wall: a third of the values lie at the walls."""
    generator = torch.Generator().manual_seed(height + width)
    return (torch.rand(count, 3, height, width, generator=generator).double() * 1.5 - 0.25).clamp(0, 1).to(dtype)


def grey(count: int, height: int = 10, width: int = 10) -> Tensor:
    return 0.5 + 0.01 * (noise(count, height, width) - 0.5)


def begun(search: Square, chosen: Samples) -> SquareState:
    return search.start(chosen, torch.zeros_like(chosen.labels))


def told(search: Square, state: SquareState, loss: Tensor | float) -> SquareState:
    """The state after a model of two classes has said that the loss is ``loss``."""
    loss = torch.as_tensor(loss).expand(len(state.points))
    return search.advance(state, Answer(torch.stack((-loss, torch.zeros_like(loss)), 1), loss, None))


def published(norm: str, eps: float, queries: int, model: nn.Module | None = None) -> SquareAttack:
    """As the standard version of the authors' AutoAttack calls it."""
    model = model or nn.Sequential(nn.Flatten(), nn.LazyLinear(2, dtype=torch.float64))
    return SquareAttack(model, norm=THEIRS[norm], n_queries=queries, eps=eps, resc_schedule=False)


@lru_cache
def network(classes: int = 5, side: int = 10) -> nn.Module:
    """A small random network, whose classes are equally likely on ``noise``."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        model = nn.Sequential(features, nn.Flatten(), nn.Linear(8 * (side // 2) ** 2, classes)).double().eval()
    model.requires_grad_(False)
    model[-1].bias -= model(noise(64, side, side)).mean(0)
    return model


# Points


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("norm", "eps"),
    [("linf", 8 / 255), ("linf", 0.4), ("linf", 2), ("l2", 0.5), ("l2", 50), ("l1", 3), ("l1", 900)],
)
def test_every_point_lies_in_ball_and_box(norm: Norm, eps: float, dtype: torch.dtype) -> None:
    """In exact arithmetic as far as float64 tells, and Linf on the ends of the range of every value."""
    inputs = noise(40, 11, 14, dtype)
    search = Square(norm, eps)
    state = begun(search, samples(inputs))
    generator = torch.Generator().manual_seed(3)
    for _ in range(40):
        delta = state.points.double() - inputs.double()
        assert state.points.dtype == dtype
        assert state.points.min() >= 0
        assert state.points.max() <= 1
        if norm == "linf":
            assert delta.abs().max() <= eps
            inner = (state.points > 0) & (state.points < 1)
            assert (delta.abs()[inner] >= eps - 1e-6).all()
        else:
            assert delta.flatten(1).norm(dim=1, p=2 if norm == "l2" else 1).max() <= eps * (1 + 1e-15)
        state = told(search, state, torch.randn(40, generator=generator).double())
        state = replace(state, step=torch.randint(9000, (40,), generator=generator))


@pytest.mark.parametrize("norm", NORMS)
def test_a_radius_of_zero_changes_nothing(norm: Norm) -> None:
    inputs = noise(3)
    search = Square(norm, 0.0)
    state = begun(search, samples(inputs))
    assert torch.equal(state.points, inputs)
    assert torch.equal(told(search, state, -1.0).points, inputs)


def test_the_linf_start_has_stripes_from_top_to_bottom() -> None:
    inputs = grey(50)
    delta = begun(Square("linf", 0.1), samples(inputs)).points - inputs
    assert torch.allclose(delta.abs(), torch.tensor(0.1).double())
    sign = delta.sign()
    assert (sign == sign[:, :, :1]).all()
    assert abs(sign[:, :, 0].mean().item()) < 4 / math.sqrt(50 * 3 * 10)
    assert len({tuple(row.flatten().tolist()) for row in sign[:, :, 0]}) == 50


@pytest.mark.parametrize("side", [10, 16, 32])
def test_the_l2_start_is_the_published_one_up_to_signs_and_orientations(side: int) -> None:
    inputs = torch.full((30, 3, side, side), 0.5).double()
    ours = begun(Square("l2", 0.5), samples(inputs)).points - inputs
    theirs = published("l2", 0.5, 0)
    theirs.init_hyperparam(inputs)
    with torch.random.fork_rng():
        expected = theirs.attack_single_run(inputs, torch.zeros(30, dtype=torch.int64))[1].detach() - inputs
    assert torch.equal(ours != 0, expected != 0)
    assert torch.allclose(ours.abs().flatten(1).sort().values, expected.abs().flatten(1).sort().values, atol=1e-7)
    assert torch.allclose(ours.flatten(1).norm(dim=1), torch.tensor(0.5).double())
    tile, margin = side // 5, side % 5 // 2
    corner = ours[:, :, margin : margin + tile, margin : margin + tile]
    upright = pattern(tile) / pattern(tile)[0, 0]
    scaled = corner / corner[:, :, :1, :1]
    lies = (scaled - upright.T).abs().amax((1, 2, 3)) < 1e-6
    stands = (scaled - upright).abs().amax((1, 2, 3)) < 1e-6
    assert (lies ^ stands).all()
    assert lies.any()
    assert stands.any()
    assert abs(corner[:, :, 0, 0].sign().mean()) < 4 / math.sqrt(90)


# Windows


def share(query: int) -> float:
    """p after ``query`` queries, over p_init, as the paper's program has it."""
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


# The search


@pytest.mark.parametrize("norm", NORMS)
def test_draws_belong_to_the_sample_its_step_and_the_stage(norm: Norm) -> None:
    inputs = grey(1).expand(6, -1, -1, -1)
    base = samples(inputs)
    same = replace(base, keys=base.keys[[0, 0, 2, 3, 4, 5]])
    search = Square(norm, 0.1)
    state = begun(search, same)
    after = told(search, state, -1.0)
    for points in (state.points, after.points):
        assert torch.equal(points[0], points[1])
        assert len({tuple(point.flatten().tolist()) for point in points}) == 5
    again = told(search, replace(state, step=torch.ones(6, dtype=torch.int64)), -1.0)
    assert not torch.equal(again.points, after.points)
    assert not torch.equal(begun(Square(norm, 0.1, stage="other"), same).points, state.points)
    assert not torch.equal(search.start(same, torch.ones(6, dtype=torch.int64)).points, state.points)


@pytest.mark.parametrize("norm", NORMS)
def test_the_best_point_is_kept_and_the_loss_never_falls(norm: Norm) -> None:
    model, inputs = network(), noise(20)
    search = Square(norm, 0.05)
    state = begun(search, samples(inputs, model(inputs).argmax(1)))
    seen, started = [], None
    for _ in range(80):
        answer = ask(search, model, state)
        seen.append(answer.loss)
        started = answer.loss if started is None else started
        state = search.advance(state, answer)
        assert torch.equal(state.best_loss, torch.stack(seen).amax(0))
        at_best = model(state.best)
        assert torch.allclose(search.loss(state, at_best), state.best_loss, atol=1e-9)
    assert started is not None
    assert (state.best_loss > started).all()


def test_the_loss_is_the_margin_to_the_best_other_class() -> None:
    state = begun(Square("linf", 0.1), samples(grey(3), torch.tensor([0, 2, 1])))
    logits = torch.tensor([[3.0, 1, 2], [3, 1, 2], [2, 2, 0]])
    assert Square("linf", 0.1).loss(state, logits).tolist() == [-1, 1, 0]
    assert Square("linf", 0.1).breaks(state, logits).tolist() == [False, True, True]


@pytest.mark.parametrize("norm", NORMS)
def test_a_linear_model_is_broken_where_it_can_be(norm: Norm) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3 * 6 * 6, generator=generator).double()
    inputs = grey(8, 6, 6)
    model = LinearModel(weight, bias=-0.5 * weight.sum().item() + 1)
    labels, margin = model(inputs).argmax(1), model.margin(inputs, norm)
    below, above = margin.min().item() * 0.999, margin.max().item() * {"linf": 2.5, "l2": 4, "l1": 8}[norm]
    never = hunt(Square(norm, below, queries=300), model, samples(inputs, labels), batch_size=8)
    assert not never.broken.any()
    assert torch.equal(never.adversarial, inputs)
    found = hunt(Square(norm, above, queries=300), model, samples(inputs, labels), batch_size=8)
    assert found.broken.all()
    assert (model(found.adversarial).argmax(1) != labels).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_outcome_depends_neither_on_the_batch_nor_on_the_order(norm: Norm) -> None:
    model, inputs = network(), noise(24)
    every = samples(inputs, model(inputs).argmax(1))
    search = Square(norm, {"linf": 0.02, "l2": 0.4, "l1": 5.0}[norm], queries=30)
    whole = hunt(search, model, every, batch_size=64)
    assert 5 <= whole.broken.sum() <= 19
    for batch_size in (1, 7):
        found = hunt(search, model, every, batch_size=batch_size)
        assert torch.equal(found.broken, whole.broken)
        assert torch.equal(found.adversarial, whole.adversarial)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    shuffled = hunt(search, model, take(every, order), batch_size=7)
    assert torch.equal(shuffled.broken, whole.broken[order])
    assert torch.equal(shuffled.adversarial, whole.adversarial[order])


@pytest.mark.parametrize("queries", [0, 1, 12])
@pytest.mark.parametrize("norm", NORMS)
def test_a_sample_that_holds_is_asked_about_as_often_as_in_the_published_program(norm: Norm, queries: int) -> None:
    asked = []

    class Deaf(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            asked.append(len(inputs))
            return torch.tensor([1.0, 0]).repeat(len(inputs), 1)

    inputs, labels = noise(9), torch.zeros(9, dtype=torch.int64)
    # Batches of three are full to the end, so that nothing is asked ahead.
    assert not hunt(Square(norm, 0.1, queries=queries), Deaf(), samples(inputs, labels), batch_size=3).broken.any()
    ours = sum(asked)
    asked.clear()
    theirs = published(norm, 0.1, queries, Deaf())
    theirs.init_hyperparam(inputs)
    with torch.random.fork_rng():
        theirs.attack_single_run(inputs.float(), labels)
    assert ours == sum(asked) == 9 * (queries + 1)


@pytest.mark.parametrize("norm", NORMS)
def test_a_sample_that_is_denied_to_be_broken_goes_on_to_the_end(norm: Norm) -> None:
    model, inputs = network(), noise(6)
    labels, denied = (model(inputs).argmax(1) + 1) % 5, []

    class Denying(Prepared):
        def confirm(self, points: Tensor, labels: Tensor) -> Tensor:
            denied.append(len(labels))
            return torch.zeros_like(labels, dtype=torch.bool)

    search = Square(norm, 0.001, queries=9)
    found = hunt(search, Denying(model, copy.deepcopy(model)), samples(inputs, labels), batch_size=4)
    assert not found.broken.any()
    assert sum(denied) == 60


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.015), ("l2", 0.2), ("l1", 1.5)])
def test_success_queries_and_loss_agree_with_the_published_program(norm: Norm, eps: float) -> None:
    """On the same images. From seed to seed the share varies by 0.03, the queries by 2, the rise of the loss by 3%."""
    model, inputs, queries = copy.deepcopy(network()).float(), noise(64).float(), 150
    clean = model(inputs)
    labels = clean.argmax(1)
    search = Square(norm, eps, queries=queries)
    state = begun(search, samples(inputs, labels))
    before = search.loss(state, clean)
    asked, broken = torch.zeros(64), torch.zeros(64, dtype=torch.bool)
    for _ in range(queries + 1):
        answer = ask(search, model, state)
        asked += ~broken
        broken |= search.breaks(state, answer.logits)
        state = search.advance(state, answer)
    assert state.over.all()
    theirs = published(norm, eps, queries, model)
    theirs.init_hyperparam(inputs)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        counted, points = theirs.attack_single_run(inputs, labels)
    logits = model(points)
    fooled = logits.argmax(1) != labels
    assert 0.2 < fooled.float().mean() < 0.8
    assert abs(broken.float().mean() - fooled.float().mean()) < 0.1
    assert abs(asked.mean() - counted.mean()) < 8
    holds = ~(broken | fooled)
    rise = (state.best_loss - before)[holds].mean() / (search.loss(state, logits) - before)[holds].mean()
    assert abs(rise - 1) < 0.12


@pytest.mark.parametrize("norm", NORMS)
def test_what_cannot_be_searched_is_refused(norm: Norm) -> None:
    for wrong in ({"eps": -0.1}, {"eps": math.nan}, {"eps": 1, "queries": -1}, {"eps": 1, "p_init": 0.0}):
        with pytest.raises(ValueError, match="must not be negative"):
            Square(norm, **wrong)
    for inputs in (noise(2)[0], noise(2).half()):
        with pytest.raises(ValueError, match="float32 or float64"):
            begun(Square(norm, 0.1), samples(inputs))
    with pytest.raises(ValueError, match="'linf', 'l2' or 'l1'"):
        Square("l3", 0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="five rows"):
        begun(Square("l2", 0.1), samples(noise(2, 4, 9)))
