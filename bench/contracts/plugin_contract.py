"""Contract checks of every entry that a plug-in registers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.contracts.attack_contract import check_attack
from bench.contracts.check import Check
from bench.contracts.corruption_contract import check_corruption
from bench.contracts.dataset_contract import check_dataset_entry
from bench.contracts.diagnostic_contract import check_diagnostic
from bench.contracts.metric_contract import check_metric
from bench.contracts.model_contract import check_model_entry
from bench.contracts.variant_contract import check_variant
from bench.core.errors import BenchError
from bench.core.registry import Registration
from bench.core.words import join
from bench.runtime.plugin import load_plugins, registered_by

KINDS = ("model", "variant", "attack", "corruption", "dataset", "diagnostic", "metric")


def check_plugin(path: Path, *, image_size: int, data_dir: Path | None = None) -> Iterator[Check]:
    """Load the plug-in ``path`` and check its entries in the order of registration.

    ``image_size`` is the side of the images for models, and ``data_dir`` the folder for data sets. Raises BenchError
    for a file that cannot be loaded, and for a file that registers no entry with a contract.
    """
    load_plugins([path])
    entries = [entry for entry in registered_by(path) if entry.kind in KINDS]
    if not entries:
        raise BenchError(
            f"plugin {path} registers no {join(KINDS, 'or')}; register at least one, as in examples/plugin.py."
        )
    for entry in entries:
        yield from _check_entry(entry, image_size, data_dir)


def _check_entry(entry: Registration, image_size: int, data_dir: Path | None) -> Iterator[Check]:
    match entry.kind:
        case "model":
            return check_model_entry(entry.name, image_size=image_size)
        case "variant":
            return check_variant(entry.name)
        case "attack":
            return check_attack(entry.name)
        case "corruption":
            return check_corruption(entry.name)
        case "dataset":
            return check_dataset_entry(entry.name, data_dir=data_dir)
        case "metric":
            return check_metric(entry.name)
    return check_diagnostic(entry.name)
