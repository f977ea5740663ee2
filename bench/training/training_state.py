"""Save and restore the state of an unfinished training, as tensors and JSON, so that it can be resumed exactly."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.core.records import EpochRecord
from bench.models.schedules import GammaState
from bench.runtime.files import FACTS, read_facts


@dataclass
class EpochProgress:
    """Sums over the first ``batches`` batches of an epoch, and the states of the random generators after them.

    The generators start from functions of (seed, epoch). Their states are uint8 tensors by name.
    """

    batches: int = 0
    n_images: int = 0
    loss: float = 0.0  # summed over images
    n_correct: int = 0
    margin: float = 0.0  # summed over batches
    generators: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class TrainingState:
    """State of a training between two batches."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    term: nn.Module | None  # auxiliary term of the loss, stored for its buffers
    gamma: GammaState
    history: tuple[EpochRecord, ...] = ()
    epoch: EpochProgress = field(default_factory=EpochProgress)  # the unfinished epoch after ``history``
    elapsed_s: float = 0.0  # seconds of training in earlier processes


def dump_state(state: TrainingState) -> bytes:
    """Serialise the state as safetensors: weights, moments of the optimiser and buffers. The header has the rest."""
    header = {
        "elapsed_s": state.elapsed_s,
        "gamma": state.gamma._asdict(),
        "history": [asdict(record) for record in state.history],
        "epoch": asdict(replace(state.epoch, generators={})),
    }
    return save({k: v.contiguous() for k, v in _tensors(state).items()}, {FACTS: json.dumps(header)})


def restore_state(state: TrainingState, content: bytes) -> None:
    """Load ``content`` into the initial state of a training. Raises BenchError for content of another training."""
    try:
        tensors, header = load(content), read_facts(content)
        state.model.load_state_dict(_below("model.", tensors))
        if state.term is not None:
            state.term.load_state_dict(_below("term.", tensors))
        _restore_moments(state.optimizer, _below("optimizer.", tensors))
        state.gamma = GammaState(**header["gamma"])
        state.elapsed_s = header["elapsed_s"]
        state.history = tuple(EpochRecord(**record) for record in header["history"])
        state.epoch = EpochProgress(**{**header["epoch"], "generators": _below("generators.", tensors)})
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BenchError(f"the saved state of the training does not fit it: {first}.") from error


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    moments = {
        f"optimizer.{number}.{name}": value
        for number, values in state.optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    weights = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    term = state.term.state_dict() if state.term is not None else {}
    generators = {f"generators.{name}": value for name, value in state.epoch.generators.items()}
    return {**weights, **moments, **generators, **{f"term.{name}": value for name, value in term.items()}}


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _restore_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        moments.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def match_layouts(optimizer: torch.optim.Optimizer) -> None:
    """Give the moments the memory layout of their weights.

    Saved moments are contiguous. The fused optimiser pairs weights and moments by their position in memory, so that
    with channels-last weights each weight would get the moments of another one.
    """
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
