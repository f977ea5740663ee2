"""``bench evaluate``: evaluate networks that were trained elsewhere under attacks and corruptions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.cli.config_options import FilePath, config_options, pop_config
from bench.cli.group import cli
from bench.cli.options import NETWORKS, config_option, json_option
from bench.cli.run import exit_code, print_tables
from bench.config import EvaluateConfig, NetworkConfig
from bench.core.options import as_toml
from bench.core.words import pluralize
from bench.external.options import networks_of
from bench.leaderboard.write_tables import check_reference, write_tables
from bench.results.store import Store
from bench.runtime.config_file import EVALUATE_FILE, write_config
from bench.runtime.files import check_writable
from bench.runtime.interrupt import deferred_signals
from bench.runtime.plugin import load_plugins


@cli.command(
    "evaluate",
    examples=(
        "bench evaluate net.pth --model resnet18 --normalize cifar10 --dataset cifar10 --data-dir data",
        "bench evaluate a.pth b.pth --model resnet18 --as-variant baseline --seed 0 --dataset digits",
    ),
)
@click.argument("checkpoints", metavar="[CHECKPOINT]...", nargs=-1, type=FilePath())
@config_options(NetworkConfig, without=("checkpoint", "module"))
@click.option("--module", multiple=True, metavar="FILE.py:FACTORY", help="function that returns a module; repeatable")
@config_options(EvaluateConfig)
@config_option
@json_option
@click.pass_context
def evaluate_command(
    ctx: click.Context, /, *, checkpoints: Sequence[Path], module: Sequence[str], as_json: bool, **options: Any
) -> int:
    """Attack networks that were trained elsewhere, and write the leaderboard.

    A CHECKPOINT is a file of weights, a TorchScript archive, a torch.export program or an ONNX model. Several
    checkpoints with the same name are treated as seeds. A TOML file (--config) may list networks in tables called
    [[networks]].
    """
    shared: NetworkConfig = pop_config(NetworkConfig, options)
    config: EvaluateConfig = pop_config(EvaluateConfig, options)
    load_plugins(config.plugin)
    networks = networks_of(checkpoints, module, shared, ctx.meta.get(NETWORKS, ()))
    store = Store(config.results)
    from bench.context import RunContext
    from bench.external.load_file import common_fitting
    from bench.pipeline import evaluate_networks
    from bench.planning.request import make_request

    request, dataset = make_request(config, default_fitting=common_fitting(networks))
    check_reference(
        config.against, {*(network.variant for network in networks), *(run.variant for run in store.runs())}
    )
    check_writable(config.results)
    write_config(config, config.results / EVALUATE_FILE, networks=[as_toml(network) for network in networks])
    context = RunContext.of(config, dataset, eps_texts=request.eps_texts)
    with deferred_signals():  # also while the tables are written: they are promised after a signal
        evaluations, summary = evaluate_networks(networks, request, context)
        tables = write_tables(store, config)
        cells = sum(len(evaluated.cells) for evaluated in evaluations)
        line = f"{summary.evaluated} of {pluralize(cells, 'cell')} computed, {summary.cached} already stored"
        print_tables(tables, summary, line, as_json=as_json)
        return exit_code(summary, force=config.force)
