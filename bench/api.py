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
from bench.leaderboard.lowest_known import lowest_of_runs
from bench.leaderboard.write_tables import check_reference, write_tables
from bench.pipeline import evaluate_module, evaluate_networks
from bench.planning.request import make_request
from bench.planning.resume import RunSummary
from bench.results.outcomes import Outcomes
from bench.results.results_csv import all_audits, present_cells, results_table
from bench.results.store import Store
from bench.runtime.config_file import EVALUATE_FILE, write_config
from bench.runtime.files import check_writable
from bench.runtime.plugin import load_plugins
from bench.runtime.progress import Progress
from bench.runtime.torch_state import harness_torch_state

__all__ = ["FailedCellsWarning", "evaluate", "run"]

Failures = Literal["warn", "raise", "ignore"]


class FailedCellsWarning(UserWarning):
    """Warning that some cells, a diagnosis or an audit failed. The rows of failed cells hold no accuracy."""


def run(
    config: RunConfig | None = None,
    *,
    failures: Failures = "warn",
    progress: Progress | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Train every model × variant × seed, attack it, write the tables, and return the rows of results.csv.

    Equivalent to ``bench run``. Finished work in the folder ``results`` is not computed again.

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
    chosen: RunConfig = config or from_options(RunConfig, options)
    job = Job.of(chosen)
    summary = job.execute(progress)
    write_tables(job.store, chosen)
    found = [(job.store.read_run(plan.train.run_id), plan.cells) for plan in job.plan]
    rows = _rows([(record, cells) for record, cells in found if record is not None], job.store)
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
    evaluation and restored afterwards.

    Args:
        network: A module that maps images (N, 3, S, S), float32 in [0, 1], to logits (N, K), or the path of a file: a
            checkpoint of weights, a TorchScript archive, a torch.export program or an ONNX model. A module must
            normalise its input itself. If it returns a tuple, the first entry is used as logits. If it returns a
            dictionary or an object, the entry ``logits`` is used. The rows name the entry that was used. A module
            is set to evaluation mode during the evaluation; its mode and its gradients are restored afterwards.
        dataset: A name, a :class:`~bench.data.Dataset`, or a source for :func:`~bench.data.from_python.as_dataset`: a
            pair of tensors, a DataLoader, a torch or a Hugging Face data set.
        results: Folder where cells are stored for ``bench leaderboard``. Finished cells in it are not computed again.
            By default nothing is stored. The configuration is recorded there as evaluate.toml, as by
            ``bench evaluate``, if ``network`` is a path and ``dataset`` a name. A module or a data set in memory cannot
            be named in a file, so that the configuration is not recorded then; an earlier evaluate.toml stays.
        failures: Action for failed cells: issue a :class:`FailedCellsWarning`, raise BenchError, or ignore them.
        progress: Progress display on stderr. By default progress bars on a terminal, and plain lines elsewhere.
        options: Fields of :class:`bench.config.EvaluateConfig` and :class:`bench.config.NetworkConfig`. For a module,
            ``name`` is required, and only ``variant`` and ``seed`` are accepted of the other NetworkConfig fields.

    Returns:
        One row per requested cell, with the columns of results.csv.

    Raises:
        BenchError: For bad input, and with ``failures="raise"`` for failed cells.
    """
    _check_failures(failures)
    for option in ("checkpoint", "module"):
        if option in options:
            raise BenchError(f"{option}= is unknown here; the network is the first argument, a module or a path.")
    requested: NetworkConfig = NetworkConfig(
        **{key: options.pop(key) for key in options_of(NetworkConfig) if key in options}
    )
    named = {"dataset": dataset} if isinstance(dataset, str) else {}
    with tempfile.TemporaryDirectory() as temporary, harness_torch_state():
        folder = Path(temporary) if results is None else utf8_path(results)
        config: EvaluateConfig = from_options(EvaluateConfig, {**options, **named, "results": folder})
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
            write_config(config, config.results / EVALUATE_FILE, networks=[as_toml(one) for one in networks])
        context = RunContext.of(config, data, eps_texts=request.eps_texts, progress=progress)
        if declared is not None and isinstance(network, nn.Module):
            found, summary = evaluate_module(network, declared, request, context)
        else:
            (found,), summary = evaluate_networks(networks, request, context)
        write_tables(context.store, config)
        rows = _rows([(found.run, found.cells)], context.store)
    _report(rows, summary, failures)
    return rows


def _given(dataset: str | Dataset | Any) -> Dataset | None:
    """Return the checked data set that the caller gave; None for the name of one. Raises BenchError."""
    if isinstance(dataset, str):
        return None
    return accept(dataset if isinstance(dataset, Dataset) else as_dataset(dataset))


def _signature(function: Callable[..., Any], *configs: type) -> inspect.Signature:
    """Return the signature of ``function`` with the options of ``configs`` in place of ``**options``."""
    given = inspect.signature(function)
    own = [parameter for parameter in given.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    taken = {parameter.name for parameter in own}
    fields = {name: inspect.signature(config).parameters[name] for config in configs for name in options_of(config)}
    return given.replace(parameters=[*own, *(fields[name] for name in fields if name not in taken)])


run.__signature__ = _signature(run, RunConfig)  # type: ignore[attr-defined]
evaluate.__signature__ = _signature(evaluate, NetworkConfig, EvaluateConfig)  # type: ignore[attr-defined]


def _check_module(model: object, requested: NetworkConfig) -> Declared:
    """Return the name, variant and seed of a module.

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
    plain = NetworkConfig()
    for option in options_of(NetworkConfig):
        if option not in ("name", "variant", "seed") and getattr(requested, option) != getattr(plain, option):
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

    Cells that were skipped count as failed: their training or the attack that filters their images has failed. Without
    such cells, a failed diagnosis or audit is reported.
    """
    failed = rows[rows["status"] != "ok"]
    if failures == "ignore" or (failed.empty and not summary.bad):
        return
    if failed.empty:
        text = summary.bad[0]
    else:
        first, cells = failed.iloc[0], pluralize(len(rows), "cell")
        text = f"{len(failed)} of {cells} failed; first failure: {first['reason']}: {first['notes']}"
    if failures == "raise":
        raise BenchError(text)
    warnings.warn(text, FailedCellsWarning, stacklevel=3)  # reported at the line of the caller


def _rows(runs: Sequence[tuple[RunRecord, Sequence[EvalSpec]]], store: Store) -> pd.DataFrame:
    """Return the rows of results.csv for the given runs and cells."""
    wanted = {cell.cell_id for _, cells in runs for cell in cells}
    kept = [(record, cell) for record, _ in runs for cell in store.cells(record.run_id) if cell.cell_id in wanted]
    every = [(record, cell) for record, _ in runs for cell in present_cells(record, store)]
    audits = all_audits(store)
    return results_table(kept, {}, audits, lowest_of_runs(every, audits, Outcomes(store)))
