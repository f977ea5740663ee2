"""State of one run of a search on many samples: running attempts, findings and counts. It can be saved and restored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bench.attacks.engine.checkpoint import Saved
from bench.attacks.engine.query_budget import QueryMeter
from bench.attacks.engine.scheduler import Scheduler
from bench.attacks.engine.search import Samples, Search, State, take, tensors_of, with_tensors


class SearchResult(NamedTuple):
    """Outcomes of a search: for each sample an adversarial image, or the clean image if none was found."""

    adversarials: Tensor  # (N, C, H, W)
    success: Tensor  # (N,), bool
    batch_size: int  # possibly reduced after running out of memory
    n_queries: Tensor  # (N,), int64; 0 without an allowance
    truncated: Tensor  # (N,), bool: the allowance ended the search early and without success


@dataclass(frozen=True)
class Flight:
    """The running attempts. A sample may have several attempts."""

    state: State
    position: Tensor  # (B,), position of the sample among all samples
    attempt: Tensor  # (B,)
    waiting: Tensor  # (B,), bool: not queried in the last batch, see bench.attacks.engine.batching


@dataclass(frozen=True)
class Findings:
    """The first successful attempt of each sample so far, and its adversarial image."""

    adversarials: Tensor  # (N, C, H, W), the clean image if no attempt has succeeded
    attempt: Tensor  # (N,), first successful attempt; the number of attempts if none has succeeded
    attempts: int

    @classmethod
    def of(cls, samples: Samples, attempts: int) -> Findings:
        """Return the findings before the search."""
        return cls(samples.inputs.clone(), torch.full_like(samples.labels, attempts), attempts)

    @property
    def success(self) -> Tensor:
        """True for samples with a successful attempt, (N,) bool."""
        return self.attempt < self.attempts

    def record(self, position: Tensor, attempt: Tensor, points: Tensor) -> None:
        """Record S successful attempts. If a sample has several successes, the first attempt is kept.

        ``position`` and ``attempt`` are (S,). ``points`` are (S, C, H, W).
        """
        self.attempt.scatter_reduce_(0, position, attempt, "amin")
        first = self.attempt[position] == attempt
        self.adversarials[position[first]] = points[first]


@dataclass
class SearchRun:
    """One run of ``search`` on ``samples``. ``flight`` is None before the first batch and after the last one."""

    search: Search
    samples: Samples
    scheduler: Scheduler
    findings: Findings
    meter: QueryMeter
    batch_size: int
    flight: Flight | None = None

    def result(self) -> SearchResult:
        """Return the outcomes of a finished run."""
        found, meter = self.findings, self.meter
        return SearchResult(found.adversarials, found.success, self.batch_size, meter.n_queries, meter.truncated)

    def dump(self) -> Saved:
        """Return the state between two batches. The clean images are not a part of it."""
        tensors = {f"meter.{name}": tensor for name, tensor in self.meter.dump().items()}
        success = self.findings.success
        tensors |= {"attempt": self.findings.attempt, "points": self.findings.adversarials[success]}
        if self.flight is not None:
            flight = self.flight
            tensors |= {"position": flight.position, "started": flight.attempt, "waiting": flight.waiting}
            tensors |= {f"state.{name}": tensor for name, tensor in tensors_of(flight.state).items()}
        facts = {
            "search": type(self.search).__name__,
            "scheduler": self.scheduler.dump(),
            "batch_size": self.batch_size,
        }
        return Saved(tensors, facts)

    def load(self, saved: Saved) -> bool:
        """Continue from a state made by :meth:`dump`. Return False, without a change, if it is of another search."""
        tensors, facts = saved.tensors, saved.facts
        if facts.get("search") != type(self.search).__name__ or len(tensors["attempt"]) != len(self.samples):
            return False
        try:
            flight = self._flight(saved) if "position" in tensors else None
        except (KeyError, ValueError, IndexError):
            return False
        attempt = tensors["attempt"].to(self.findings.attempt)
        self.findings.adversarials[attempt < self.findings.attempts] = tensors["points"].to(self.findings.adversarials)
        self.findings.attempt.copy_(attempt)
        self.meter.load({name: tensors[f"meter.{name}"] for name in self.meter.dump()})
        self.scheduler.load(facts["scheduler"])
        self.batch_size, self.flight = facts["batch_size"], flight
        return True

    def _flight(self, saved: Saved) -> Flight:
        device = self.samples.labels.device
        position, attempt, waiting = (saved.tensors[name].to(device) for name in ("position", "started", "waiting"))
        # The tensors of a started attempt have the shapes and types of every later state.
        started = self.search.start(take(self.samples, position), attempt)
        prefix = "state."
        tensors = {k.removeprefix(prefix): v for k, v in saved.tensors.items() if k.startswith(prefix)}
        return Flight(with_tensors(started, tensors), position, attempt, waiting)


def saved_result(result: SearchResult) -> Saved:
    """Return the result of a finished search as tensors: adversarial images of successful samples only."""
    tensors = {"success": result.success, "points": result.adversarials[result.success]}
    tensors |= {"n_queries": result.n_queries, "truncated": result.truncated}
    return Saved(tensors, {"batch_size": result.batch_size}, finished=True)


def stored_result(saved: Saved, samples: Samples) -> SearchResult:
    """Return the result that :func:`saved_result` has saved, for the same samples."""
    tensors = {name: tensor.to(samples.labels.device) for name, tensor in saved.tensors.items()}
    adversarials = samples.inputs.clone()
    adversarials[tensors["success"]] = tensors["points"].to(adversarials)
    return SearchResult(
        adversarials, tensors["success"], saved.facts["batch_size"], tensors["n_queries"], tensors["truncated"]
    )
