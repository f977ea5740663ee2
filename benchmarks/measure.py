"""Measure attacks: time, passes, verdicts, memory, and a lower bound on the time of any implementation."""

from __future__ import annotations

import multiprocessing
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.attacks.adapter import call_attack
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.fast_model import FastModel
from bench.attacks.registry import load_function, resolve
from bench.core.specs import Backend, Norm, Precision
from bench.evaluation.fast_model import SearchModels
from bench.evaluation.pass_counter import CountingModel
from bench.evaluation.verify import predict, verified

# Passes of the published AutoAttack, standard version, per robust image of a data set with 10 classes.
REFERENCE_FORWARDS, REFERENCE_BACKWARDS = 7881, 1903
FLOOR_SIZES = (1, 4, 16, 64)  # batch sizes at which the lower bound is measured


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    case: str
    measured: str
    goal: str
    met: bool | None  # None: no goal, or not measured


@dataclass(frozen=True, eq=False)
class Target:
    """A model and the images to attack."""

    model: nn.Module  # frozen, on the device
    inputs: Tensor  # (N, 3, H, W)
    labels: Tensor  # (N,)
    ids: Sequence[str]

    def repeated(self, count: int) -> Target:
        """Return ``count`` images by repeating the images in their order."""
        index = torch.arange(count) % len(self.inputs)
        return Target(self.model, self.inputs[index], self.labels[index], [str(i) for i in range(count)])


@dataclass(frozen=True)
class Run:
    """Cost of one attack, and predictions of the float32 model on its images."""

    seconds: float
    forwards: int  # passes, counted per image
    backwards: int
    misclassified: Tensor  # (N,), bool

    @property
    def robust(self) -> float:
        """Robust accuracy, from 0 to 1."""
        return float((~self.misclassified).double().mean())

    @property
    def survivors(self) -> int:
        """Number of images that are still classified correctly."""
        return int((~self.misclassified).sum())

    def agreement(self, other: Run) -> float:
        """Return the share of images with equal verdicts in both runs."""
        return float((self.misclassified == other.misclassified).double().mean())


@dataclass(frozen=True, eq=False)
class Bench:
    """Measure attacks on one device, and record the rows of the table."""

    device: torch.device
    batch_size: int
    clock: str
    rows: list[Row]

    def attack(
        self, target: Target, name: str, eps: float, *, norm: Norm = "linf", backend: Backend = "native",
        precision: Precision = "fp32", seed: int = 0,
    ) -> Run:  # fmt: skip
        """Run one attack as in the harness. The time includes building the search model of our own attacks."""
        attack = resolve(name, backend).at(precision)
        spec = attack.spec(norm, eps, batch_size=self.batch_size)
        if attack.entry.batches_itself and "batch_size" not in spec.params:
            spec = type(spec)(**{**vars(spec), "params": {**spec.params, "batch_size": self.batch_size}})
        load_function(attack.entry)  # the time excludes the import
        begin = self.now()
        counters = [CountingModel(target.model).eval()]
        attacked_model: nn.Module = counters[0]
        if backend == "native":
            search_model = SearchModels(target.model, target.inputs.shape[1:], self.device).get(precision)
            counters.append(CountingModel(search_model).eval())
            attacked_model = (
                FastModel(counters[0], counters[1]).eval() if search_model is not target.model else counters[0]
            )
        size = len(target.inputs) if attack.entry.batches_itself else self.batch_size
        parts = []
        for part in torch.arange(len(target.inputs), device=self.device).split(size):
            rng = SampleRng(seed, attack.name, [target.ids[i] for i in part.tolist()], self.device)
            result = call_attack(
                attack.entry, attacked_model, target.inputs[part], target.labels[part], spec=spec, rng=rng
            )
            parts.append(result.adversarials)
        seconds = self.now() - begin
        forwards, backwards = (sum(getattr(c, n) for c in counters) for n in ("forwards", "backwards"))
        return Run(seconds, forwards, backwards, self.misclassified(target, torch.cat(parts), norm, eps))

    def misclassified(self, target: Target, images: Tensor, norm: Norm, eps: float) -> Tensor:
        """Mark the images that the float32 model misclassifies, (N,) bool.

        Raises CellFailure if an image lies outside the ball.
        """
        inside, classes = verified(target.inputs, images, norm, eps), target.model(target.inputs[:1]).shape[1]
        verdicts = torch.cat([predict(target.model, part, classes) for part in inside.split(self.batch_size)])
        return verdicts != target.labels

    def floor(self, target: Target, survivors: int) -> float:
        """Return a lower bound on the seconds of the published attack on ``survivors`` robust images.

        It is the time of the published number of passes in the model alone, in float32, with folded batch norms. It
        uses the fastest batch size up to the batch size of the attack, because attempts can share a batch.
        """
        if not survivors:
            return 0.0
        model = SearchModels(target.model, target.inputs.shape[1:], self.device).get("fp32")
        sizes = [size for size in FLOOR_SIZES if size < self.batch_size] + [self.batch_size]
        forward_time, both_time = (
            min(column) for column in zip(*(self._passes(model, target, n) for n in sizes), strict=True)
        )
        return float(
            survivors * ((REFERENCE_FORWARDS - REFERENCE_BACKWARDS) * forward_time + REFERENCE_BACKWARDS * both_time)
        )

    def _passes(self, model: nn.Module, target: Target, size: int) -> tuple[float, float]:
        """Return seconds per image of a forward pass, and of a forward and backward pass, for batches of ``size``."""
        batch = target.repeated(size).inputs

        def forward() -> None:
            with torch.no_grad():
                model(batch)

        def both() -> None:
            points = batch.clone().requires_grad_()
            torch.autograd.grad(model(points).sum(), points)

        return self.typical(forward) / size, self.typical(both) / size

    def typical(self, function: Callable[[], object], repeats: int = 15) -> float:
        """Return the median time of ``repeats`` + 1 calls in seconds."""
        return statistics.median(self.seconds(function) for _ in range(repeats + 1))

    def seconds(self, function: Callable[[], object]) -> float:
        """Return the time of one call in seconds."""
        begin = self.now()
        function()
        return self.now() - begin

    def now(self) -> float:
        """Return the current time in seconds, after all work on the device is finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time() if self.clock == "cpu" else time.perf_counter()

    def note(self, case: str, measured: str, goal: str, met: bool | None) -> None:
        """Record a row of the table."""
        self.rows.append(Row(case, measured, goal, met))


def peak_memory(engine: Bench, target: Target, **arguments: Any) -> float:
    """Return the MiB that an attack needs in addition to model and images.

    On a GPU this is device memory, otherwise the memory of a separate process.
    """
    if engine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(engine.device)
        before = torch.cuda.memory_allocated(engine.device)
        engine.attack(target, **arguments)
        return (torch.cuda.max_memory_allocated(engine.device) - before) / 2**20
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (engine, target, torch.get_num_threads(), arguments))


def _peak(engine: Bench, target: Target, threads: int, arguments: dict[str, Any]) -> float:
    torch.set_num_threads(threads)
    load_function(resolve(arguments["name"], arguments.get("backend", "native")).entry)  # exclude the imports
    target.model(target.inputs[:1])
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    before = _status("VmRSS")
    engine.attack(target, **arguments)
    return _status("VmHWM") - before


def _status(name: str) -> float:
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8", errors="replace"))
    assert match is not None
    return int(match[1]) / 1024
