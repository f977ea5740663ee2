"""Check per image that it lies in the box and in the ball, and has the recorded distance and the recorded class.

Two passes over one image may differ by rounding if the batch differs, and some attacks end *on* the boundary between
two classes. There the recorded class counts as predicted, and the image is counted as one of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.core.specs import AttackSpec
from bench.data.tensors import as_inputs
from bench.evaluation.adversarials import Adversarials
from bench.evaluation.quantise import in_ball
from bench.evaluation.verify import distances
from bench.results.per_image import Sample

LOGITS_APART = 1e-5  # of the largest logit
DISTANCE_APART = 1e-6  # in the units of the norm, and of the distance


@dataclass(frozen=True)
class Checked:
    """Results of checking a batch of claims; the masks are (M,) bool on the CPU."""

    true: Tensor
    near: Tensor  # true only up to rounding
    problems: tuple[str, ...]
    largest: float = 0.0  # distance of a true one


def asked(model: nn.Module, inputs: Tensor, recorded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The predicted classes of (M, C, H, W), whether they are the ``recorded`` ones, and where only up to rounding."""
    model.eval()
    with torch.no_grad():
        logits = model(inputs).cpu()
    found, known = logits.argmax(1), (recorded >= 0) & (recorded < logits.shape[1])
    behind = logits.amax(1) - logits.gather(1, torch.where(known, recorded, 0)[:, None]).squeeze(1)
    near = known & (found != recorded) & (behind <= LOGITS_APART * logits.abs().amax(1))
    return found, (found == recorded) | near, near


def check_clean(model: nn.Module, inputs: Tensor, samples: Sequence[Sample]) -> Checked:
    """Check that clean images have the recorded predictions."""
    found, same, near = asked(model, inputs, torch.tensor([s.clean_pred for s in samples]))
    pairs = zip(samples, found.tolist(), same.tolist(), strict=True)
    problems = (f"{s.sample_id}: clean prediction {f}, recorded {s.clean_pred}" for s, f, ok in pairs if not ok)
    return Checked(same, near, tuple(problems))


def check_float32(
    model: nn.Module, inputs: Tensor, stored: Adversarials, samples: Sequence[Sample], attack: AttackSpec
) -> Checked:
    """Check the box, the ball (in exact arithmetic), and the recorded distances and predictions of the images."""
    images = stored.images.to(inputs.device)
    boxed = ((images >= 0) & (images <= 1)).flatten(1).all(1).cpu()  # NaN is not
    length = distances(inputs, images, attack.norm).cpu()
    recorded = torch.tensor([sample.distance for sample in samples], dtype=torch.float64)
    inside = length <= attack.eps * (1 + 1e-9)
    as_recorded = (length - recorded).abs() <= DISTANCE_APART * (1 + recorded)
    found, same, near = asked(model, images, torch.tensor([sample.adv_pred for sample in samples]))
    problems = []
    for k, sample in enumerate(samples):
        wrong = [
            *(() if boxed[k] else ("pixels outside [0, 1]",)),
            *(() if inside[k] else (f"distance {length[k]:.6g}, beyond eps {attack.eps:.6g}",)),
            *(() if as_recorded[k] else (f"distance {length[k]:.6g}, recorded {recorded[k]:.6g}",)),
            *(() if same[k] else (f"prediction {found[k]}, recorded {sample.adv_pred}",)),
        ]
        problems += [f"{sample.sample_id}: {', '.join(wrong)}"] if wrong else []
    true = boxed & inside & as_recorded & same
    return Checked(true, near & true, tuple(problems), _largest(length[true]))


def check_uint8(
    model: nn.Module, inputs: Tensor, stored: Adversarials, samples: Sequence[Sample], attack: AttackSpec
) -> Checked:
    """Check which 8-bit images are in the ball and broken. Others are no problem: only the number is recorded."""
    images = as_inputs(stored.images.to(inputs.device))
    found, same, near = asked(model, images, stored.predictions)
    labels = torch.tensor([sample.label for sample in samples])
    true = same & (stored.predictions != labels) & in_ball(inputs, stored.images, attack.norm, attack.eps).cpu()
    problems = tuple(
        f"{sample.sample_id}: prediction {found[k]} in 8 bits, recorded {stored.predictions[k]}"
        for k, sample in enumerate(samples)
        if not same[k]
    )
    return Checked(true, near & true, problems, _largest(distances(inputs, images, attack.norm).cpu()[true]))


def _largest(length: Tensor) -> float:
    return float(length.max()) if len(length) else 0.0
