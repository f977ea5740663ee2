"""Build the search model: a faster copy of the model under test, on which our own attacks search.

Batch norms are folded, and the memory format is channels-last if that is faster. With bf16 the backbone computes in
bfloat16. The layers after the backbone stay in float32, so that close logits remain distinct. The outcomes of a cell
are always computed by the model under test, see :class:`bench.attacks.engine.fast_model.FastModel`.

Each copy is tested by a forward and a backward pass on a probe batch. The copy is discarded if it raises an error or if
its results differ from the results of the model under test.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from bench.attacks.gradients import Pass, differentiate, weighted_sum
from bench.core.errors import first_line, ran_out_of_memory
from bench.core.specs import Precision
from bench.models.classifier import Classifier
from bench.models.folding import folded
from bench.models.memory_format import to_channels_last
from bench.sanity.model_state import probing

EXAMPLES = 8
TINY = 1e-30
#: Largest allowed relative L2 difference between the copy and the model under test, for logits and gradients. The
#: values are larger than rounding errors and smaller than the effect of a wrongly folded layer.
APART: dict[Precision, tuple[float, float]] = {"fp32": (0.01, 0.1), "bf16": (0.5, 0.9)}


class BFloat16(nn.Module):
    """Run a module under bfloat16 autocast. Its weights and outputs stay float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs of the module in float32."""
        with torch.autocast(inputs.device.type, torch.bfloat16):
            outputs: Tensor = self.module(inputs)
        return outputs.float()


class SearchModels:
    """Search models of one frozen model under test, each built on first use."""

    def __init__(self, model: nn.Module, image_shape: Sequence[int], device: torch.device) -> None:
        self._model, self._image_shape, self._device = model, tuple(image_shape), device
        self._copies: dict[Precision, nn.Module] = {}
        self._full: dict[Precision, nn.Module] = {}  # the float32 version of each copy
        self._notes: dict[Precision, str] = {}

    def get(self, precision: Precision) -> nn.Module:
        """Return the search model, or the model under test itself if there is no usable faster copy."""
        if precision not in self._copies:
            self._copies[precision] = self._make(precision)
        return self._copies[precision]

    def begin_cell(self) -> None:
        """Make discarded copies again. A cell has the same result and passes after other cells, or as the first one."""
        for precision in self._notes:
            del self._copies[precision], self._full[precision]
        self._notes.clear()

    def note(self, precision: Precision) -> tuple[str, ...]:
        """Return why a faster copy was discarded; empty if none was."""
        note = self._notes.get(precision)
        return (note,) if note else ()

    def leave_out(self, precision: Precision, reason: str) -> None:
        """Discard the faster copy in ``precision``: search on the model under test for the rest of the cell."""
        self._copies[precision] = self._full[precision] = self._model
        self._notes[precision] = f"searched on the model itself in float32; the faster copy was discarded: {reason}"

    def difference(self, precision: Precision, points: Tensor) -> str:
        """Describe how the copy differs from the model at ``points``, (B, C, H, W); empty if it does not.

        The copy is compared on images of the attack, because a model may branch differently on real images than on the
        random images of the first test.
        """
        copied = self.get(precision)
        return "" if copied is self._model else self._difference(copied, self._full[precision], precision, points)

    def _make(self, precision: Precision) -> nn.Module:
        examples = self._examples()
        if isinstance(_passes(self._model, examples), str):
            return self._model  # the model itself fails on the probe batch, so a copy cannot be compared with it
        for full in self._candidates(precision):
            copied = _in_bfloat16(full) if precision == "bf16" else full
            reason = self._difference(copied, full, precision, examples)
            if not reason:
                self._notes.pop(precision, None)
                self._full[precision] = full
                return copied
            self.leave_out(precision, reason)
        return self._model

    def _difference(self, copied: nn.Module, full: nn.Module, precision: Precision, points: Tensor) -> str:
        """Describe how the float32 copy or the copy in ``precision`` differs from the model; empty if both agree."""
        expected = _passes(self._model, points)
        if isinstance(expected, str):
            return ""  # the model itself fails on these points: the attack reports its error
        copies: list[tuple[nn.Module, Precision]] = [(full, "fp32")] if full is not self._model else []
        for model, tolerance in (*copies, *([(copied, precision)] if copied is not full else [])):
            result = _passes(model, points)
            reason = result if isinstance(result, str) else _describe_difference(result, expected, tolerance)
            if reason:
                return reason
        return ""

    def _candidates(self, precision: Precision) -> Iterator[nn.Module]:
        """Yield the copies in float32, fastest first. Each becomes invalid when the next one is made."""
        folded_copy = folded(self._model, self._examples())
        if _channels_last(self._device, precision) and any(isinstance(m, nn.Conv2d) for m in self._model.modules()):
            copied = _copy(self._model) if folded_copy is None else folded_copy
            if copied is not None:
                yield to_channels_last(copied)
        if folded_copy is not None:
            yield folded_copy.to(memory_format=torch.contiguous_format)
        if precision == "bf16":
            yield self._model

    def _examples(self) -> Tensor:
        """Return images of uniform noise, because constant images could hide a wrongly folded batch norm."""
        return torch.rand(EXAMPLES, *self._image_shape, generator=torch.Generator().manual_seed(0)).to(self._device)


def _copy(model: nn.Module) -> nn.Module | None:
    try:
        return copy.deepcopy(model)
    except Exception:  # noqa: BLE001 - search on the model itself if it cannot be copied
        return None


def _passes(model: nn.Module, examples: Tensor) -> Pass | str:
    """Run one forward and one backward pass. Return the error as text if it fails. Buffers stay unchanged."""
    try:
        with probing(model, examples.device):
            return differentiate(model, examples, weighted_sum)
    except Exception as error:  # an external model may raise anything
        if ran_out_of_memory(error):
            raise
        return f"{type(error).__name__} was raised: {first_line(error)}"


def _describe_difference(actual: Pass, expected: Pass, precision: Precision) -> str:
    """Describe how ``actual`` differs from ``expected`` by more than the tolerance; empty if it does not.

    Logits are compared per image, because a model may branch differently for a single image. Gradients are compared
    over the whole batch, because rounding may select another of two equal maxima in a single image.
    """
    of_logits, of_gradients = APART[precision]
    if actual.logits.shape != expected.logits.shape:
        return "the logits have a different shape"
    # Classes that are switched off, for example by a logit of −10⁹, are no measure of the others.
    constant = ((expected.logits == expected.logits[:1]) & (actual.logits == expected.logits)).all(0)
    lengths = _length(expected.logits.masked_fill(constant, 0))
    difference = _length(actual.logits - expected.logits) / lengths.clamp_min(0.1 * float(lengths.mean()) + TINY)
    if not bool((difference <= of_logits).all()):
        count = int((~(difference <= of_logits)).sum())
        largest = float(difference.max())
        return f"the logits of {count} of {len(difference)} images differ, by up to {largest:.2g} of their length"
    length = float(_length(expected.gradient).square().sum().sqrt())
    gradients = float(_length(actual.gradient - expected.gradient).square().sum().sqrt()) / max(length, TINY)
    if not length or gradients <= of_gradients:
        return ""
    return f"the gradients have a relative L2 difference of {gradients:.2g}"


def _length(values: Tensor) -> Tensor:
    """Return the L2 norm per image, (B,), float64."""
    norms: Tensor = torch.linalg.vector_norm(values.flatten(1).double(), dim=1)
    return norms


def _channels_last(device: torch.device, precision: Precision) -> bool:
    """Return whether the channels-last memory format is faster.

    It is faster on CPUs (measured: never slower on five model families), and for bfloat16 on other devices.
    """
    return device.type == "cpu" or precision == "bf16"


def _in_bfloat16(model: nn.Module) -> nn.Module:
    if not isinstance(model, Classifier):
        return BFloat16(model)
    return Classifier(model.normalize, BFloat16(model.backbone), model.head, model.output).eval()
