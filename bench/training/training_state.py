"""Save and restore the state of an unfinished training, as tensors and JSON, so that it can be resumed exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from bench.core.errors import BenchError, CellFailure
from bench.core.records import EpochRecord
from bench.core.seeds import derive_seed
from bench.models.schedules import GammaState
from bench.models.storable import storable
from bench.runtime.files import FACTS, read_facts
from bench.training.averaging import WeightAverage

STEP = "step"  # number of updates of one weight, a scalar
#: Names of the moments of each weight.
MOMENTS: Mapping[type[torch.optim.Optimizer], set[str]] = {
    torch.optim.AdamW: {STEP, "exp_avg", "exp_avg_sq"},
    torch.optim.SGD: {"momentum_buffer"},
}


@dataclass
class EpochProgress:
    """The steps of an unfinished epoch.

    Each step is a tensor (3,) on the device of the training: loss, number of correct images, and median margin.
    ``generators`` are the states of torch's generators after the last step, uint8 tensors by name. They are set only in
    a state that was loaded.
    """

    epoch: int = 0  # from 1
    steps: list[Tensor] = field(default_factory=list)
    n_images: int = 0
    generators: Mapping[str, Tensor] = field(default_factory=dict)

    def table(self) -> Tensor:
        """Return the steps as one float64 tensor (n, 3) on the CPU. Waits for the device.

        Raises CellFailure("nan_loss") if a loss is not finite.
        """
        table = torch.stack(self.steps).cpu().double() if self.steps else torch.zeros(0, 3, dtype=torch.float64)
        bad = table[:, 0].isfinite().logical_not().nonzero()
        if len(bad):
            step = int(bad[0])
            raise CellFailure(
                "nan_loss", f"the loss became {float(table[step, 0])} in epoch {self.epoch}, step {step + 1}."
            )
        return table

    def record(self, gamma: float | Tensor) -> EpochRecord:
        """Return the means over the finished epoch, whose last step had the weight ``gamma``."""
        table = self.table()
        images_per_step = self.n_images / len(table)
        loss, margin = float(table[:, 0].mean()), float(table[:, 2].mean())
        accuracy = float(table[:, 1].mean()) / images_per_step
        return EpochRecord(loss=loss, accuracy=accuracy, gamma=float(gamma), margin=margin)


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
    average: WeightAverage | None = None


def dump_state(state: TrainingState) -> bytes:
    """Serialise the state as safetensors: weights, moments of the optimiser and buffers. The header has the rest.

    The states of torch's generators are those at the time of the call. Waits for the device. Raises
    CellFailure("nan_loss") if a loss of the epoch is not finite, and CellFailure("model_error") if the state cannot be
    stored.
    """
    header = {
        "elapsed_s": state.elapsed_s,
        "gamma": {name: None if value is None else float(value) for name, value in state.gamma._asdict().items()},
        "gamma_tensors": [name for name, value in state.gamma._asdict().items() if isinstance(value, Tensor)],
        "history": [asdict(record) for record in state.history],
        "epoch": {"epoch": state.epoch.epoch, "n_images": state.epoch.n_images},
    }
    return save(storable(_tensors(state)), {FACTS: json.dumps(header)})


def restore_state(state: TrainingState, content: bytes) -> None:
    """Load ``content`` into the initial state of a training. Raises BenchError for content of another training."""
    try:
        tensors, header = load(content), read_facts(content)
        _check_values(tensors, header)
        state.model.load_state_dict(_below("model.", tensors))
        if state.average is not None:
            state.average.model.load_state_dict(_below("average.", tensors))
        if state.term is not None:
            state.term.load_state_dict(_below("term.", tensors))
        _restore_moments(state.optimizer, _below("optimizer.", tensors))
        device = next(state.model.parameters()).device
        state.gamma = GammaState(**header["gamma"])._replace(
            # A GPU divides by a number and by a tensor with different rounding.
            **{name: torch.tensor(header["gamma"][name], device=device) for name in header["gamma_tensors"]}
        )
        state.elapsed_s = header["elapsed_s"]
        state.history = tuple(EpochRecord(**record) for record in header["history"])
        steps = list(tensors["epoch.steps"].float().to(device))
        state.epoch = EpochProgress(**header["epoch"], steps=steps, generators=_below("generators.", tensors))
    except (SafetensorError, RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BenchError(f"the saved state of the training does not fit it: {first}.") from error


def seed_layers(seed: int, progress: EpochProgress, device: torch.device) -> None:
    """Seed torch's global generators, which layers such as dropout use, for an epoch.

    The seed is a function of (seed, epoch). After a resumed step, the saved states are used.
    """
    torch.manual_seed(derive_seed(seed, "layers", progress.epoch))
    if progress.generators and progress.steps:
        torch.set_rng_state(progress.generators["cpu"])
        if "cuda" in progress.generators:
            torch.cuda.set_rng_state(progress.generators["cuda"], device)


def _generators(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    moments = {
        f"optimizer.{number}.{name}": value
        for number, values in state.optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    weights = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    term = state.term.state_dict() if state.term is not None else {}
    if state.average is not None:
        weights |= {f"average.{name}": value for name, value in state.average.model.state_dict().items()}
    device = next(state.model.parameters()).device
    generators = {f"generators.{name}": value for name, value in _generators(device).items()}
    epoch = {"epoch.steps": state.epoch.table()}
    return {**weights, **moments, **generators, **epoch, **{f"term.{name}": value for name, value in term.items()}}


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _restore_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = value
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, values in moments.items():
        if not 0 <= number < len(parameters) or values.keys() != MOMENTS[type(optimizer)]:
            raise ValueError(f"weight {number} has the moments {', '.join(values)}")
        _check_moments(values, parameters[number])
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def _check_moments(values: Mapping[str, Tensor], parameter: Tensor) -> None:
    """Raise ValueError for moments of another shape or type, from which the fused optimiser would read wrong memory."""
    for name, value in values.items():
        shape = torch.Size() if name == STEP else parameter.shape
        if value.shape != shape or (name != STEP and value.dtype != parameter.dtype):
            raise ValueError(f"the moment {name} of a weight of shape {tuple(parameter.shape)} does not fit it")


def _check_values(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Raise ValueError for values that no training has saved: texts, negative counts, tensors of other shapes."""
    history = [value for record in header["history"] for value in record.values()]
    gamma = [value for value in header["gamma"].values() if value is not None]
    numbers = [header["elapsed_s"], *header["epoch"].values(), *history, *gamma]
    if any(type(value) not in (int, float) for value in numbers):
        raise ValueError("a value is no number")
    if header["elapsed_s"] < 0 or any(type(value) is not int or value < 0 for value in header["epoch"].values()):
        raise ValueError("a time or a count is below 0")
    steps, generator, expected = tensors["epoch.steps"], tensors["generators.cpu"], torch.get_rng_state()
    if steps.shape != (len(steps), 3) or (generator.shape, generator.dtype) != (expected.shape, expected.dtype):
        raise ValueError("the steps of the epoch, or the state of the generator, have another shape")


def match_layouts(optimizer: torch.optim.Optimizer) -> None:
    """Give the moments the memory layout of their weights.

    Saved moments are contiguous. The fused optimiser pairs weights and moments by their position in memory, so that
    with channels-last weights each weight would get the moments of another one.
    """
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
