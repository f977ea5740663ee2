"""``bench plot latents RUN``: the latents of a run's test images, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from bench.cli.config_options import config_options
from bench.cli.group import cli
from bench.config import RunConfig
from bench.core.errors import BenchError, CellFailure
from bench.core.vocabulary import Exit
from bench.leaderboard.labels import labels_of
from bench.results.results_csv import present_cells
from bench.results.store import Store
from bench.runtime.files import check_writable
from bench.runtime.plugin import load_plugins


@cli.command(
    "plot",
    examples=(
        "bench plot latents resnet18:lpc:0",
        "bench plot latents resnet18:lpc:0 --out figures",
    ),
)
@click.argument("what", type=click.Choice(("latents",)))
@click.argument("name", metavar="RUN")
@config_options(RunConfig, only=("results", "data_dir", "device", "plugin"))
@click.option("--out", type=click.Path(path_type=Path), help="folder for the figures  [default: the run's own]")
def plot_command(
    what: str, name: str, *, results: Path, out: Path | None, data_dir: Path | None, plugin: Sequence[Path], device: str
) -> int:
    """Draw the latents of a run: histograms and a projection, as PNG and SVG."""
    load_plugins(plugin)
    store = Store(results)
    run = store.find_run(name)
    folder = out or store.run_folder(run.run_id)
    check_writable(folder)
    from bench.diagnostics.diagnose import LATENT_IMAGES, latents_of
    from bench.evaluation.load_run import reopen_trained
    from bench.plots.latents import draw_latents, save_figure

    _, model, context = reopen_trained(run, store, data_dir=data_dir, device=device)
    try:
        latents = latents_of(model, context.images("test", LATENT_IMAGES), context)
    except CellFailure as error:
        raise BenchError(f"the latents of {name!r} cannot be drawn: {error.message}") from error
    title = f"{run.model}:{run.variant}:{run.seed} on {run.dataset}, {len(latents.z)} test images"
    title = "\n".join([title, *labels_of(run, present_cells(run, store), store).values()])
    figure = draw_latents(latents.z, latents.labels, title=title, class_names=None)
    for path in save_figure(figure, folder / f"{what}-{run.run_id}"):
        print(path)
    return Exit.OK
