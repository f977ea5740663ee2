"""The closed loop: its balance is that of a real cross-entropy, and it follows it at its own pace."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from bench.models.adaptive_gamma import CROSSING, FASTEST, FLOOR, MEMORY, TARGET, advance, balance, rate, start
from bench.models.margins import logit_margins
from bench.models.penalties import mean_square
from bench.models.schedules import GAMMA_END, GammaState, StepStats, TrainingFacts


def facts(epochs: int = 10, steps: int = 100, num_classes: int = 10) -> TrainingFacts:
    return TrainingFacts(epochs=epochs, steps_per_epoch=steps, lr=1e-3, num_classes=num_classes, latent_dim=64)


def simplex(num_classes: int, width: int, scale: float) -> torch.Tensor:
    """Output weights for which all wrong logits are equal: (K, width), float64."""
    centred = torch.eye(num_classes, dtype=torch.float64) - 1 / num_classes
    return scale * torch.nn.functional.pad(centred, (0, width - num_classes))


@pytest.mark.parametrize("num_classes", [2, 10, 100])
@pytest.mark.parametrize("scale", [0.1, 30.0])
@pytest.mark.parametrize("measured_at", [0.3, 3.0, 40.0])
def test_cross_entropy_and_penalty_balance_at_the_target(num_classes: int, scale: float, measured_at: float) -> None:
    """γ measured at any length of the latents puts the minimum of the loss where the margin is the target."""
    weights = simplex(num_classes, 128, scale)
    labels = torch.arange(num_classes)

    def margin(length: float) -> float:
        return float(logit_margins(length * weights @ weights.T, labels).median())

    at = measured_at / margin(1.0)
    gamma = balance(margin(at), float(mean_square(at * weights)), num_classes)
    assert FLOOR < gamma < GAMMA_END

    def loss(log_length: float) -> float:
        z = math.exp(log_length) * weights
        return float(torch.nn.functional.cross_entropy(z @ weights.T, labels) + gamma * mean_square(z))

    found = minimize_scalar(loss, bounds=(math.log(at) - 9, math.log(at) + 9), options={"xatol": 1e-9})
    assert margin(math.exp(found.x)) == pytest.approx(TARGET, rel=1e-3)


def test_it_starts_at_its_floor() -> None:
    assert start(facts()) == (FLOOR, None, None)


def test_it_jumps_to_what_is_near_and_grows_by_its_rate_to_what_is_far() -> None:
    wanted = balance(2.0, 1e-3, 10)
    near = advance(GammaState(wanted / math.exp(rate(facts()) / 2)), StepStats(2.0, 1, 1e-3), facts())
    assert near.gamma == pytest.approx(wanted)
    far = advance(GammaState(wanted / 100), StepStats(2.0, 1, 1e-3), facts())
    assert far.gamma == pytest.approx(wanted / 100 * math.exp(rate(facts())))


def test_it_backs_off_by_half_a_step_at_most() -> None:
    assert advance(GammaState(100.0), StepStats(-1.0, 1, 1e-3), facts()).gamma == pytest.approx(50.0)


def test_shrinking_latents_alone_change_nothing() -> None:
    """Half the length is half the margin and a quarter of the mean square."""
    assert balance(2.0, 4e-3, 10) == pytest.approx(balance(1.0, 1e-3, 10))


def test_latents_at_the_origin_are_no_reason_to_divide_by_zero() -> None:
    assert balance(0.0, 0.0, 10) == FLOOR
    assert balance(1.0, 0.0, 10) == GAMMA_END


def test_the_running_means_remember() -> None:
    first = advance(start(facts()), StepStats(2.0, 1, 0.5), facts())
    assert first[1:] == (2.0, 0.5)
    second = advance(first, StepStats(3.0, 1, 0.6), facts())
    assert second[1:] == (pytest.approx(2.0 + 1.0 / MEMORY), pytest.approx(0.5 + 0.1 / MEMORY))


@given(st.floats(-1e6, 1e6), st.floats(0, 1e12), st.floats(FLOOR, GAMMA_END), st.none() | st.floats(-1e6, 1e6))
def test_it_stays_in_its_range(margin: float, size: float, gamma: float, running: float | None) -> None:
    state = advance(GammaState(gamma, running, None if running is None else size), StepStats(margin, 1, size), facts())
    assert FLOOR * (1 - 1e-6) <= state.gamma <= GAMMA_END * (1 + 1e-6)  # γ is float32


@pytest.mark.parametrize("epochs", [1, 10, 1000])
def test_its_range_is_crossed_in_an_eighth_of_any_training_that_is_long_enough(epochs: int) -> None:
    long = facts(epochs, steps=400)
    steps = math.log(GAMMA_END / FLOOR) / rate(long)
    assert steps == pytest.approx(epochs * 400 * CROSSING)
    assert rate(facts(1, steps=2)) == FASTEST


def test_it_collapses_a_free_layer_at_the_target_while_its_output_weights_grow() -> None:
    """The unconstrained feature model: latents and output weights are all there is, and both are trained."""
    torch.manual_seed(0)
    labels = torch.arange(10).repeat(8)
    z = torch.nn.Parameter(0.1 * torch.randn(80, 16))
    output = torch.nn.Linear(16, 10)
    optimizer = torch.optim.AdamW([z, *output.parameters()], lr=1e-2)
    state, gammas = start(facts()), []
    for _ in range(1000):
        outputs = output(z)
        loss = torch.nn.functional.cross_entropy(outputs, labels) + state.gamma * mean_square(z)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        margin = float(logit_margins(outputs.detach(), labels).median())
        state = advance(state, StepStats(margin, 1, float(mean_square(z.detach()))), facts())
        gammas.append(state.gamma)
    assert margin == pytest.approx(TARGET, abs=0.5)
    assert all(later > 1.3 * earlier for earlier, later in pairwise(gammas[199::200]))
