"""The model that our own attacks search on: a copy of the model under test that is faster and answers nearly alike.

Batch norms are folded, the channels lie last in memory where that is faster, and in bf16 the backbone's passes are
bfloat16's; what stands behind the backbone is float32, so that two logits near each other are told apart. No verdict
depends on the copy: see :class:`attacks.prepared.Prepared`. Nor may it fail an attack that the plain model would pass:
each copy is tried on a probe batch, forwards and backwards, and left out where it raises or differs.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from attacks.gradients import Pass, differentiate
from bench.auditing.state import put_back
from bench.core.errors import ran_out_of_memory
from bench.core.specs import Precision
from models.classifier import Classifier
from models.folding import folded

EXAMPLES = 8
#: Largest difference of a copy's logits and gradient, relative to the length of the plain model's: far above rounding,
#: far below that of a layer that was folded by mistake.
APART: dict[Precision, tuple[float, float]] = {"fp32": (0.01, 0.1), "bf16": (0.5, 0.9)}


class BFloat16(nn.Module):
    """A module whose passes are bfloat16's where torch's autocast has it so. Weights and result are float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16):
            outputs: Tensor = self.module(inputs)
        return outputs.float()


class SearchModels:
    """The search models of one frozen model under test, each made when first asked for."""

    def __init__(self, model: nn.Module, image_shape: Sequence[int], device: torch.device) -> None:
        self._model, self._image_shape, self._device = model, tuple(image_shape), device
        self._made: dict[Precision, nn.Module] = {}
        self._notes: dict[Precision, str] = {}

    def get(self, precision: Precision) -> nn.Module:
        """The model under test itself where it has no faster form."""
        if precision not in self._made:
            self._made[precision] = self._make(precision)
        return self._made[precision]

    def note(self, precision: Precision) -> tuple[str, ...]:
        """Why a faster copy was left out; empty where none was."""
        note = self._notes.get(precision)
        return (note,) if note else ()

    def leave_out(self, precision: Precision, reason: str) -> None:
        """Search on the model under test from now on."""
        self._made[precision] = self._model
        self._notes[precision] = f"searched on the model itself in float32: on a faster copy of it {reason}"

    def _make(self, precision: Precision) -> nn.Module:
        examples = self._examples()
        expected = _passes(self._model, examples)
        if isinstance(expected, str):
            return self._model  # the attack will fail with the model's own error
        for candidate in self._candidates(precision):
            found = _passes(candidate, examples)
            reason = found if isinstance(found, str) else _apart(found, expected, precision)
            if not reason:
                self._notes.pop(precision, None)
                return candidate
            self.leave_out(precision, reason)
        return self._model

    def _candidates(self, precision: Precision) -> Iterator[nn.Module]:
        """The fastest first. The copies share memory: each is out of use when the next one is made."""
        def at_precision(model: nn.Module) -> nn.Module:
            return _in_bfloat16(model) if precision == "bf16" else model

        other = folded(self._model, self._examples())
        if _channels_last(self._device, precision) and any(isinstance(m, nn.Conv2d) for m in self._model.modules()):
            copied = _copy(self._model) if other is None else other
            if copied is not None:
                yield at_precision(copied.to(memory_format=torch.channels_last))
        if other is not None:
            yield at_precision(other.to(memory_format=torch.contiguous_format))
        if precision == "bf16":
            yield at_precision(self._model)

    def _examples(self) -> Tensor:
        """Noise: of images of one colour a norm's place among the layers could be mistaken."""
        return torch.rand(EXAMPLES, *self._image_shape, generator=torch.Generator().manual_seed(0)).to(self._device)


def _copy(model: nn.Module) -> nn.Module | None:
    try:
        return copy.deepcopy(model)
    except Exception:  # noqa: BLE001 - a foreign model that cannot be copied is searched as it is
        return None


def _passes(model: nn.Module, examples: Tensor) -> Pass | str:
    """One pass in each direction, or what is wrong with it. The model's buffers stay as they are."""
    generator = torch.Generator().manual_seed(1)

    def weighted(logits: Tensor) -> Tensor:
        weights = torch.rand(logits.shape[1:], generator=generator)
        return (logits * weights.to(logits)).flatten(1).sum(1)

    try:
        cuda = [examples.device] if examples.is_cuda else []
        with put_back(model), torch.random.fork_rng(devices=cuda), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the attack repeats them
            torch.manual_seed(0)
            return differentiate(model, examples, weighted)
    except Exception as error:  # a foreign model fails in its own ways
        if ran_out_of_memory(error):
            raise
        return f"{type(error).__name__} was raised: {(str(error).splitlines() or [''])[0]}"


def _apart(found: Pass, expected: Pass, precision: Precision) -> str:
    """How ``found`` differs from ``expected`` by more than a copy may; empty where it does not."""
    most = APART[precision]
    pairs = (("logits", found.logits, expected.logits), ("gradients", found.gradient, expected.gradient))
    for limit, (name, ours, theirs) in zip(most, pairs, strict=True):
        if ours.shape != theirs.shape:
            return f"the {name} have another shape"
        length = torch.linalg.vector_norm(theirs.double())
        apart = float(torch.linalg.vector_norm(ours.double() - theirs.double()) / length.clamp_min(1e-30))
        if not apart <= limit and float(length) > 0:
            return f"the {name} differ by {apart:.2g} of their length"
    return ""


def _channels_last(device: torch.device, precision: Precision) -> bool:
    """On CPUs always faster or as fast, measured on five families; on accelerators where bfloat16 units need it."""
    return device.type == "cpu" or precision == "bf16"


def _in_bfloat16(model: nn.Module) -> nn.Module:
    if not isinstance(model, Classifier):
        return BFloat16(model)
    return Classifier(model.normalize, BFloat16(model.backbone), model.head, model.output).eval()
