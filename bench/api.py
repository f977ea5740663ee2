"""The Python API: the same measurement for a model that was not trained here.

>>> from bench import evaluate                                                                 # doctest: +SKIP
>>> rows = evaluate(my_module, name="mine", dataset="digits", attacks=["pgd"], eps=["0.1"])     # doctest: +SKIP
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
from torch import nn

from bench.attacks import resolve, resolve_all
from bench.attacks.corruptions.severities import SEVERITY_LEVELS
from bench.attacks.registry import ResolvedAttack
from bench.context import RunContext
from bench.core.epsilon import format_eps, parse_eps
from bench.core.errors import BenchError
from bench.core.names import check_name
from bench.core.records import RunRecord
from bench.core.sources import EXTERNAL
from bench.core.specs import Backend, CorruptionSpec, DataSpec, Encoding, EvalSpec, Norm, Recipe
from bench.core.vocabulary import NATIVE
from bench.core.words import join, pluralize
from bench.data import DATASETS, DataRequest, Dataset, accept, load_dataset
from bench.data.corrupted.choose import choose_corruptions
from bench.data.corrupted.open import identified
from bench.data.from_python import as_dataset
from bench.data.registry import DatasetEntry
from bench.data.sampling import sampling_version
from bench.external.load_file import common_fitting
from bench.external.model import Declared, ExternalModel, external_run, frozen
from bench.external.options import ExternalOptions, networks_of
from bench.leaderboard.lowest_known import lowest_of_runs
from bench.leaderboard.write_tables import rebuild
from bench.pipeline import audit_evaluated, evaluate_run, external_of
from bench.planning.plan import DEFAULT_BATCH, Request, check_request
from bench.planning.request import AskedPrecision, at_precision
from bench.planning.resume import RunSummary
from bench.results.outcomes import Outcomes
from bench.results.results_csv import all_audits, present_cells, results_table
from bench.results.store import Store
from bench.runtime.environment import choose_device
from bench.runtime.files import utf8_path
from bench.runtime.plugin import plugin_sha
from bench.runtime.progress import Progress, choose_progress
from bench.runtime.torch_state import harness_torch_state

__all__ = ["FailedCellsWarning", "evaluate"]

Failures = Literal["warn", "raise", "ignore"]


class FailedCellsWarning(UserWarning):
    """Some cells failed, so that their rows hold no accuracy."""


@harness_torch_state()
def evaluate(
    network: nn.Module | str | Path,
    *,
    name: str | None = None,
    model: str | None = None,
    variant: str = EXTERNAL,
    seed: int = 0,
    normalize: str | None = None,
    input_size: int | str = "auto",
    class_names: str | Path | None = None,
    trust_normalization: bool = False,
    dataset: str | Dataset | Any = "digits",
    data_dir: str | Path | None = None,
    image_size: int | None = None,
    class_order: str | None = None,
    attacks: str | Sequence[str] = ("fgsm", "pgd", "autoattack"),
    norm: Norm = "linf",
    eps: str | float | Sequence[str | float] = (),
    limit: int | Literal["all"] | None = None,
    attack_limit: dict[str, int] | None = None,
    corruptions: str | Sequence[str] = "standard",
    severities: int | Sequence[int] = SEVERITY_LEVELS,
    corruption_profile: str | None = None,
    corruptions_dir: str | Path | None = None,
    attack_backend: Backend = NATIVE,
    attack_precision: AskedPrecision = "fp32",
    batch_size: int | None = None,
    device: str = "auto",
    results: str | Path | None = None,
    save_adversarials: Encoding = "none",
    max_queries: int | None = None,
    audit: bool = True,
    failures: Failures = "warn",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Attack ``network``, corrupt its inputs, and return its rows of results.csv as a pandas DataFrame.

    Args:
        network: A module that maps images (N, 3, S, S), float32 in [0, 1], to logits (N, K), or a file: a checkpoint of
            weights, a TorchScript archive, a torch.export program or an ONNX model. A module does its own
            normalisation. Of a tuple the first entry is taken for the logits, of a dictionary or an object ``logits``;
            the rows name what was taken. A module is in evaluation mode for the time, and gets its mode and its
            gradients back.
        name: Name in the tables; by default that of the file.
        model: Architecture of a checkpoint of weights, such as "resnet18" of timm or "torchvision:resnet18".
        variant: Role in a comparison, such as "baseline" or "lpc". Networks of one name are compared variant by
            variant, and those of one name and variant are the seeds of one recipe. By default the network stands alone.
        seed: Seed of the network's training, and of the attacks.
        normalize: Normalisation of a file's network, as in ``bench evaluate --normalize``.
        input_size: Side to which images are resized for a file's network, "native" or "from-config".
        class_names: File with the class names in the order of the network's outputs.
        trust_normalization: Go on even if the probe finds a better normalisation or another order of the classes.
        dataset: A name, a :class:`~bench.data.Dataset`, or a source for :func:`~bench.data.from_python.as_dataset`: a
            pair of tensors, a DataLoader, a torch or a Hugging Face data set.
        image_size: Side to which the images of a folder are resized and cropped. By default images of different sizes
            are fitted as the ``pretrained_cfg`` of the architecture says, and images of one size are read as they are.
        class_order: Order of the classes of an image folder, "natural" or "string"; by default natural if all names are
            numbers.
        eps: Budgets; by default those of the data set.
        attack_backend: "reference" is foolbox and pyautoattack.
        attack_precision: Precision of the search, "auto" as on the command line.
        corruptions: "standard", "all", "none", or names. They are made with the constants of ``corruption_profile``, by
            default those nearest to the image size, at ``severities`` of 1 to 5, or read from the published files in
            ``corruptions_dir``.
        results: Folder where the cells are kept for ``bench leaderboard``; finished ones are not computed again.
        save_adversarials: "float32" or "uint8" keeps the misclassified images beside the cells.
        max_queries: Bound on the forward passes per image.
        audit: Whether to check that the attacks' numbers can be believed.
        failures: Whether a cell that failed warns (:class:`FailedCellsWarning`), raises BenchError, or is ignored.
        progress: By default bars on a terminal and lines elsewhere, on stderr.

    The caller's state of torch does not matter: grad mode, autocast and the like are set as the measurement needs them,
    and restored.

    Raises:
        BenchError: For bad input, and with ``failures="raise"`` for cells that failed.
    """
    _check_limit(limit)
    _check_failures(failures)
    asked = ExternalOptions(
        checkpoint=Path(network) if isinstance(network, str | Path) else None,
        model=model,
        name=name,
        variant=variant,
        seed=seed,
        normalize=normalize,
        input_size=str(input_size),
        class_names=_path(class_names),
        trust_normalization=trust_normalization,
    )
    wanted = DataRequest(_path(data_dir), image_size, class_order=class_order, default_fitting=common_fitting([asked]))
    data = _dataset(dataset, wanted)
    known = _declared(data)
    images = None if limit == "all" else known.limit if limit is None and known else limit
    chosen = choose_corruptions(
        _listed(corruptions),
        [str(severity) for severity in ([severities] if isinstance(severities, int) else severities)],
        side=data.image_size,
        profile=corruption_profile,
        corruptions_dir=_path(corruptions_dir),
    )
    request = _request(
        data,
        attacks=at_precision(resolve_all(_listed(attacks), attack_backend), attack_precision, device),
        norm=norm,
        eps=_budgets(eps, norm, data),
        seed=seed,
        limit=images,
        attack_limits={resolve(attack).name: n for attack, n in (attack_limit or {}).items()},
        corruptions=identified(chosen, data, _path(corruptions_dir), limit=images),
        batch_size=batch_size,
        max_queries=max_queries,
    )
    with tempfile.TemporaryDirectory() as temporary:
        context = RunContext(
            dataset=data,
            store=Store(_path(results) or Path(temporary)),
            device=choose_device(device),
            progress=progress or choose_progress(),
            auto_batch=batch_size is None,
            save_adversarials=save_adversarials,
            corruptions_dir=_path(corruptions_dir),
            eps_texts=_eps_texts(eps, norm, data),
        )
        run, cells = _work(network, asked, request, context, audit=audit)
        rebuild(context.store)
        rows = _rows(run, cells, context.store)
    _report(rows, failures)
    return rows


def _check_module(model: object, asked: ExternalOptions) -> Declared:
    """Return the module's name, variant and seed. Raises BenchError for no module, and for options of files."""
    if not isinstance(model, nn.Module):
        raise BenchError(
            f"model {asked.name!r} is of type {type(model).__name__}, neither a torch.nn.Module nor a file; write a "
            "module whose forward maps images to logits."
        )
    if asked.name is None:
        raise BenchError("the module has no name; give it one by name=.")
    check_name("model", asked.name)
    check_name("variant", asked.variant)
    plain = ExternalOptions()
    for option in ("model", "normalize", "input_size", "class_names", "trust_normalization"):
        if getattr(asked, option) != getattr(plain, option):
            raise BenchError(f"{option}= is for files; a module does its own preprocessing.")
    return Declared(name=asked.name, variant=asked.variant, seed=asked.seed, repeats=asked.variant != EXTERNAL)


def _check_failures(failures: str) -> None:
    known = get_args(Failures)
    if failures not in known:
        raise BenchError(f"failures={failures!r} is unknown; write {join(known, 'or')}.")


def _report(rows: pd.DataFrame, failures: Failures) -> None:
    """Warn of failed cells, or raise BenchError for them."""
    failed = rows[rows["status"] == "failed"]
    if failures == "ignore" or failed.empty:
        return
    first = failed.iloc[0]
    text = f"{pluralize(len(failed), 'cell')} of {len(rows)} failed; the first: {first['reason']}: {first['notes']}"
    if failures == "raise":
        raise BenchError(text)
    warnings.warn(text, FailedCellsWarning, stacklevel=4)  # of the caller, past the decorator


def _dataset(dataset: str | Dataset | Any, request: DataRequest) -> Dataset:
    """A data set that has passed the check, by name or as given. Raises BenchError."""
    if isinstance(dataset, Dataset):
        return accept(dataset)
    if not isinstance(dataset, str):
        return accept(as_dataset(dataset))
    return load_dataset(dataset, request)


def _check_limit(limit: object) -> None:
    if limit not in (None, "all") and (isinstance(limit, bool) or not isinstance(limit, Integral) or int(limit) < 1):
        raise BenchError(f"limit {limit!r} is no number of images; give a whole number of 1 or more.")


def _request(
    data: Dataset,
    *,
    attacks: Sequence[ResolvedAttack],
    norm: Norm,
    eps: Sequence[float],
    seed: int,
    limit: int | None,
    attack_limits: Mapping[str, int],
    corruptions: Sequence[CorruptionSpec],
    batch_size: int | None,
    max_queries: int | None,
) -> Request:
    """Every name is resolved; what is not given is the data set's own choice. Raises BenchError."""
    known = _declared(data)
    request = Request(
        models=(),
        variants={},
        attacks=attacks,
        norm=norm,
        eps=eps,
        seeds=[seed],
        data=DataSpec(
            name=data.name, train_sha=data.train.sha, num_classes=data.num_classes, image_size=data.image_size
        ),
        test_sha=data.test.sha,
        test_size=len(data.test),
        test_sampling=sampling_version(data.test.labels),
        recipe=Recipe(epochs=0),
        corruptions=corruptions,
        limit=limit,
        costly_limit=known.costly_limit if known else None,
        attack_limits=attack_limits,
        batch_size=batch_size or DEFAULT_BATCH,
        max_queries=max_queries,
        plugin_sha=plugin_sha(),
    )
    check_request(request)
    return request


def _budgets(eps: str | float | Sequence[str | float], norm: Norm, data: Dataset) -> list[float]:
    return [value for _, value in _eps_texts(eps, norm, data)]


def _eps_texts(eps: str | float | Sequence[str | float], norm: Norm, data: Dataset) -> dict[tuple[Norm, float], str]:
    """The budgets as they were written; without any those that the data set declares. Raises BenchError."""
    given = [eps] if isinstance(eps, str | float | int) else eps
    texts = [e if isinstance(e, str) else format_eps(e) for e in given]
    known = _declared(data)
    return {(norm, parse_eps(t, norm)): t for t in texts or (known.eps.get(norm, ()) if known else ())}


def _declared(data: Dataset) -> DatasetEntry | None:
    """Return the registry's entry of the data set; None for a user's own data set."""
    return DATASETS.get(data.name) if data.name in DATASETS else None


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else utf8_path(path)


def _work(
    network: nn.Module | str | Path, asked: ExternalOptions, request: Request, context: RunContext, *, audit: bool
) -> tuple[RunRecord, tuple[EvalSpec, ...]]:
    """Store the run, its cells and its audit, as far as they are not there; return the cells that were asked for."""
    if isinstance(network, str | Path):
        (named,) = networks_of([Path(network)], [], asked, [])
        run, wrapped, content = external_of(named, context)
        return _evaluated(run, wrapped, content, request, context, audit)
    declared = _check_module(network, asked)
    with frozen(network, context.device) as (still, trainable):
        run, wrapped = external_run(still, declared, trainable, context)
        return _evaluated(run, wrapped, None, request, context, audit)


def _evaluated(
    run: RunRecord, model: ExternalModel, content: bytes | None, request: Request, context: RunContext, audit: bool
) -> tuple[RunRecord, tuple[EvalSpec, ...]]:
    summary = RunSummary()
    found = evaluate_run(run, model, request, context, summary, content)
    if audit:
        audit_evaluated(found, request, context, summary)
    return run, found.cells


def _rows(run: RunRecord, cells: Sequence[EvalSpec], store: Store) -> pd.DataFrame:
    wanted = {cell.cell_id for cell in cells}
    kept = [(run, cell) for cell in store.cells(run.run_id) if cell.cell_id in wanted]
    every, audits = [(run, cell) for cell in present_cells(run, store)], all_audits(store)
    return results_table(kept, {}, audits, lowest_of_runs(every, audits, Outcomes(store)))
