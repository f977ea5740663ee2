"""``bench evaluate``: attack and corrupt networks that were trained elsewhere, from their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from bench.audit.levels import LevelName
from bench.cli.group import cli
from bench.cli.options import (
    ATTACKS,
    CORRUPTIONS,
    DATA,
    NETWORKS,
    WORK,
    Count,
    against_option,
    config_option,
    flagged_option,
    json_option,
    plugin_option,
    results_option,
    with_options,
)
from bench.cli.run import print_tables
from bench.core.specs import Encoding
from bench.core.vocabulary import Exit
from bench.core.words import pluralize
from bench.external.load_file import common_fitting
from bench.external.options import FIELDS, ExternalOptions, networks_of
from bench.leaderboard.write_tables import check_reference, write_tables
from bench.planning.plan import Request, check_request
from bench.planning.request import RunOptions, make_request
from bench.planning.resume import RunSummary
from bench.results.store import Store
from bench.runtime.files import check_writable
from bench.runtime.plugin import load_plugins
from bench.runtime.progress import choose_progress

if TYPE_CHECKING:
    from bench.context import RunContext


@cli.command("evaluate")
@click.argument("checkpoints", metavar="[CHECKPOINT]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--model", help="architecture of a checkpoint of weights: timm's, torchvision:NAME, or a plug-in's")
@click.option("--module", multiple=True, metavar="FILE.py:FACTORY", help="function that returns a module; repeatable")
@click.option("--name", help="name in the tables  [default: the file's, or the architecture with --as-variant]")
@click.option(
    "--as-variant",
    "variant",
    metavar="VARIANT",
    default="external",
    help="role in a comparison, such as baseline or lpc  [default: none]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="of the first; others count on")
@click.option(
    "--normalize",
    metavar="HOW",
    help="imagenet, cifar10, half, clip, none, dataset, from-config, or mean and std as numbers  "
    "[default: the checkpoint's own, or timm's pretrained_cfg]",
)
@click.option(
    "--input-size",
    default="auto",
    show_default="the images' own",
    metavar="PIXELS",
    help="side to which images are resized: a number, native, or from-config",
)
@click.option("--stem", type=click.Choice(("native", "small")), help="of the architecture  [default: by the weights]")
@click.option(
    "--class-names",
    type=click.Path(path_type=Path),
    help="file with the class names in the order of the outputs, one per line, or JSON",
)
@click.option(
    "--trust-normalization", is_flag=True, help="go on if the probe finds a better normalisation or class order"
)
@with_options(DATA)
@click.option("--limit", type=Count("all"), help="test images; proportional to class  [default: the data set's]")
@with_options(ATTACKS, CORRUPTIONS, WORK)
@against_option
@flagged_option
@plugin_option
@config_option
@results_option
@click.option("--force", is_flag=True, help="compute again what is already there")
@json_option
@click.pass_context
def evaluate_command(
    ctx: click.Context,
    /,
    *,
    checkpoints: Sequence[Path],
    module: Sequence[str],
    plugin: Sequence[Path],
    device: str,
    results: Path,
    force: bool,
    as_json: bool,
    audit: str,
    no_audit: bool,
    rank_flagged: bool,
    save_adversarials: Encoding,
    mce_reference: str,
    against: str,
    **options: Any,
) -> int:
    """Attack networks that were trained elsewhere, and write the leaderboard.

    A CHECKPOINT is a file of weights, a TorchScript archive, a torch.export program or an ONNX model. Several under one
    name are seeds. A TOML file (--config) may list networks as [[networks]] tables.
    """
    load_plugins(plugin)
    shared = ExternalOptions(**{key: options.pop(key) for key in FIELDS if key in options})
    asked = networks_of(checkpoints, module, shared, ctx.meta.get(NETWORKS, ()))
    store = Store(results)
    wanted = RunOptions(models=(), variants=(), default_fitting=common_fitting(asked), **options, device=device)
    request, dataset = make_request(wanted)
    check_request(request)
    check_reference(against, {*(one.variant for one in asked), *(run.variant for run in store.runs())})
    check_writable(results)
    from bench.context import RunContext
    from bench.runtime.environment import choose_device

    context = RunContext(
        dataset=dataset,
        store=store,
        device=choose_device(device),
        progress=choose_progress(),
        auto_batch=options["batch_size"] == "auto",
        force=force,
        audit="none" if no_audit else audit,
        save_adversarials=save_adversarials,
        corruptions_dir=options["corruptions_dir"],
        eps_texts=request.eps_texts,
    )
    summary, cells = _work(asked, request, context)
    tables = write_tables(store, mce_reference=mce_reference, rank_flagged=rank_flagged, against=against)
    line = f"{summary.evaluated} of {pluralize(cells, 'cell')} computed, {summary.cached} already there"
    print_tables(tables, summary, line, as_json=as_json)
    return Exit.CELLS_FAILED if summary.bad else Exit.OK


def _work(asked: Sequence[ExternalOptions], request: Request, context: RunContext) -> tuple[RunSummary, int]:
    """Load all networks, then evaluate them, then audit them, as an audit shows a network its baseline's images."""
    from bench.pipeline import audit_evaluated, evaluate_run, external_of
    from bench.runtime.torch_state import harness_torch_state

    summary = RunSummary()
    with harness_torch_state():
        loaded = [external_of(network, context) for network in asked]
        found = [evaluate_run(run, model, request, context, summary, content) for run, model, content in loaded]
        if context.audit != "none":
            for one in found:
                audit_evaluated(one, request, context, summary, cast(LevelName, context.audit))
        return summary, sum(len(one.cells) for one in found)
