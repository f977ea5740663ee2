"""Example of a plug-in that registers one of each kind.

Run from the checkout:

    bench run --plugin examples/plugin.py --models two_layers --variants baseline,strong
        --dataset stripes --attacks noise,pgd --eps 0.2 --corruptions dust --epochs 3
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.attacks import ATTACKS, AttackEntry, Cost, SampleRng
from bench.attacks.corruptions.draws import Draws
from bench.attacks.corruptions.registry import CORRUPTIONS, CorruptionEntry
from bench.core.specs import Norm, Recipe, VariantSpec
from bench.data import DATASETS, DataRequest, Dataset
from bench.data.registry import DatasetEntry
from bench.data.split import Split, array_split
from bench.diagnostics.latents import Latents, Value
from bench.diagnostics.registry import DIAGNOSTICS, DiagnosticEntry
from bench.leaderboard.metrics import MetricEntry, MetricInput, register_metric
from bench.models.registry import ModelEntry, register_model
from bench.models.training_steps import TRAINING_STEPS, StepContext, StepEntry, TrainingBatch
from bench.models.variants import VARIANTS, VariantEntry


# A model: a module from normalised images (N, 3, S, S) to features (N, d). The harness adds head and output layer.
def two_layers(*, image_size: int) -> nn.Module:
    """Build a hidden layer of 64 units."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, 64), nn.ReLU())


register_model(
    "two_layers", ModelEntry(summary="a hidden layer of 64", source="this example", build=two_layers), __file__
)

# A variant: a head, a penalty on its latents, and the schedule of the penalty's weight, all by name.
VARIANTS.register(
    "strong",
    VariantEntry(
        summary="point collapse on 8 latents",
        source="this example",
        spec=VariantSpec(head="linear", latent_dim=8, penalty="mean_square", schedule="short"),
    ),
    origin=__file__,
)


# A training step: a function from a batch to the loss, for a method that is more than a head, a penalty and an attack
# on the images. The variant `lpc+mixup` adds the penalty of lpc.
def mixup(batch: TrainingBatch, context: StepContext) -> Tensor:
    """Mix each image with the previous one of the batch, and the losses of both labels in the same shares."""
    share = context.random.uniform("mixup", 1, 1, 1)  # (B, 1, 1, 1), per image
    found = context.forward(share * batch.images + (1 - share) * batch.images.roll(1, 0))
    own, previous = (cross_entropy(found.outputs, y, reduction="none") for y in (batch.labels, batch.labels.roll(1)))
    return own.lerp(previous, 1 - share.flatten()).mean() + context.penalties(found)


TRAINING_STEPS.register(
    "mixup",
    StepEntry(
        summary="cross-entropy of pairs of images, mixed in random shares",
        source="Zhang et al. 2018, arXiv 1710.09412, with uniform shares",
        function=mixup,
        adversary="unused",  # it does not call context.attack()
        criterion=False,  # it does not call context.criterion or context.loss
    ),
    origin=__file__,
)
VARIANTS.register(
    "mixup",
    VariantEntry(
        summary="baseline trained on mixed pairs of images",
        source="this example",
        spec=VariantSpec(training_step="mixup"),
    ),
    origin=__file__,
)


# An attack: a function from images to images. Its randomness comes from `rng`. The harness checks budget and box.
def noise(model: nn.Module, inputs: Tensor, labels: Tensor, *, norm: Norm, eps: float, rng: SampleRng) -> Tensor:
    """Add uniform noise from the Linf ball."""
    draw = rng.uniform("noise", 0, inputs.shape[1:])
    return (inputs + eps * (2 * draw - 1)).clamp(0, 1)


ATTACKS.register(
    "noise",
    AttackEntry(
        summary="uniform noise",
        source="this example",
        function=noise,
        norms=("linf",),
        uses_gradient=False,
        # Passes through the model per image; `least_…` is the number for an image that is fooled at once.
        cost=lambda params, num_classes: Cost(forwards=0, backwards=0, least_forwards=0, least_backwards=0),
    ),
    origin=__file__,
)


# A corruption: a function of images (N, H, W, C) uint8, the constants of one severity, and random numbers.
def dust(images: NDArray[np.uint8], share: float, draws: Draws) -> NDArray[np.float32]:
    """Replace a share of the pixels by grey."""
    covered = draws.uniform(*images.shape[1:3], 1) < share
    return np.where(covered, np.float32(128), images)


CORRUPTIONS.register(
    "dust",
    CorruptionEntry(
        summary="grey pixels",
        source="this example",
        family="weather",
        function=dust,
        constants={"cifar": (0.02, 0.05, 0.1, 0.2, 0.4)},
        random=True,
    ),
    origin=__file__,
)


# A diagnostic: a number computed from the latents, (N, d), of a trained network.
def sparsity(latents: Latents) -> Value:
    """Return the share of latent entries that are zero."""
    return Value(float((np.abs(latents.z) < 1e-6).mean()))


DIAGNOSTICS.register(
    "sparsity",
    DiagnosticEntry(
        summary="share of zero entries in the latents",
        definition="share of abs(z_ij) < 1e-6",
        invariant=False,
        better="",
        function=sparsity,
    ),
    origin=__file__,
)


# A metric of the leaderboard: a number computed from the cells of one row; accuracies of the row are fractions.
def clean_error(given: MetricInput) -> float | None:
    """Return the share of misclassified clean images in percent, mean over seeds."""
    clean = given.row.mean("clean")
    return None if clean is None else 100 * (1 - clean)


register_metric(
    "clean_error",
    MetricEntry(
        unit="percent",
        meaning="share of clean images that are misclassified, in percent; mean over seeds",
        function=clean_error,
        source="this example",
    ),
    origin=__file__,
)


# A data set: two splits of uint8 (N, C, H, W), or float32 in [0, 1], with labels in 0…K−1.
def stripes(request: DataRequest) -> Dataset:
    """Make images of noisy horizontal or vertical stripes."""

    def split(name: str, count: int, seed: int) -> Split:
        rng = np.random.default_rng(seed)
        labels = np.arange(count) % 2
        pattern = np.where(np.arange(16) % 4 < 2, 180, 70)
        images = np.where(labels[:, None, None] == 1, pattern[None, None, :], pattern[None, :, None])
        noisy = images + rng.normal(0, 30, (count, 16, 16))
        return array_split(name, noisy.clip(0, 255).astype(np.uint8)[:, None], labels.astype(np.int64))

    train, test = split("train", 200, 0), split("test", 100, 1)
    return Dataset(name="stripes", train=train, test=test, num_classes=2, image_size=16, official=False)


DATASETS.register(
    "stripes",
    DatasetEntry(
        summary="horizontal against vertical stripes at 16 px",
        source="this example",
        load=stripes,
        num_classes=2,
        image_size=16,
        eps={"linf": ("0.1", "0.2"), "l2": ("1", "2"), "l1": ("10", "20")},
        recipe=Recipe(epochs=3),
        costly_limit=50,
    ),
    origin=__file__,
)
