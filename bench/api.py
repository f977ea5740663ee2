"""Python API: train and evaluate networks, or evaluate a network that was trained elsewhere.

>>> from bench import evaluate, run                                                             # doctest: +SKIP
>>> rows = evaluate(my_module, name="mine", dataset="digits", attacks=["pgd"], eps=["0.1"])     # doctest: +SKIP
>>> rows = run(models="resnet18", variants="baseline,lpc", seeds="0,1")                         # doctest: +SKIP
"""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
from torch import nn

from bench.config import EvaluateConfig, NetworkConfig, RunConfig
from bench.context import RunContext
from bench.core.errors import BenchError
from bench.core.names import check_name
from bench.core.options import as_toml, from_options, options_of, utf8_path
from bench.core.records import RunRecord
from bench.core.sources import EXTERNAL
from bench.core.specs import EvalSpec
from bench.core.words import join, pluralize
from bench.data import Dataset, accept
from bench.data.from_python import as_dataset
from bench.external.load_file import common_fitting
from bench.external.model import Declared
from bench.external.options import networks_of
from bench.job import Job
from bench.leaderboard.lowest_known import lowest_accuracies
from bench.leaderboard.write_tables import check_reference, write_tables
from bench.pipeline import evaluate_module, evaluate_networks
from bench.planning.request import make_request
from bench.planning.resume import RunSummary
from bench.results.outcomes import Outcomes
from bench.results.results_csv import all_audits, current_cells, results_table
from bench.results.store import Store
from bench.runtime.config_file import EVALUATE_FILE, write_config
from bench.runtime.files import check_writable
from bench.runtime.interrupt import time_budget
from bench.runtime.plugin import load_plugins
from bench.runtime.progress import Progress
from bench.runtime.torch_state import harness_torch_state
from bench.runtime.turns import own_turn

__all__ = ["FailedCellsWarning", "evaluate", "run"]

Failures = Literal["warn", "raise", "ignore"]


class FailedCellsWarning(UserWarning):
    """Warning that cells, a diagnosis or an audit failed or are missing. The rows of failed cells hold no accuracy."""


def run(
    config: RunConfig | None = None,
    *,
    failures: Failures = "warn",
    progress: Progress | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Train every model × variant × seed, attack it, write the tables, and return the rows of results.csv.

    Equivalent to ``bench run``. Results that are already stored in the folder ``results`` are not computed again. Calls
    from several threads run one after the other.

    Args:
        config: Complete configuration. By default it is built from ``options``.
        failures: Action for failed cells: issue a :class:`FailedCellsWarning`, raise BenchError, or ignore them.
        progress: Progress display on stderr. By default progress bars on a terminal, and plain lines elsewhere.
        options: Fields of :class:`bench.config.RunConfig`.

    Returns:
        One row per cell of this run, with the columns of results.csv.

    Raises:
        BenchError: For bad input, and with ``failures="raise"`` for failed cells.
    """
    _check_failures(failures)
    if config is not None and options:
        raise BenchError(f"config= and {next(iter(options))}= are both given; give only one of them.")
    run_config: RunConfig = config or from_options(RunConfig, options)
    with own_turn():
        with time_budget(run_config.time_budget):
            job = Job.of(run_config)
            summary = job.execute(progress)
        write_tables(job.store, run_config)
    stored = [(job.store.read_run(plan.train.run_id), plan.cells) for plan in job.plan]
    rows = _rows([(record, cells) for record, cells in stored if record is not None], job.store)
    _report(rows, summary, failures)
    return rows


def evaluate(
    network: nn.Module | str | Path,
    *,
    dataset: str | Dataset | Any = "digits",
    results: str | Path | None = None,
    failures: Failures = "warn",
    progress: Progress | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Attack ``network``, corrupt its inputs, and return its rows of results.csv as a pandas DataFrame.

    The global torch state of the caller has no influence. Grad mode, autocast and similar settings are set for the
    evaluation and restored afterwards. Calls from several threads run one after the other.

    Args:
        network: A module that maps images (N, 3, S, S), float32 in [0, 1], to logits (N, K), or the path of a file: a
            checkpoint of weights, a TorchScript archive, a torch.export program or an ONNX model. A module must
            normalise its input itself. If it returns a tuple, the first entry is used as logits. If it returns a
            dictionary or an object, the entry ``logits`` is used. The rows name the entry that was used. A module
            is set to evaluation mode during the evaluation. Its mode and its gradients are restored afterwards.
        dataset: A name, a :class:`~bench.data.Dataset`, or a source for :func:`~bench.data.from_python.as_dataset`: a
            pair of tensors, a DataLoader, a torch or a Hugging Face data set.
        results: Folder where cells are stored for ``bench leaderboard``. Cells that are already stored there are not
            computed again. By default nothing is stored. If ``network`` is a path and ``dataset`` is a name, the
            configuration is written to evaluate.toml in this folder, as by ``bench evaluate``. A module or a data set
            in memory cannot be named in a file. In this case an existing evaluate.toml is not changed.
        failures: Action for failed cells: issue a :class:`FailedCellsWarning`, raise BenchError, or ignore them.
        progress: Progress display on stderr. By default progress bars on a terminal, and plain lines elsewhere.
        options: Fields of :class:`bench.config.EvaluateConfig` and :class:`bench.config.NetworkConfig`. A module
            requires ``name``. Of the other NetworkConfig fields, it accepts only ``variant`` and ``seed``.

    Returns:
        One row per requested cell, with the columns of results.csv.

    Raises:
        BenchError: For bad input, and with ``failures="raise"`` for failed cells.
    """
    _check_failures(failures)
    for option in ("checkpoint", "module"):
        if option in options:
            raise BenchError(
                f"{option}= is not an option of evaluate(); give the module or the path as the first argument."
            )
    requested: NetworkConfig = NetworkConfig(
        **{key: options.pop(key) for key in options_of(NetworkConfig) if key in options}
    )
    dataset_option = {"dataset": dataset} if isinstance(dataset, str) else {}
    with tempfile.TemporaryDirectory() as temporary, harness_torch_state():
        folder = Path(temporary) if results is None else utf8_path(results)
        config: EvaluateConfig = from_options(EvaluateConfig, {**options, **dataset_option, "results": folder})
        load_plugins(config.plugin)
        networks, declared = [], None
        if isinstance(network, str | Path):
            networks = networks_of([utf8_path(network)], [], requested, [])
        else:
            declared = _check_module(network, requested)
        request, data = make_request(
            config, dataset=_given(dataset), seeds=[requested.seed], default_fitting=common_fitting(networks)
        )
        store = Store(config.results)
        check_reference(config.against, {requested.variant, *(run.variant for run in store.runs())})
        check_writable(config.results)
        if networks and isinstance(dataset, str):
            write_config(config, config.results / EVALUATE_FILE, networks=[as_toml(entry) for entry in networks])
        context = RunContext.of(config, data, eps_texts=request.eps_texts, progress=progress)
        if declared is not None and isinstance(network, nn.Module):
            evaluations, summary = evaluate_module(network, declared, request, context)
        else:
            evaluations, summary = evaluate_networks(networks, request, context)
        write_tables(context.store, config)
        rows = _rows([(evaluated.run, evaluated.cells) for evaluated in evaluations], context.store)
    _report(rows, summary, failures)
    return rows


def _given(dataset: str | Dataset | Any) -> Dataset | None:
    """Check and return the data set of the caller; None if it is given by its name. Raises BenchError if invalid."""
    if isinstance(dataset, str):
        return None
    return accept(dataset if isinstance(dataset, Dataset) else as_dataset(dataset))


def _signature(function: Callable[..., Any], *configs: type) -> inspect.Signature:
    """Return the signature of ``function`` with the options of ``configs`` in place of ``**options``."""
    signature = inspect.signature(function)
    positional = [
        parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD
    ]
    taken_names = {parameter.name for parameter in positional}
    fields = {name: inspect.signature(config).parameters[name] for config in configs for name in options_of(config)}
    return signature.replace(parameters=[*positional, *(fields[name] for name in fields if name not in taken_names)])


run.__signature__ = _signature(run, RunConfig)  # type: ignore[attr-defined]
evaluate.__signature__ = _signature(evaluate, NetworkConfig, EvaluateConfig)  # type: ignore[attr-defined]


def _check_module(model: object, requested: NetworkConfig) -> Declared:
    """Return the name, variant and seed that the caller declares for a module.

    Raises BenchError if ``model`` is not a module, has no name, or is given options that apply to files only.
    """
    if not isinstance(model, nn.Module):
        raise BenchError(
            f"model {requested.name!r} is of type {type(model).__name__}, neither a torch.nn.Module nor a file; give a "
            "module whose forward method maps images to logits."
        )
    if requested.name is None:
        raise BenchError("the module has no name; set one with name=.")
    check_name("model", requested.name)
    check_name("variant", requested.variant)
    defaults = NetworkConfig()
    for option in options_of(NetworkConfig):
        if option not in ("name", "variant", "seed") and getattr(requested, option) != getattr(defaults, option):
            raise BenchError(f"{option}= applies to files only; a module does its own preprocessing. Remove {option}=.")
    return Declared(
        name=requested.name, variant=requested.variant, seed=requested.seed, repeats=requested.variant != EXTERNAL
    )


def _check_failures(failures: str) -> None:
    """Raise BenchError unless ``failures`` is one of the values of ``Failures``."""
    known = get_args(Failures)
    if failures not in known:
        raise BenchError(f"failures={failures!r} is unknown; write {join(known, 'or')}.")


def _report(rows: pd.DataFrame, summary: RunSummary, failures: Failures) -> None:
    """Issue a FailedCellsWarning or raise BenchError for cells without a result, depending on ``failures``.

    Skipped cells count as failed, because their training or the attack that filters their images failed. If all cells
    are ok, a failed diagnosis or audit is reported. The end of the time budget is reported first, because rows are
    missing then.
    """
    failed = rows[rows["status"] != "ok"]
    if failures == "ignore" or (failed.empty and not summary.bad and summary.stopped is None):
        return
    if summary.stopped is not None:
        text = f"stopped by {summary.stopped.reason}: results are missing; the same call continues in a results folder"
    elif failed.empty:
        text = summary.bad[0]
    else:
        first, cells = failed.iloc[0], pluralize(len(rows), "cell")
        text = f"{len(failed)} of {cells} failed; first failure: {first['reason']}: {first['notes']}"
    if failures == "raise":
        raise BenchError(text)
    warnings.warn(text, FailedCellsWarning, stacklevel=3)  # show the line of the caller


def _rows(runs: Sequence[tuple[RunRecord, Sequence[EvalSpec]]], store: Store) -> pd.DataFrame:
    """Return the rows of results.csv for the given runs and cells."""
    requested_ids = {cell.cell_id for _, cells in runs for cell in cells}
    requested = [
        (record, cell) for record, _ in runs for cell in store.cells(record.run_id) if cell.cell_id in requested_ids
    ]
    all_current_cells = [(record, cell) for record, _ in runs for cell in current_cells(record, store)]
    audits = all_audits(store)
    return results_table(requested, {}, audits, lowest_accuracies(all_current_cells, audits, Outcomes(store)))
