"""Choose the floating-point type of a training by a short trial on the device: ``--train-precision auto``.

bfloat16 trains several times faster on hardware with matrix units for it, and slower than float32 elsewhere, depending
on the architecture and the image size. The trial times a few steps of each type. Its result is stored in the results
folder, so that all runs of an architecture in this folder have the same type, and a repeated command finds its runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from bench.context import failures_as
from bench.core.errors import BenchError, CellFailure
from bench.core.limits import RECORD
from bench.core.seals import sealed
from bench.core.specs import ModelSpec, Precision, VariantSpec, short_id
from bench.models.build import build_classifier
from bench.planning.plan import Request
from bench.results.record_files import parse_sealed
from bench.runtime.claims import CLAIMS
from bench.runtime.environment import choose_device, has_bfloat16
from bench.runtime.files import check_writable, write_atomic
from bench.runtime.input_files import exists, read_input
from bench.runtime.interrupt import Stopped, stop_requested
from bench.runtime.progress import Progress
from bench.runtime.torch_state import harness_torch_state, own_generators
from bench.training.train import forward

FOLDER = "precision"  # of the results folder
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
        model.name: Case(model.name, request.data.image_size, request.recipe.batch_size, model.code_sha)
        for model in request.models
    }
    return {name: _choose(case, classes, device, results, progress, store=store) for name, case in cases.items()}


def _choose(
    case: Case, num_classes: int, device: torch.device, results: Path, progress: Progress, *, store: bool
) -> Precision:
    path = results / FOLDER / f"{short_id(case)}.json"
    if exists(path):  # without a claim, so that a folder can be read without write permission
        return _read(path, case)
    if stop_requested():  # such as the end of the time budget: nothing will be trained
        return "fp32"
    if not store:
        rates = _tried(case, num_classes, device, progress)
        return "fp32" if rates is None else _fastest(rates)
    check_writable(results)
    try:
        # Another process may be trying the same case: its choice is used.
        with CLAIMS.wait_for(results / "claims", f"precision-{path.stem}"):
            if not exists(path):
                rates = _tried(case, num_classes, device, progress)
                if rates is None:
                    return "fp32"
                content = {"precision": _fastest(rates), "images_per_s": rates, "device": device.type, **vars(case)}
                write_atomic(path, json.dumps(sealed(content), indent=1).encode())
            return _read(path, case)
    except Stopped:  # while it waited
        return "fp32"


def _tried(case: Case, num_classes: int, device: torch.device, progress: Progress) -> Mapping[Precision, float] | None:
    """Return the images per second of each type; None if the model cannot be built.

    float32 has 0.0, and bfloat16 is missing, if the hardware has no bfloat16 or if the trial fails.
    """
    if not has_bfloat16(device):
        return {"fp32": 0.0}
    try:
        with failures_as("model_error"):
            rates = measure(case, num_classes, device)
    except BenchError:  # the training fails for the same reason, and reports it
        return None
    except CellFailure as error:  # such as a lack of memory, which may be over when the command is repeated
        why = f"{error.reason}: {error.message}"
        progress.line(f"{case.model}: training in fp32, because the trial of precisions failed: {why}")
        return {"fp32": 0.0}
    progress.line(f"{case.model}: images/s in a trial: {_shown(rates)}")
    return rates


def _fastest(rates: Mapping[Precision, float]) -> Precision:
    return max(rates, key=lambda name: rates[name])


def _read(path: Path, case: Case) -> Precision:
    content = parse_sealed(read_input(path, RECORD), where=str(path))
    if content.get("precision") not in CHOICES or any(content.get(key) != value for key, value in vars(case).items()):
        raise BenchError(f"{path} is no choice of a precision for {case.model}; delete it to repeat the trial.")
    precision: Precision = content["precision"]
    return precision


def _shown(rates: Mapping[Precision, float]) -> str:
    return ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())


@harness_torch_state()
def measure(case: Case, num_classes: int, device: torch.device) -> dict[Precision, float]:
    """Return the images per second of training steps on random images in each type. Random generators are restored."""
    with own_generators(device):
        return {precision: _rate(case, num_classes, device, precision) for precision in CHOICES}


def _rate(case: Case, num_classes: int, device: torch.device, precision: Precision) -> float:
    built = build_classifier(
        ModelSpec(name=case.model),
        VariantSpec(),
        image_size=case.image_size,
        num_classes=num_classes,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        seed=0,
    )
    model = built.classifier.to(device).train()
    if precision == "bf16":
        model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    count = min(case.batch_size, LARGEST_BATCH)
    images = torch.rand(count, 3, case.image_size, case.image_size, device=device)
    labels = torch.arange(count, device=device) % num_classes
    times: list[float] = []
    while len(times) < 2 or (len(times) < 6 and sum(times) < ENOUGH_S):
        start = time.perf_counter()
        loss = F.cross_entropy(forward(model, images, labels, low_precision=precision == "bf16").outputs, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()  # wait for the device
        times.append(time.perf_counter() - start)
    return count / min(times[1:])
