"""The Python API: the same measurement for a model that was not trained here.

>>> from bench.api import evaluate                                                             # doctest: +SKIP
>>> rows = evaluate(my_module, name="mine", dataset="digits", attacks=["pgd"], eps=["0.1"])     # doctest: +SKIP
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path

import pandas as pd
from torch import nn

from bench.attacks import resolve, resolve_all
from bench.attacks.corruptions.severities import SEVERITY_LEVELS
from bench.attacks.registry import ResolvedAttack
from bench.auditing.audit import Audited
from bench.auditing.audit import audit as run_audit
from bench.core.epsilon import format_eps, parse_eps
from bench.core.errors import BenchError
from bench.core.records import RunRecord
from bench.core.specs import Backend, CorruptionSpec, DataSpec, Encoding, EvalSpec, Norm, Recipe
from bench.core.vocabulary import NATIVE
from bench.corrupted.choose import choose_corruptions
from bench.corrupted.open import identified
from bench.data import DATASETS, DataRequest, Dataset, accept, load_dataset
from bench.data.registry import DatasetEntry
from bench.data.sampling import sampling_version
from bench.environment import choose_device
from bench.pending import Tally, is_audited, is_finished
from bench.plan import DEFAULT_BATCH, Request, check_request, plan_cells
from bench.plugin import plugin_sha
from bench.progress import Progress
from bench.store import Store
from bench.tables.leaderboard import rebuild
from bench.tables.lowest import lowest_of_runs
from bench.tables.outcomes import Outcomes
from bench.tables.results import all_audits, present_cells, results_table
from bench.torch_state import harness_torch_state
from bench.work.cells import Subject, work_off
from bench.work.external import ExternalModel, external_run, frozen
from bench.work.precision import AskedPrecision, at_precision
from bench.work.workshop import Workshop


@harness_torch_state()
def evaluate(
    model: nn.Module,
    *,
    name: str,
    dataset: str | Dataset = "digits",
    data_dir: str | Path | None = None,
    image_size: int | None = None,
    class_order: str | None = None,
    attacks: str | Sequence[str] = ("fgsm", "pgd", "autoattack"),
    norm: Norm = "linf",
    eps: str | float | Sequence[str | float] = (),
    seed: int = 0,
    limit: int | None = None,
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
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Attack ``model``, corrupt its inputs, and return its rows of results.csv as a pandas DataFrame.

    ``model`` maps images (N, 3, S, S), float32 in [0, 1], to logits (N, K); normalisation is its own business. Of a
    tuple the first entry is taken for the logits, of a dictionary or an object ``logits``; the rows name what was
    taken. The model is in evaluation mode for the time, and gets its mode and its gradients back. So does the caller:
    grad mode, autocast and the like are set as the measurement needs them, and put back. ``dataset`` is a name or a
    :class:`~bench.data.Dataset`; ``class_order`` is that of an image folder, "natural" or "string", by default natural
    if all names are numbers; ``eps`` defaults to the data set's own; ``attack_backend`` "reference" is foolbox and
    pyautoattack; ``attack_precision`` is that of the search, "auto" as on the command line. ``corruptions`` are
    "standard", "all", "none", or names; they are made with the constants of ``corruption_profile``, by default those
    nearest to the image size, at ``severities``, one or several of 1 to 5, or read from the published files in
    ``corruptions_dir``. With ``results`` the cells are kept there, and ``bench leaderboard`` shows them; finished ones
    are not computed again. ``save_adversarials`` ("float32" or "uint8") keeps the broken images beside them;
    ``max_queries`` bounds the forward passes an image.
    ``audit`` asks whether the attacks' numbers can be believed.
    Raises BenchError for bad input.
    """
    _check_subject(model, name)
    _check_limit(limit)
    data = _dataset(dataset, DataRequest(_path(data_dir), image_size, class_order=class_order))
    known = _declared(data)
    images = known.limit if limit is None and known else limit
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
        workshop = Workshop(
            dataset=data,
            store=Store(_path(results) or Path(temporary)),
            device=choose_device(device),
            progress=progress or Progress(),
            auto_batch=batch_size is None,
            save_adversarials=save_adversarials,
            corruptions_dir=_path(corruptions_dir),
            eps_texts=_eps_texts(eps, norm, data),
        )
        with frozen(model, workshop.device) as (still, trainable):
            run, wrapped = external_run(still, name, seed, trainable, workshop)
            cells = _work(run, wrapped, request, workshop, audit=audit)
        rebuild(workshop.store)
        return _rows(run, cells, workshop.store)


def _check_subject(model: object, name: str) -> None:
    """Raises BenchError for what is no module and for a name that a table could not hold."""
    if not isinstance(model, nn.Module):
        raise BenchError(
            f"model {name!r} is of type {type(model).__name__}, not a torch.nn.Module; write one whose forward maps "
            "images to logits."
        )
    if not name or set(name) & set(",:\n"):
        raise BenchError(f"name {name!r} may not be empty or hold a comma, a colon or a line break.")


def _dataset(dataset: str | Dataset, request: DataRequest) -> Dataset:
    """A data set that has passed the check, by name or as given. Raises BenchError."""
    if isinstance(dataset, Dataset):
        return accept(dataset)
    if not isinstance(dataset, str):
        raise BenchError(
            f"dataset is of type {type(dataset).__name__}; give a name ('bench list datasets'), or a "
            "bench.data.Dataset with splits by bench.data.split.array_split."
        )
    return load_dataset(dataset, request)


def _check_limit(limit: object) -> None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, Integral) or int(limit) < 1):
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


def _eps_texts(
    eps: str | float | Sequence[str | float], norm: Norm, data: Dataset
) -> dict[tuple[Norm, float], str]:
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
    return None if path is None else Path(path)


def _work(
    run: RunRecord, model: ExternalModel, request: Request, workshop: Workshop, *, audit: bool
) -> tuple[EvalSpec, ...]:
    """Store the run, its cells and its audit, as far as they are not there; returns the cells that were asked for."""
    cells = plan_cells(request, run.run_id, run.seed)
    todo = [cell for cell in cells if not is_finished(cell, workshop.store, workshop.save_adversarials)]
    workshop.read_images_of(todo)
    workshop.store.write_run(run, None)
    work_off(todo, Subject(run.model, model, run.weights_sha, request.data.num_classes), workshop, Tally())
    if audit and not is_audited(run.run_id, workshop.dataset.test.sha, workshop.store):
        classes, size = request.data.num_classes, request.batch_size
        run_audit(Audited(run=run, model=model, num_classes=classes, batch_size=size), workshop)
    return cells


def _rows(run: RunRecord, cells: Sequence[EvalSpec], store: Store) -> pd.DataFrame:
    wanted = {cell.cell_id for cell in cells}
    kept = [(run, cell) for cell in store.cells(run.run_id) if cell.cell_id in wanted]
    every, audits = [(run, cell) for cell in present_cells(run, store)], all_audits(store)
    return results_table(kept, {}, audits, lowest_of_runs(every, audits, Outcomes(store)))
