"""All of RobustBench's models, out of the user's own checkout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.compare.model_info import ModelInfo, parse_model_info
from bench.compare.robustbench import CORRUPTIONS, TEST_SETS, THREATS, PublishedModel, check_budget, percent
from bench.compare.strict_csv import number
from bench.core.errors import BenchError
from bench.core.names import as_text

FOLDER = "model_info"


def read_checkout(folder: Path) -> tuple[PublishedModel, ...]:
    """Every model under ``folder``, which is the checkout or its model_info.

    Files lie in ``<dataset>/<threat>/``, and it is the folders that say which board a model is on: the field
    ``dataset`` of some files names another. Other data sets and threats are not read. Raises BenchError when there is
    nothing, or a file that is damaged.
    """
    root = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    found = tuple(_models(root))
    if not found:
        raise BenchError(
            f"--robustbench {folder} holds no {FOLDER}/<dataset>/<threat>/*.json, such as cifar10/Linf/Standard.json; "
            f"name a checkout of RobustBench, or its {FOLDER}."
        )
    return found


def _models(root: Path) -> Iterator[PublishedModel]:
    for dataset in TEST_SETS:
        for threat in THREATS:
            for path in sorted((root / dataset / threat).glob("*.json")):
                yield _model(path, dataset, threat)


def _model(path: Path, dataset: str, threat: str) -> PublishedModel:
    info, place = parse_model_info(_bytes(path), where=str(path)), str(path)
    field, robust = _robust(info, threat)
    if robust is None:
        raise BenchError(f"{place} has no {field}, which every model under {threat} has.")
    eps = "" if threat == CORRUPTIONS else info.eps or ""  # some models under corruptions say at which they trained
    check_budget(threat, eps, place)
    return PublishedModel(
        dataset=dataset,
        threat=threat,
        model=as_text(path.stem),
        architecture=as_text(info.architecture),
        clean=percent(info.clean_acc, f"{place}: clean_acc"),
        robust=percent(robust, f"{place}: {field}"),
        external=percent(info.external, f"{place}: external") if info.external is not None else None,
        mce=number(info.corruptions_mce, f"{place}: corruptions_mce") if info.corruptions_mce is not None else None,
        eps=eps,
        additional_data=info.additional_data,
        unreliable=bool(info.unreliable),
        venue=as_text(info.venue),
        link=as_text(info.link),
        source="RobustBench",
        commit="your checkout",
    )


def _robust(info: ModelInfo, threat: str) -> tuple[str, str | None]:
    if threat == CORRUPTIONS:
        return "corruptions_acc", info.corruptions_acc
    return "autoattack_acc", info.autoattack_acc


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}.") from error
