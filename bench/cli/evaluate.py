"""``bench evaluate``: attack and corrupt networks that were trained elsewhere, from their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from bench.audit.levels import LevelName
from bench.cli.run import print_tables
from bench.context import Workshop
from bench.core.specs import Encoding
from bench.core.vocabulary import Exit
from bench.core.words import counted
from bench.external.load_file import common_fitting
from bench.external.options import FIELDS, ExternalOptions, networks_of
from bench.external_pipeline import audit_evaluated, evaluate_run, external_of
from bench.leaderboard.write_tables import check_reference, write_tables
from bench.planning.plan import Request, check_request
from bench.planning.request import RunOptions, make_request
from bench.planning.resume import Tally
from bench.results.store import Store
from bench.runtime.environment import choose_device
from bench.runtime.files import check_writable
from bench.runtime.plugin import load_plugins
from bench.runtime.progress import choose_progress
from bench.runtime.torch_state import harness_torch_state


def evaluate_command(
    *,
    checkpoints: Sequence[Path],
    module: Sequence[str],
    networks: Sequence[Mapping[str, Any]],
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
    """Evaluate every network and write the tables. Return 0, or 3 when a cell is not ok.

    Raises BenchError for bad input; a network whose file or preprocessing is wrong stops the command before any attack.
    """
    load_plugins(plugin)
    shared = ExternalOptions(**{key: options.pop(key) for key in FIELDS if key in options})
    asked = networks_of(checkpoints, module, shared, networks)
    store = Store(results)
    wanted = RunOptions(models=(), variants=(), default_fitting=common_fitting(asked), **options, device=device)
    request, dataset = make_request(wanted)
    check_request(request)
    check_reference(against, {*(one.variant for one in asked), *(run.variant for run in store.runs())})
    check_writable(results)
    workshop = Workshop(
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
    tally, cells = _work(asked, request, workshop)
    tables = write_tables(store, mce_reference=mce_reference, rank_flagged=rank_flagged, against=against)
    line = f"{tally.evaluated} of {counted(cells, 'cell')} computed, {tally.cached} already there"
    print_tables(tables, tally, line, as_json=as_json)
    return Exit.CELLS_FAILED if tally.bad else Exit.OK


@harness_torch_state()
def _work(asked: Sequence[ExternalOptions], request: Request, workshop: Workshop) -> tuple[Tally, int]:
    """Load all networks, then evaluate them, then audit them, as an audit shows a network its baseline's images."""
    tally = Tally()
    loaded = [external_of(network, workshop) for network in asked]
    found = [evaluate_run(run, model, request, workshop, tally, content) for run, model, content in loaded]
    if workshop.audit != "none":
        for one in found:
            audit_evaluated(one, request, workshop, tally, cast(LevelName, workshop.audit))
    return tally, sum(len(one.cells) for one in found)
