"""A plug-in of data sets and diagnostics, each of which breaks one rule. Tests check it by ``bench check-plugin``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bench.attacks.corruptions.registry import CORRUPTIONS, CorruptionEntry
from bench.core.specs import Recipe
from bench.data import DATASETS, DataRequest, Dataset
from bench.data.registry import DatasetEntry
from bench.data.split import Split, array_split
from bench.diagnostics.latents import Latents, Value, undefined
from bench.diagnostics.registry import DIAGNOSTICS, DiagnosticEntry

SIDE = 8


def split(name: str, count: int, seed: int | None = 0) -> Split:
    labels = np.arange(count) % 2
    draws = np.random.default_rng(seed).integers(0, 256, (count, 1, SIDE, SIDE), dtype=np.uint8)
    return array_split(name, draws, labels.astype(np.int64))


def plain(seed: int | None = 0) -> Dataset:
    train, test = split("train", 20, seed), split("test", 20, seed)
    return Dataset(name="plain", train=train, test=test, num_classes=2, image_size=SIDE, official=False)


def with_test(**changes: Any) -> Dataset:
    data = plain()
    return replace(data, test=replace(data.test, **changes))


def without_files() -> Dataset:
    raise FileNotFoundError("no such file: images.npy")


def redrawn(indices: Any) -> Any:
    return np.random.default_rng().random((len(indices), 1, SIDE, SIDE), dtype=np.float32)


def too_bright(indices: Any) -> Any:
    return np.full((len(indices), 1, SIDE, SIDE), 1.5, dtype=np.float32)


def entry(load: Callable[[], Any], **changes: Any) -> DatasetEntry:
    declared = {
        "summary": "tests",
        "source": "tests",
        "num_classes": 2,
        "image_size": SIDE,
        "eps": {"linf": ("0.1", "0.2")},
        "recipe": Recipe(epochs=1),
        "costly_limit": 10,
    }

    def loader(request: DataRequest) -> Any:
        return load()

    return DatasetEntry(load=loader, **{**declared, **changes})


ENTRIES = {
    "good": entry(plain),
    "no-source": entry(plain, source=""),
    "no-budgets": entry(plain, eps={}),
    "unsorted-budgets": entry(plain, eps={"linf": ("0.2", "0.1")}),
    "unknown-norm": entry(plain, eps={"l0": ("1",)}),
    "no-epochs": entry(plain, recipe=Recipe(epochs=0)),
    "raises": entry(without_files),
    "no-dataset": entry(lambda: (plain().train, plain().test)),
    "label-out-of-range": entry(lambda: with_test(labels=np.arange(20))),
    "float-labels": entry(lambda: with_test(labels=np.arange(20) / 10)),
    "equal-ids": entry(lambda: with_test(ids=["same"] * 20)),
    "too-bright": entry(lambda: with_test(read=too_bright)),
    "redrawn": entry(lambda: with_test(read=redrawn)),
    "unseeded": entry(lambda: plain(None)),
    "other-classes": entry(plain, num_classes=3),
}
for name, declared in ENTRIES.items():
    DATASETS.register(f"dataset-{name}", declared, origin=__file__)


def spread(latents: Latents) -> Value:
    return Value(float(latents.z.std()))


def changes_latents(latents: Latents) -> Value:
    latents.z.sort(axis=0)
    return Value(1.0)


def of_two_classes(latents: Latents) -> Value:
    first, second = latents.classes.means[:2]
    return Value(float(np.linalg.norm(first - second)))


FUNCTIONS: dict[str, Callable[[Latents], Any]] = {
    "good": spread,
    "float": lambda latents: 1.0,
    "undefined": lambda latents: undefined("it is never defined"),
    "not-repeatable": lambda latents: Value(float(np.random.default_rng().random())),
    "changes-latents": changes_latents,
    "of-two-classes": of_two_classes,
}
for name, function in FUNCTIONS.items():
    declaration = DiagnosticEntry(summary="tests", definition="tests", invariant=False, better="", function=function)
    DIAGNOSTICS.register(f"diagnostic-{name}", declaration, origin=__file__)
DIAGNOSTICS.register(
    "diagnostic-not-invariant",
    DiagnosticEntry(summary="tests", definition="tests", invariant=True, better="", function=spread),
    origin=__file__,
)

CORRUPTION_FUNCTIONS = {
    "silent": lambda images, share, draws: images * (draws.uniform(*images.shape[1:3], 1) < share),
    "loud": lambda images, share, draws: (share * images).astype(np.float32),
}
for name, corruption in CORRUPTION_FUNCTIONS.items():
    CORRUPTIONS.register(
        name,
        CorruptionEntry(
            summary="tests",
            source="tests",
            family="noise",
            function=corruption,
            constants={"cifar": (0.9, 0.8, 0.7, 0.6, 0.5)},
            random=name == "loud",
        ),
        origin=__file__,
    )
