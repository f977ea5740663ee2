"""``bench plot``: draw the latents of the test images of a run, or one image under all corruptions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from bench.cli.config_options import FilePath, Whole, config_options
from bench.cli.group import cli
from bench.cli.options import json_option
from bench.config import RunConfig
from bench.core.errors import BenchError, CellFailure
from bench.core.inert import one_line
from bench.core.vocabulary import Exit
from bench.leaderboard.labels import status_texts
from bench.results.results_csv import current_cells
from bench.results.store import Store
from bench.runtime.files import check_writable
from bench.runtime.plugin import load_plugins


@cli.command(
    "plot",
    examples=(
        "bench plot latents resnet18:lpc:0",
        "bench plot corruptions --dataset digits --out corruptions.png",
    ),
)
@click.argument("what", metavar="latents|corruptions", type=click.Choice(("latents", "corruptions")))
@click.argument("name", metavar="[RUN]", required=False)
@config_options(RunConfig, only=("results", "data_dir", "device", "plugin"))
@click.option("--dataset", help="corrupt the first test image of this data set  [default: a photograph]")
@click.option("--image-size", type=Whole(min=8), help="side of the photograph, or of the images of an image folder")
@click.option(
    "--out",
    type=FilePath(),
    help="folder for the figures of latents  [default: folder of the run], or PNG file for corruptions  "
    "[default: corruptions.png]",
)
@json_option
def plot_command(
    what: str,
    name: str | None,
    *,
    results: Path,
    out: Path | None,
    data_dir: Path | None,
    dataset: str | None,
    image_size: int | None,
    plugin: Sequence[Path],
    device: str,
    as_json: bool,
) -> int:
    """Draw the latents of a run, or an image under all corruptions.

    'latents RUN' draws histograms and a projection of the latents of test images, as PNG and SVG. 'corruptions' draws
    an image under 19 kinds of corruption at 5 severities as PNG. The image is a photograph unless --dataset is given.
    """
    load_plugins(plugin)
    if what == "corruptions":
        if name is not None:
            raise BenchError(f"'bench plot corruptions' takes no run, but {name!r} is given; leave it out.")
        from bench.cli.plot_corruptions import plot_corruptions

        return plot_corruptions(dataset=dataset, data_dir=data_dir, image_size=image_size, out=out, as_json=as_json)
    if name is None:
        raise BenchError("'bench plot latents' needs a run: a prefix of its id, or model:variant:seed.")
    return _plot_latents(name, results, out, data_dir, device, as_json=as_json)


def _plot_latents(
    name: str, results: Path, out: Path | None, data_dir: Path | None, device: str, *, as_json: bool
) -> int:
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
    title = "\n".join(map(one_line, [title, *status_texts(run, current_cells(run, store), store).values()]))
    figure = draw_latents(latents.z, latents.labels, title=title, class_names=None)
    paths = [str(path) for path in save_figure(figure, folder / f"latents-{run.run_id}")]
    print(json.dumps({"paths": paths}, indent=2) if as_json else "\n".join(paths))
    return Exit.OK
