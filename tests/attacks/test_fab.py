"""FAB against its authors' program in float64, on models whose boundary is known, and on its promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from helpers import LinearModel
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor, nn

from bench.attacks.engine.query import query
from bench.attacks.engine.run_search import SearchResult, run_search
from bench.attacks.engine.search import Samples, take
from bench.attacks.fab_attack import FabState, TargetedFab, UntargetedFab
from bench.attacks.geometry.norms import length
from bench.core.specs import Norm

NORMS = ("linf", "l2", "l1")
LIBRARY_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
SHAPE = (3, 6, 6)
# About the shortest and the longest distances of the images of `small_net` to its boundary.
RADII = {"linf": (0.004, 0.015, 0.04, 0.16), "l2": (0.03, 0.1, 0.3, 1.2), "l1": (0.06, 0.3, 1.0, 6.0)}
WAVES = {"linf": 0.04, "l2": 0.4, "l1": 2.5}  # a typical one of `Waves`


def small_net(classes: int) -> nn.Module:
    """Convolutional, smooth and far from linear."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(classes)
        layers = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(72, classes)]
        net = nn.Sequential(*layers).double()
    net[0].weight.data *= 20
    return net


def images(count: int, seed: int = 0) -> Tensor:
    """Return random images, some of whose pixels are 0 or 1."""
    draws = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed)).double()
    return (1.2 * draws - 0.1).clamp(0, 1)


def samples_of(model: nn.Module, inputs: Tensor, labels: Tensor | None = None) -> Samples:
    logits = model(inputs).detach()
    labels = logits.argmax(1) if labels is None else labels
    return Samples(inputs, labels, torch.arange(len(inputs)), logits.argsort(dim=1, descending=True, stable=True))


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep float64 in the program of the authors, which converts everything to float32."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_default_dtype(previous)


class Recorder(nn.Module):
    """Remembers where a model was asked, and where with a gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.judged, self.linearised = model, list[Tensor](), list[Tensor]()

    def forward(self, inputs: Tensor) -> Tensor:
        (self.linearised if inputs.requires_grad else self.judged).append(inputs.detach().clone())
        logits: Tensor = self.model(inputs)
        return logits


def reference_path(
    model: nn.Module, inputs: Tensor, labels: Tensor, norm: Norm, n_iter: int, target: int | None
) -> tuple[Tensor, Tensor]:
    """Record the gradients and judged points of the authors' program, (n_iter, B, …) each; ``target`` counts from 0."""
    recorder = Recorder(model)
    program = FABAttack_PT(recorder, norm=LIBRARY_NORMS[norm], n_iter=n_iter)
    program.target_class = 0 if target is None else target + 2
    program.attack_single_run(inputs, labels, is_targeted=target is not None)
    return torch.stack(recorder.linearised), torch.stack(recorder.judged[-n_iter:])


def own_path(
    search: TargetedFab | UntargetedFab, model: nn.Module, samples: Samples, attempt: int, questions: int
) -> tuple[Tensor, Tensor]:
    """Record the same for the search, one sample at a time, with ``questions`` queries per linearised point."""
    linearised, judged = [], []
    for position in range(len(samples)):
        one = take(samples, torch.tensor([position]))
        state: FabState = search.start(one, torch.tensor([attempt]))
        points, trials = [], []
        while not state.over.all():
            answer = query(search, model, state)
            crossed = state.tested & (answer.logits.argmax(1) != one.labels)
            trials += [state.points[0]] if state.tested.all() else []
            points += [state.points[0]] if (~crossed & search.needs_gradient(state)).all() else []
            state = search.advance(state, answer)
        # The program takes no gradient at its last trial.
        linearised.append(torch.stack(points[: search.n_iter * questions : questions]))
        judged.append(torch.stack(trials[1:]))
    return torch.stack(linearised, 1), torch.stack(judged, 1)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("classes", "attempt"), [(3, 1), (10, 0)])
def test_the_targeted_walk_is_that_of_the_authors(norm: Norm, classes: int, attempt: int) -> None:
    model, inputs = small_net(classes), images(6)
    samples = samples_of(model, inputs)
    search = TargetedFab(norm=norm, eps=-1.0, n_iter=40, attempts=classes - 1)
    linearised, judged = own_path(search, model, samples, attempt, questions=1)
    expected_linearised, expected_judged = reference_path(model, inputs, samples.labels, norm, 40, attempt)
    assert torch.allclose(linearised, expected_linearised, rtol=0, atol=1e-8)
    assert torch.allclose(judged, expected_judged, rtol=0, atol=1e-8)
    # Both kinds of trial were made.
    crossings = (model(judged.flatten(0, 1)).argmax(1).view(40, -1) != samples.labels).double().mean()
    assert 0.5 < crossings < 1


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_untargeted_walk_is_that_of_the_authors(norm: Norm, classes: int) -> None:
    model, inputs = small_net(classes), images(4)
    samples = samples_of(model, inputs)
    search = UntargetedFab(norm=norm, eps=-1.0, n_iter=10)
    linearised, judged = own_path(search, model, samples, 0, questions=classes - 1)
    expected_linearised, expected_judged = reference_path(model, inputs, samples.labels, norm, 10, None)
    assert torch.allclose(linearised, expected_linearised, rtol=0, atol=1e-8)
    assert torch.allclose(judged, expected_judged, rtol=0, atol=1e-8)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [True, False])
def test_a_gradient_that_is_not_needed_is_not_looked_at(norm: Norm, targeted: bool) -> None:
    model, inputs = small_net(3), images(6)
    samples = samples_of(model, inputs)
    kind = TargetedFab(norm=norm, eps=-1.0, n_iter=20, attempts=2)
    search = kind if targeted else UntargetedFab(norm=norm, eps=-1.0, n_iter=20)
    one = other = search.start(samples, torch.zeros(6, dtype=torch.int64))
    needed = []
    while not one.over.all():
        answer = query(search, model, one)
        assert answer.gradient is not None
        needs = search.needs_gradient(one)
        hidden = answer.gradient.masked_fill(~needs.view(-1, 1, 1, 1), torch.nan)
        one, other = search.advance(one, answer), search.advance(other, answer._replace(gradient=hidden))
        assert torch.equal(one.points, other.points)
        needed.append(needs.double().mean())
    assert torch.stack(needed).mean() < (0.7 if targeted else 0.8)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [True, False])
def test_the_verdicts_are_those_of_the_authors(norm: Norm, targeted: bool) -> None:
    model, inputs = small_net(4), images(12)
    labels = model(inputs).argmax(1)
    labels[0] = (labels[0] + 1) % 4  # one that is wrong from the start
    samples = samples_of(model, inputs, labels)
    shares = []
    for eps in RADII[norm]:
        program = FABAttack_PT(
            model, norm=LIBRARY_NORMS[norm], eps=eps, n_iter=12, targeted=targeted, n_target_classes=3
        )
        expected = model(program.perturb(inputs, labels)).argmax(1) != labels
        kind = TargetedFab(norm=norm, eps=eps, n_iter=12, attempts=3)
        search = kind if targeted else UntargetedFab(norm=norm, eps=eps, n_iter=12)
        found = run_search(search, model, samples, batch_size=5)
        assert torch.equal(found.success, expected)
        assert_sound(found, model, samples, norm, eps)
        shares.append(found.success.double().mean())
    assert shares[0] < 0.4
    assert shares[-1] > 0.7


def assert_sound(found: SearchResult, model: nn.Module, samples: Samples, norm: Norm, eps: float) -> None:
    assert torch.equal(model(found.adversarials).argmax(1) != samples.labels, found.success)
    assert (length(found.adversarials - samples.inputs, norm) <= eps).all()
    assert ((found.adversarials >= 0) & (found.adversarials <= 1)).all()


def line(norm: Norm) -> tuple[LinearModel, Samples]:
    """Two classes, and images of the second around grey."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(108, generator=generator).double()
    model = LinearModel(weight, 0.7 - 0.5 * float(weight.sum()))
    inputs = 0.5 + 0.01 * torch.randn(8, *SHAPE, generator=generator).double()
    return model, samples_of(model, inputs, torch.ones(8, dtype=torch.int64))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [True, False])
def test_the_first_step_crosses_a_plane_at_the_known_distance(norm: Norm, targeted: bool) -> None:
    model, samples = line(norm)
    kind = TargetedFab(norm=norm, eps=1.0, attempts=1) if targeted else UntargetedFab(norm=norm, eps=1.0)
    for eta in (1.0, 1.05):
        search = replace(kind, eta=eta)
        state = search.start(samples, torch.zeros(8, dtype=torch.int64))
        state = search.advance(state, query(search, model, state))
        margin = model.margin(samples.inputs, norm).detach()
        assert torch.allclose(length(state.points - samples.inputs, norm), eta * margin, rtol=1e-9)
        score = model(samples.inputs)[:, 1]
        assert torch.allclose(model(state.points)[:, 1], (1 - eta) * score, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_classes_are_broken_within_the_first_step_and_no_nearer(norm: Norm, dtype: torch.dtype) -> None:
    model, samples = line(norm)
    margins = model.margin(samples.inputs, norm).detach()
    for position in range(3):
        margin = float(margins[position])
        one = take(samples, torch.tensor([position]))
        one = replace(one, inputs=one.inputs.to(dtype))
        for share, broken in ((0.99, False), (1.051, True)):
            search = TargetedFab(norm=norm, eps=share * margin, n_iter=12, attempts=1)
            found = run_search(search, model.to(dtype), one, batch_size=1)
            assert found.success.tolist() == [broken]
            assert found.adversarials.dtype == dtype


def test_more_attempts_than_target_classes_are_refused() -> None:
    model, samples = line("linf")
    with pytest.raises(ValueError, match=r"attempts=9 exceeds .* target classes, 1;"):
        run_search(TargetedFab(norm="linf", eps=0.1), model, samples, batch_size=4)


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_drawn_back_is_linearised_and_not_judged(norm: Norm) -> None:
    model, samples = line(norm)
    search = TargetedFab(norm=norm, eps=0.0, eta=1.5, attempts=1)
    state = search.start(samples, torch.zeros(8, dtype=torch.int64))
    for _ in range(2):
        trial, state = state.points, search.advance(state, query(search, model, state))
    assert not state.tested.any()
    assert (state.trials == 1).all()
    assert torch.allclose(state.points, samples.inputs + 0.9 * (trial - samples.inputs), rtol=1e-12)
    wide = replace(search, eps=10.0)
    logits = model(state.points).detach()
    assert (logits.argmax(1) != samples.labels).all()
    assert not wide.is_adversarial(state, logits).any()
    assert wide.is_adversarial(replace(state, tested=~state.tested), logits).all()


class Waves(nn.Module):
    """Sums of sines, by operations whose rounding does not depend on how many images there are."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(classes)
        self.weight = torch.randn(classes, 108, generator=generator).double()
        self.phase = 7 * torch.rand(108, generator=generator).double()

    def forward(self, inputs: Tensor) -> Tensor:
        features = (2 * inputs.flatten(1) + self.phase).sin()
        return torch.stack([(features * row).sum(1) for row in self.weight], dim=1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [True, False])
def test_neither_neighbours_nor_their_order_matter(norm: Norm, targeted: bool) -> None:
    model, inputs = Waves(3), images(40, seed=1)
    samples, eps = samples_of(model, inputs), WAVES[norm]
    kind = TargetedFab(norm=norm, eps=eps, n_iter=3, attempts=2)
    search = kind if targeted else UntargetedFab(norm=norm, eps=eps, n_iter=3, attempts=2)
    whole = run_search(search, model, samples, batch_size=40)
    assert 0.1 < whole.success.double().mean() < 0.9
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    for batch_size, count in ((7, 40), (1, 8)):
        found = run_search(search, model, take(samples, order[:count]), batch_size=batch_size)
        assert torch.equal(found.success, whole.success[order[:count]])
        assert torch.equal(found.adversarials, whole.adversarials[order[:count]])


@pytest.mark.parametrize("norm", NORMS)
def test_later_attempts_of_the_untargeted_form_start_half_way_to_the_edge(norm: Norm) -> None:
    model = small_net(4)
    samples = samples_of(model, images(6) * 0.2 + 0.4)
    search = UntargetedFab(norm=norm, eps=0.2, attempts=3)
    starts = [search.start(samples, torch.full((6,), attempt)) for attempt in range(3)]
    assert torch.equal(starts[0].points, samples.inputs)
    for start in starts[1:]:
        assert torch.allclose(length(start.points - samples.inputs, norm), torch.full((6,), 0.1).double(), rtol=1e-6)
        assert not start.tested.any()
    assert not torch.equal(starts[1].points, starts[2].points)


class Steps(nn.Module):
    """Logits that depend on the image, with a gradient of 0 or one that is not a number."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, inputs: Tensor) -> Tensor:
        level = (10 * inputs.flatten(1).mean(1)).round()
        level = level + 0 * inputs.flatten(1).mul(0).sum(1).sqrt() if self.slope != 0 else level
        return torch.stack([level, -level, 0 * level], dim=1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [True, False])
@pytest.mark.parametrize("slope", [0.0, torch.nan])
def test_without_a_gradient_the_points_stay_numbers(norm: Norm, targeted: bool, slope: float) -> None:
    model, inputs = Steps(slope), images(4)
    samples = samples_of(model, inputs)
    kind = TargetedFab(norm=norm, eps=0.1, n_iter=5, attempts=2)
    search = kind if targeted else UntargetedFab(norm=norm, eps=0.1, n_iter=5)
    state = search.start(samples, torch.zeros(4, dtype=torch.int64))
    questions = 0
    while not state.over.all():
        answer = query(search, model, state)
        assert answer.gradient is not None
        assert answer.gradient.isnan().all() if slope != 0 else not answer.gradient.any()
        state = search.advance(state, answer)
        assert torch.allclose(state.points, inputs, rtol=0, atol=1e-15)
        questions += 1
    # The image and five trials, or the image; of the last trial one class is enough.
    steps = 5 if slope == 0 else 0
    assert questions == (steps + 1 if targeted else 2 * max(steps, 1) + (steps > 0))
    assert not run_search(search, model, samples, batch_size=3).success.any()
