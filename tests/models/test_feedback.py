"""The closed loop: grows above its target, holds at it, backs off below, and rides a plant whose balance is known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.feedback import FASTEST, FLOOR, MEMORY, TARGET, advance, rate, start
from models.schedules import GAMMA_END, Done, GammaState, TrainingFacts


def facts(epochs: int = 10, steps: int = 10) -> TrainingFacts:
    return TrainingFacts(epochs=epochs, steps_per_epoch=steps, lr=1e-3, num_classes=10, latent_dim=64)


def after(margin: float, state: GammaState, peak: float = 10 * TARGET) -> GammaState:
    """One step of a network that has once reached ``peak``."""
    return advance(state._replace(peak=peak), Done(margin, 1), facts())


def test_it_starts_at_its_floor() -> None:
    assert start(facts()) == (FLOOR, None, 0.0)


def test_it_grows_by_its_rate_far_above_the_target() -> None:
    state = after(10 * TARGET, GammaState(1.0, 10 * TARGET))
    assert state.gamma == pytest.approx(math.exp(rate(facts())))


def test_it_holds_at_the_target() -> None:
    assert after(TARGET, GammaState(5.0, TARGET)).gamma == 5.0


def test_it_backs_off_by_half_its_rate_at_half_the_target() -> None:
    state = after(TARGET / 2, GammaState(1.0, TARGET / 2))
    assert state.gamma == pytest.approx(math.exp(-rate(facts()) / 2))


def test_one_bad_batch_is_enough_to_back_off_and_one_good_one_is_not_enough_to_grow() -> None:
    assert after(0.0, GammaState(1.0, 10 * TARGET)).gamma < 1
    assert after(10 * TARGET, GammaState(1.0, -10 * TARGET)).gamma < 1


def test_a_network_that_no_longer_learns_is_left_alone() -> None:
    state = GammaState(1.0, 10 * TARGET, 10 * TARGET)
    assert advance(state, Done(10 * TARGET, 1, lr_share=0.0), facts()).gamma == 1.0
    half = advance(state, Done(10 * TARGET, 1, lr_share=0.5), facts()).gamma
    assert half == pytest.approx(math.exp(rate(facts()) / 2))


def test_a_network_that_never_reached_the_target_is_asked_for_most_of_what_it_had() -> None:
    assert after(1.6, GammaState(1.0, 1.6), peak=2.0).gamma > 1
    assert after(1.5, GammaState(1.0, 1.5), peak=2.0).gamma == 1
    assert after(1.4, GammaState(1.0, 1.4), peak=2.0).gamma < 1
    assert after(0.9, GammaState(1.0, 0.9), peak=0.9).gamma < 1  # nothing was learned yet


def test_the_running_mean_remembers() -> None:
    assert after(2.0, GammaState(1.0, None)).margin == 2.0
    assert after(2.0, GammaState(1.0, 1.0)).margin == pytest.approx(1.0 + 1.0 / MEMORY)


@given(st.floats(-1e6, 1e6), st.floats(FLOOR, GAMMA_END), st.none() | st.floats(-1e6, 1e6))
def test_it_stays_in_its_range(margin: float, gamma: float, running: float | None) -> None:
    assert FLOOR <= after(margin, GammaState(gamma, running)).gamma <= GAMMA_END


@pytest.mark.parametrize("epochs", [1, 10, 1000])
def test_its_range_is_crossed_in_half_of_any_training_that_is_long_enough(epochs: int) -> None:
    long = facts(epochs, steps=100)
    steps = math.log(GAMMA_END / FLOOR) / rate(long)
    assert steps == pytest.approx(epochs * 100 / 2)
    assert rate(facts(1, steps=2)) == FASTEST


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3])
def test_it_finds_the_balance_of_a_network_whatever_its_scale(strength: float) -> None:
    """A plant whose margin is 8 nats without penalty, and the target where γ is ``strength``; it lags by five steps."""
    state, margin, found = start(facts())._replace(peak=10 * TARGET), 0.0, []
    for _ in range(1000):
        wanted = 8 / (1 + state.gamma / strength * (8 / TARGET - 1))
        margin += (wanted - margin) / 5
        state = advance(state, Done(margin, 1), facts())
        found.append(state.gamma)
    expected = max(strength, FLOOR)
    assert found[-1] == pytest.approx(expected, rel=0.05)
