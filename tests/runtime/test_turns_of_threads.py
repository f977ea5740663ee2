"""Threads of one process compute one after the other, because they share torch's state and the modes of the model."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from oddities import images
from torch import Tensor, nn

from bench.api import evaluate, run
from bench.runtime.interrupt import Stopped, time_budget
from bench.runtime.turns import own_turn


class Meeting(nn.Module):
    """A model in training mode whose first call waits a moment for a call of another thread."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.Dropout())
        self.begun, self.met, self.callers = threading.Event(), threading.Event(), set[int]()

    def forward(self, inputs: Tensor) -> Tensor:
        self.callers.add(threading.get_ident())
        if len(self.callers) > 1:
            self.met.set()
        elif not self.begun.is_set():
            self.begun.set()
            self.met.wait(0.5)
        logits: Tensor = self.layers(inputs)
        return logits


def in_threads(*calls: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_module_that_two_threads_evaluate_is_restored() -> None:
    torch.manual_seed(0)
    model, labels = Meeting().train(), torch.arange(20) % 10
    data = images(20), labels
    attack = partial(evaluate, model, dataset=data, attacks=["fgsm"], eps=["0.1"], corruptions="none", audit="none")
    found = {}

    def later() -> None:
        model.begun.wait(10)
        found["later"] = attack(name="later")

    in_threads(lambda: found.update(first=attack(name="first")), later)
    assert len(model.callers) == 2
    assert model.layers[2].training, "the module is left in evaluation mode"
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert list(found["first"]["n_correct"]) == list(found["later"]["n_correct"])
    assert list(found["first"]["notes"]) == list(found["later"]["notes"])


def test_trainings_in_two_threads_have_the_weights_of_one_alone(tmp_path: Path, plugin: Path) -> None:
    def weights(seed: int, folder: str) -> None:
        found[folder] = set(
            run(
                models="tiny", plugin=[str(plugin)], results=tmp_path / folder, seeds=str(seed), limit=40, epochs=2,
                attacks="none", corruptions="none", audit="none", diagnose=False,
            )["weights_sha"]
        )  # fmt: skip

    found: dict[str, set[str]] = {}
    weights(0, "alone")
    in_threads(partial(weights, 0, "first"), partial(weights, 1, "second"))
    assert found["first"] == found["alone"] != found["second"]


def test_a_turn_can_be_nested_and_waiting_ends_with_the_time_budget() -> None:
    begun, ended, raised = threading.Event(), threading.Event(), []

    def other() -> None:
        begun.wait(10)
        try:
            with time_budget("1s"), own_turn():
                pass
        except Stopped as stopped:
            raised.append(stopped.request.exit_code)
        ended.set()

    thread = threading.Thread(target=other)
    thread.start()
    with own_turn(), own_turn():
        begun.set()
        assert ended.wait(5)
    thread.join()
    assert raised == [0]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_that_it_does_not_have() -> None:
    begun, end = threading.Event(), threading.Event()

    def hold() -> None:
        with own_turn():
            begun.set()
            end.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(10)
    child = multiprocessing.get_context("fork").Process(target=take_turn)
    child.start()
    child.join(5)
    code = child.exitcode
    child.kill()
    end.set()
    thread.join()
    assert code == 0


def take_turn() -> None:
    with own_turn():
        time.sleep(0)
