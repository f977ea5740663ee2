"""Choose the floating-point type of a training by a short trial on the device: ``--train-precision auto``.

bfloat16 trains several times faster on hardware with matrix units for it, and slower than float32 elsewhere, depending
on the architecture and the image size. The trial times a few steps of each type. Its result is stored in the results
folder, so that all runs of an architecture in this folder have the same type, and a repeated command finds its runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import functional as F

from bench.context import failures_as
from bench.core.errors import BenchError, CellFailure
from bench.core.specs import ModelSpec, Precision, VariantSpec, short_id
from bench.models.build import build_classifier
from bench.models.cropped_kernels import cropped_kernels
from bench.models.memory_format import to_channels_last
from bench.planning.plan import Request
from bench.runtime.environment import choose_device, has_bfloat16
from bench.runtime.progress import Progress
from bench.runtime.torch_state import harness_torch_state, own_generators
from bench.training.stored_trial import stored_trial
from bench.training.train import forward

LARGEST_BATCH = 64
ENOUGH_S = 3.0  # seconds after which the trial of a type ends
CHOICES: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True)
class Case:
    """The properties by which a choice is found. The device is none: a folder may be continued on another machine."""

    model: str
    image_size: int
    batch_size: int
    code_sha: str = ""  # content hash of the plug-ins, for a model that a plug-in registered
    stem: Literal["native", "small"] | None = None


def choose_precisions(
    request: Request, device_name: str, results: Path, progress: Progress, *, store: bool = True
) -> Mapping[str, Precision]:
    """Return the floating-point type of the trainings of each model of ``request``, by name.

    The type that is stored in the folder ``results``, also by a machine with another device. Otherwise float32 for
    hardware without bfloat16 and for models that cannot be built, or the type that a trial shows to be faster. Without
    ``store``, the choice is not written. Raises BenchError for a damaged file.
    """
    device, classes = choose_device(device_name), request.data.num_classes
    cases = {
        model.name: Case(model.name, request.data.image_size, request.recipe.batch_size, model.code_sha, model.stem)
        for model in request.models
    }
    return {name: _choose(case, classes, device, results, progress, store=store) for name, case in cases.items()}


def _choose(
    case: Case, num_classes: int, device: torch.device, results: Path, progress: Progress, *, store: bool
) -> Precision:
    values = {name: value for name, value in vars(case).items() if value is not None}
    path = results / "precision" / f"{short_id(values)}.json"
    trial = partial(_try, case, num_classes, device, progress)
    outcome = stored_trial(path, results, values, trial, store=store)
    if outcome is None:
        return "fp32"
    if outcome.get("precision") not in CHOICES:
        raise BenchError(f"{path} is no choice of a precision for {case.model}; delete it to repeat the trial.")
    precision: Precision = outcome["precision"]
    return precision


def _try(case: Case, num_classes: int, device: torch.device, progress: Progress) -> dict[str, Any] | None:
    """Return the faster type and the images per second of each type; None if the model cannot be built.

    float32 has 0.0, and bfloat16 is missing, if the hardware has no bfloat16 or if the trial fails.
    """
    rates: Mapping[Precision, float] = {"fp32": 0.0}
    if has_bfloat16(device):
        try:
            with failures_as("model_error"):
                rates = measure(case, num_classes, device)
        except BenchError:  # the training fails for the same reason, and reports it
            return None
        except CellFailure as error:  # such as a lack of memory, which may be over when the command is repeated
            why = f"{error.reason}: {error.message}"
            progress.line(f"{case.model}: training in fp32, because the trial of precisions failed: {why}")
        else:
            progress.line(f"{case.model}: images/s in a trial: {_shown(rates)}")
    return {"precision": max(rates, key=lambda name: rates[name]), "images_per_s": rates, "device": device.type}


def _shown(rates: Mapping[Precision, float]) -> str:
    return ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())


@harness_torch_state()
def measure(case: Case, num_classes: int, device: torch.device) -> dict[Precision, float]:
    """Return the images per second of training steps on random images in each type. Random generators are restored."""
    with own_generators(device):
        return {precision: _rate(case, num_classes, device, precision) for precision in CHOICES}


def _rate(case: Case, num_classes: int, device: torch.device, precision: Precision) -> float:
    built = build_classifier(
        ModelSpec(name=case.model, stem=case.stem),
        VariantSpec(),
        image_size=case.image_size,
        num_classes=num_classes,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        seed=0,
    )
    model = built.classifier.to(device).train()
    if precision == "bf16":
        to_channels_last(model)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    count = min(case.batch_size, LARGEST_BATCH)
    images = torch.rand(count, 3, case.image_size, case.image_size, device=device)
    labels = torch.arange(count, device=device) % num_classes
    times: list[float] = []
    with cropped_kernels(model):  # as in training
        while len(times) < 2 or (len(times) < 6 and sum(times) < ENOUGH_S):
            start = time.perf_counter()
            loss = F.cross_entropy(forward(model, images, labels, low_precision=precision == "bf16").outputs, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss.item()  # wait for the device
            times.append(time.perf_counter() - start)
    return count / min(times[1:])
