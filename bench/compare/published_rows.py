"""Convert published numbers to lines of a comparison table.

The numbers are published by RobustBench, and in the tables of the paper on latent point collapse (LPC).
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.compare.lpc_published import PublishedRow
from bench.compare.robustbench import BUDGETS, TEST_SETS, PublishedModel
from bench.compare.rows import AUTOATTACK, CORRUPTIONS, DEEPFOOL, N_STANDARD_CELLS, Line, Protocol
from bench.compare.training import Training
from bench.core.epsilon import parse_eps

UNRELIABLE = "unreliable"  # flag of RobustBench for an unreliable AutoAttack accuracy


def board_protocol(dataset: str, threat: str, eps: str = "") -> Protocol:
    """Return the protocol of a board of RobustBench. Without ``eps``, the standard budget of the board is used."""
    test_set = TEST_SETS[dataset]
    if threat == CORRUPTIONS:
        return Protocol(
            dataset=dataset, n=test_set.n, n_clean=test_set.n, subset=test_set.subset, measure=CORRUPTIONS,
            source="official", cells=N_STANDARD_CELLS,
        )  # fmt: skip
    norm = threat.lower()
    return Protocol(
        dataset=dataset, n=test_set.n, n_clean=test_set.n, subset=test_set.subset, measure=AUTOATTACK, norm=norm,
        eps=parse_eps(eps or BUDGETS[dataset, threat], norm),
    )  # fmt: skip


def robustbench_lines(models: Iterable[PublishedModel]) -> list[Line]:
    """Return one line per model of RobustBench."""
    return [_robustbench(model) for model in models]


def _robustbench(model: PublishedModel) -> Line:
    """Return the line of a model with its lowest known robust accuracy, as on the board of RobustBench."""
    notes = []
    if model.external is not None:
        notes.append(f"robust accuracy under an attack other than AutoAttack (under AutoAttack: {model.robust:.2f})")
    if model.mce is not None:
        notes.append(f"mCE {model.mce:.2f}")
    if model.additional_data:
        notes.append("additional training data")
    return Line(
        published=True,
        model=model.model,
        architecture=model.architecture,
        source=f"{model.source} {model.commit}; {model.venue}, {model.link}",
        clean=model.clean,
        robust=model.lowest_known,
        protocol=board_protocol(model.dataset, model.threat, model.eps),
        autoattack=None if model.external is None else model.robust,
        flags=(UNRELIABLE,) if model.unreliable else (),
        notes=tuple(notes),
    )


def lpc_lines(rows: Iterable[PublishedRow]) -> list[Line]:
    """Return one line per published DeepFool ratio ‖r‖/‖x‖, with the clean accuracy of the same network."""
    rows = list(rows)
    clean = {_network_key(row): row.value for row in rows if row.metric == "accuracy"}
    return [_lpc(row, clean.get(_network_key(row))) for row in rows if row.metric == "deepfool_rho"]


def _network_key(row: PublishedRow) -> tuple[str, ...]:
    return row.source, row.dataset, row.backbone, row.published_name


def _lpc(row: PublishedRow, clean: float | None) -> Line:
    own_name = f", in this project {row.variant}" if row.variant else ""
    deviation = () if row.std is None else (f"± {row.std:.3f} over 5 repeats",)
    return Line(
        published=True,
        model=f"{row.published_name}{own_name}",
        architecture=row.backbone,
        source=f"{row.source}, {row.table}",
        clean=clean,
        robust=row.value,
        protocol=Protocol(dataset=row.dataset, n=None, subset=row.n_images, measure=DEEPFOOL, norm="l2"),
        notes=(*deviation, *((row.note,) if row.note else ())),
        training=Training(row.dataset, row.backbone, frozenset({row.recipe}), row.latent_dim),
    )
