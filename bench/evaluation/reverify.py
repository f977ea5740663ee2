"""Verify the cells of a run from the stored files: weights, data and adversarial images. No attack is run.

A claim is a recorded misclassification. The stored adversarial image proves the claim if it is in [0, 1] and in the
ball, has the recorded distance, and the float32 model predicts the recorded class. The robustness of an image cannot be
proved this way. The verification of a robust accuracy therefore shows only that the accuracy is *no higher* than
recorded.

Two passes over one image may differ by rounding if the batches differ, and some attacks end *on* the boundary between
two classes. In this case the recorded class is accepted, and the image is counted separately.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

import torch
from torch import Tensor, nn

from bench.context import RunContext
from bench.core.errors import BenchError, CellFailure
from bench.core.records import EvalRecord
from bench.core.specs import AttackSpec
from bench.data.tensors import Images, as_inputs
from bench.evaluation.adversarials import Adversarials, in_ball, parse_adversarials
from bench.evaluation.verify import distances
from bench.results.per_image import Sample
from bench.results.store import Store
from bench.runtime.torch_state import harness_torch_state

LOGIT_TOLERANCE = 1e-5  # tolerance of two logits relative to the larger of the two
DISTANCE_TOLERANCE = 1e-6  # absolute and relative tolerance of a distance


@dataclass(frozen=True)
class Checked:
    """Results of checking a batch of claims. The masks are (M,) bool on the CPU."""

    true: Tensor  # verified claims
    near: Tensor  # claims that are verified only up to rounding
    problems: tuple[str, ...]
    largest: float = 0.0  # largest distance of a verified claim


def compare_predictions(model: nn.Module, inputs: Tensor, recorded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the predicted classes of images (M, C, H, W), and two masks, all (M,) on the CPU.

    The first mask: the prediction equals ``recorded``, if necessary up to rounding. The second mask: the prediction
    equals ``recorded`` only up to rounding.
    """
    model.eval()
    with torch.no_grad():
        logits = model(inputs).cpu()
    predicted, valid = logits.argmax(1), (recorded >= 0) & (recorded < logits.shape[1])
    largest, claimed = logits.amax(1), logits.gather(1, torch.where(valid, recorded, 0)[:, None]).squeeze(1)
    size = torch.maximum(largest.abs(), claimed.abs())  # logits of other classes may be −10⁹
    by_rounding = valid & (predicted != recorded) & (largest - claimed <= LOGIT_TOLERANCE * size)
    return predicted, (predicted == recorded) | by_rounding, by_rounding


def check_clean(model: nn.Module, inputs: Tensor, samples: Sequence[Sample]) -> Checked:
    """Check that clean images have the recorded predictions."""
    predicted, same, by_rounding = compare_predictions(model, inputs, torch.tensor([s.clean_pred for s in samples]))
    pairs = zip(samples, predicted.tolist(), same.tolist(), strict=True)
    problems = (f"{s.sample_id}: clean prediction {f}, recorded {s.clean_pred}" for s, f, ok in pairs if not ok)
    return Checked(same, by_rounding, tuple(problems))


def check_float32(
    model: nn.Module, inputs: Tensor, stored: Adversarials, samples: Sequence[Sample], attack: AttackSpec
) -> Checked:
    """Check the box, the ball (in exact arithmetic), and the recorded distances and predictions of the images."""
    images = stored.images.to(inputs.device)
    boxed = ((images >= 0) & (images <= 1)).flatten(1).all(1).cpu()  # false for NaN
    length = distances(inputs, images, attack.norm).cpu()
    recorded = torch.tensor([sample.distance for sample in samples], dtype=torch.float64)
    inside = length <= attack.eps * (1 + 1e-9)
    as_recorded = (length - recorded).abs() <= DISTANCE_TOLERANCE * (1 + recorded)
    predicted, same, by_rounding = compare_predictions(
        model, images, torch.tensor([sample.adv_pred for sample in samples])
    )
    problems = []
    for k, sample in enumerate(samples):
        errors = [
            *(() if boxed[k] else ("pixels outside [0, 1]",)),
            *(() if inside[k] else (f"distance {length[k]:.6g}, beyond eps {attack.eps:.6g}",)),
            *(() if as_recorded[k] else (f"distance {length[k]:.6g}, recorded {recorded[k]:.6g}",)),
            *(() if same[k] else (f"prediction {predicted[k]}, recorded {sample.adv_pred}",)),
        ]
        problems += [f"{sample.sample_id}: {', '.join(errors)}"] if errors else []
    true = boxed & inside & as_recorded & same
    return Checked(true, by_rounding & true, tuple(problems), _largest(length[true]))


def check_uint8(
    model: nn.Module, inputs: Tensor, stored: Adversarials, samples: Sequence[Sample], attack: AttackSpec
) -> Checked:
    """Check which 8-bit images are in the ball and misclassified, and that all have the recorded predictions.

    An 8-bit image may be outside the ball or correctly classified: the record has only the number of the other images.
    """
    images = as_inputs(stored.images.to(inputs.device))
    predicted, same, by_rounding = compare_predictions(model, images, stored.predictions)
    labels = torch.tensor([sample.label for sample in samples])
    true = same & (stored.predictions != labels) & in_ball(inputs, stored.images, attack.norm, attack.eps).cpu()
    problems = tuple(
        f"{sample.sample_id}: prediction {predicted[k]} in 8 bits, recorded {stored.predictions[k]}"
        for k, sample in enumerate(samples)
        if not same[k]
    )
    return Checked(true, by_rounding & true, problems, _largest(distances(inputs, images, attack.norm).cpu()[true]))


def _largest(length: Tensor) -> float:
    return float(length.max()) if len(length) else 0.0


BATCH = 128

Status = Literal[
    "verified", "in part", "disagrees", "not stored", "not made here", "other sample", "not ok", "other weights"
]
Claims = dict[int, Sample]  # images recorded as misclassified under an attack, by their index in the cell


@dataclass(kw_only=True)
class Verdict:
    """Verdict on one cell. Claims of the clean cell are predictions. Claims of other cells are misclassified images."""

    cell_id: str
    name: str
    status: Status = "verified"  # "in part": some 8-bit images are correctly classified, unlike their float32 images
    n: int = 0  # number of claims
    n_verified: int = 0  # number of verified claims; can be smaller than n for 8-bit images
    n_at_boundary: int = 0  # number of claims verified only up to rounding
    largest_distance: float | None = None
    encoding: str = ""
    problems: list[str] = field(default_factory=list)

    def disagree(self, *problems: str) -> None:
        """Add ``problems``. If there is at least one, set the status to ``disagrees``."""
        self.problems += problems
        self.status = "disagrees" if self.problems else self.status

    def add(self, checked: Checked) -> None:
        """Add the results of a batch of claims."""
        self.n_verified += int(checked.true.sum())
        self.n_at_boundary += int(checked.near.sum())
        if checked.true.any():
            self.largest_distance = max(self.largest_distance or 0.0, checked.largest)
        self.disagree(*checked.problems)


@harness_torch_state()
def check_cell(record: EvalRecord, model: nn.Module, context: RunContext) -> Verdict:
    """Verify an ok cell of the weights of ``model``, which is frozen and on the device of ``context``.

    Of an attack without stored images, the labels, the clean predictions and the counts are checked.

    Raise BenchError without a verdict if the images cannot be read, or if corrupted images cannot be written.
    """
    verdict = Verdict(cell_id=record.cell_id, name=record.spec.name, encoding=record.adversarials)
    corruption, limit = record.spec.corruption, record.spec.limit
    try:
        images = context.corrupted(corruption, limit) if corruption else context.images("test", limit)
    except CellFailure as error:
        verdict.disagree(str(error))
        return verdict
    try:
        samples = context.store.read_samples(record)
    except BenchError as error:
        verdict.disagree(str(error))
        return verdict
    verdict.disagree(*_contradictions(record, samples, images))
    if verdict.status == "verified":
        _check_clean(record, samples, images, model, context, verdict)
        if record.spec.attack is not None and record.adversarials == "none":
            verdict.status = "not stored" if verdict.status == "verified" else verdict.status
        elif record.spec.attack is not None:
            claims = {i: s for i, s in enumerate(samples) if s.clean_pred == s.label != s.adv_pred}
            _check_adversarials(record, claims, images, model, context, verdict)
    return verdict


def _contradictions(record: EvalRecord, samples: Sequence[Sample], images: Images) -> Iterator[str]:
    """Yield each contradiction between the rows and the data, within the rows, or between the rows and the record."""
    if [sample.sample_id for sample in samples] != list(images.ids):
        yield "the images differ from the images of the data set"
        return
    for sample, label in zip(samples, images.labels.tolist(), strict=True):
        if sample.label != label:
            yield f"{sample.sample_id}: label {sample.label}, the data set has {label}"
        if not _is_possible(sample):
            yield f"{sample.sample_id}: a distance of {sample.distance} contradicts its predictions"
    n_correct = sum(sample.clean_pred == sample.label for sample in samples)
    if record.spec.attack is not None and not record.spec.filters and record.n_attacked != n_correct:
        yield f"{record.n_attacked} images attacked, {n_correct} classified correctly"
    largest = max((s.distance for s in samples if s.distance), default=None)
    if largest != record.max_distance:
        yield f"largest distance {record.max_distance} in the record, {largest} among its images"


def _is_possible(sample: Sample) -> bool:
    if sample.clean_pred != sample.label:
        return sample.distance == 0 and sample.adv_pred == sample.clean_pred
    return (sample.distance is None) == sample.correct and (sample.distance or 0.0) >= 0


def _check_clean(
    record: EvalRecord, samples: Sequence[Sample], images: Images, model: nn.Module, context: RunContext, to: Verdict
) -> None:
    """Check the clean predictions of a cell. They are counted as claims in the clean cell only."""
    batches = torch.arange(len(samples)).split(BATCH)
    for indices, (inputs, _) in zip(batches, images.batches(batches, context.device), strict=True):
        checked = check_clean(model, inputs, [samples[i] for i in indices.tolist()])
        if record.spec.attack is None:
            to.n += len(indices)
            to.add(checked)
            to.largest_distance = None
        else:
            to.disagree(*checked.problems)


def _check_adversarials(
    record: EvalRecord, claims: Claims, images: Images, model: nn.Module, context: RunContext, to: Verdict
) -> None:
    """Check every claim by the image stored for this cell, or by the image of the successful filtering attack."""
    to.n, remaining = len(claims), dict(claims)
    index_of = {name: i for i, name in enumerate(images.ids)}
    for source, stored in _sources(record, images, context.store, to):
        chosen = [k for k, name in enumerate(stored.ids) if index_of.get(name) in remaining]
        if source is record:
            extra = [name for name in stored.ids if index_of.get(name) not in claims]
            to.disagree(*(f"{name}: an image is stored, but it is not recorded as misclassified" for name in extra))
        before = to.n_verified
        _check_source(source, stored, chosen, remaining, images, model, context, to)
        if source is record and record.n_broken_8bit not in (None, to.n_verified - before):
            to.disagree(f"{to.n_verified - before} images misclassified in 8 bits, recorded {record.n_broken_8bit}")
    to.disagree(*(f"{s.sample_id}: recorded as misclassified, but no image is stored" for s in remaining.values()))
    if to.status == "verified" and to.n_verified < to.n:
        to.status = "in part"


def _check_source(
    source: EvalRecord,
    stored: Adversarials,
    chosen: Sequence[int],
    remaining: Claims,
    images: Images,
    model: nn.Module,
    context: RunContext,
    to: Verdict,
) -> None:
    """Check the images at ``chosen`` of one file, and remove their claims from ``remaining``."""
    assert source.spec.attack is not None
    check = check_float32 if source.adversarials == "float32" else check_uint8
    index_of = {name: i for i, name in enumerate(images.ids)}
    for start in range(0, len(chosen), BATCH):
        rows = torch.tensor(chosen[start : start + BATCH])
        ids = [stored.ids[k] for k in rows.tolist()]
        part = Adversarials(ids, stored.images[rows], stored.predictions[rows])
        inputs = images.inputs(torch.tensor([index_of[name] for name in ids]), context.device)
        to.add(check(model, inputs, part, [remaining.pop(index_of[name]) for name in ids], source.spec.attack))


def _check_form(stored: Adversarials, source: EvalRecord, images: Images, where: str) -> None:
    expected = images.shape
    actual = tuple(stored.images.shape[1:])
    if str(stored.images.dtype) != f"torch.{source.adversarials}" or actual != expected:
        raise BenchError(f"{where} has {stored.images.dtype} {actual}, not {source.adversarials} {expected}.")


def _sources(
    record: EvalRecord, images: Images, store: Store, to: Verdict
) -> Iterator[tuple[EvalRecord, Adversarials]]:
    """Yield pairs of stored images and record: first of the cell, then of its filtering cells in their order."""
    filters = [store.finished_cell(record.spec.run_id, cell_id) for cell_id in record.spec.filters]
    for source in (record, *(cell for cell in filters if cell is not None and cell.adversarials != "none")):
        where = str(store.adversarials_path(source.spec.run_id, source.cell_id))
        try:
            content = store.read_adversarials(source)
            if sha256(content).hexdigest() != source.adversarials_sha:
                to.disagree(f"{where} differs from the file in its record")
            stored = parse_adversarials(content, source.cell_id, source.weights_sha, where=where)
            _check_form(stored, source, images, where)
        except BenchError as error:
            to.disagree(str(error))
            continue
        yield source, stored
