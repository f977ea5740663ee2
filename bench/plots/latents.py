"""Plot the latents: one histogram per coordinate, and a projection to the plane in which the class means differ most.

A collapsed model has a few narrow peaks in each histogram and one dot per class in the plane. Other models have wide
distributions.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba_array
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.plots.projection import Projection, project
from bench.runtime.output_files import write_output

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DPI = 150
BINS = 48
# Ten colours that people with a colour-vision deficiency can distinguish: Petroff 2021, arXiv 2107.02270.
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
MARKERS = "osD^vP<X>p"  # one marker per class, for print without colour
CONTINUOUS = "viridis"
SINGLE = "#4c5f73"
_NAME_LENGTH = 16
_STYLE: dict[Any, Any] = {
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "font.family": "DejaVu Sans",  # included in matplotlib, so equal on every machine
    "font.size": 8,
    "legend.fontsize": 7.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "latents",  # without a salt, the ids inside an SVG are random
    "xtick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 7,
    "ytick.major.width": 0.6,
}


def draw_latents(
    latents: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    title: str,
    class_names: Sequence[str] | None,
    max_dimensions: int = 16,
) -> Figure:
    """Draw ``latents`` (N, d) of images with ``labels`` (N,) in 0…K−1. K is the number of ``class_names`` if given.

    The first ``max_dimensions`` coordinates get a histogram. Up to ten classes have one colour each; more classes use a
    colour scale. Raise BenchError if a latent is not finite, and ValueError if shapes, labels or names are
    inconsistent.
    """
    values, classes = np.asarray(latents, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    _check(values, classes, class_names, max_dimensions)
    colours = _colours(len(class_names) if class_names is not None else int(classes.max()) + 1)
    n_shown = min(values.shape[1], max_dimensions)
    rows = math.ceil(n_shown / max(4, math.isqrt(n_shown - 1) + 1))
    columns = math.ceil(n_shown / rows)
    widths = (max(2.6, 1.35 * columns), 4.6)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(sum(widths), max(4.6, 1.1 * rows + 1.0)), dpi=DPI, layout="constrained")
        halves = figure.add_gridspec(1, 2, width_ratios=widths)
        left, right = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
        figure.suptitle(title, fontsize=10, fontweight="bold", parse_math=False)
        _draw_histograms(left, values, classes, colours, grid=(rows, columns), shown=n_shown)
        _draw_projection(right, project(values, classes), classes, colours, class_names)
        # Compute the layout once. It takes half of the time, and saving would compute it again for each file.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def save_figure(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write ``stem``.png and ``stem``.svg atomically. Equal figures give equal bytes.

    Raise BenchError if the folder cannot be written.
    """
    png, svg = (stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg"))
    with mpl.rc_context(_STYLE):
        contents = _render(figure, "png", {}), _render(figure, "svg", {"Date": None})
    for path, content in zip((png, svg), contents, strict=True):
        write_output(path, content, "--out")
    return png, svg


def _render(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def _check(values: Floats, classes: Ints, class_names: Sequence[str] | None, max_dimensions: int) -> None:
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"latents have shape {values.shape}; give (N, d) with N and d at least 1")
    if classes.shape != values.shape[:1]:
        raise ValueError(f"labels have shape {classes.shape}; these latents need ({values.shape[0]},)")
    if classes.min() < 0 or (class_names is not None and classes.max() >= len(class_names)):
        raise ValueError(f"labels are from {classes.min()} to {classes.max()}; they must be indices of the classes")
    if max_dimensions < 1:
        raise ValueError(f"max_dimensions is {max_dimensions}; it must be at least 1")
    if not np.isfinite(values).all():
        raise BenchError(
            f"{int((~np.isfinite(values)).sum())} latents are NaN or infinite; a plot needs finite latents."
        )


def _colours(classes: int) -> Floats:
    """Return the RGBA colour of every class, (K, 4)."""
    if classes <= len(PALETTE):
        return np.asarray(to_rgba_array(PALETTE[:classes]))
    return np.asarray(mpl.colormaps[CONTINUOUS](np.linspace(0, 1, classes)))


def _power(values: Floats) -> int:
    """Return the power of ten by which to divide ``values`` in labels, for example -4 for collapsed latents."""
    largest = float(np.abs(values).max())
    power = math.floor(math.log10(largest)) if largest else 0
    return 0 if -2 < power < 4 else power


def _unit(power: int) -> str:
    return f"  [$10^{{{power}}}$]" if power else ""


def _histogram_title(n_shown: int, dimensions: int) -> str:
    if n_shown < dimensions:
        return f"The first {n_shown} of {dimensions} latent coordinates"
    return f"All {dimensions} latent coordinates" if dimensions > 1 else "The only latent coordinate"


def _draw_histograms(
    panel: SubFigure, values: Floats, classes: Ints, colours: Floats, *, grid: tuple[int, int], shown: int
) -> None:
    power = _power(values[:, :shown])
    scaled = values[:, :shown] / 10.0**power
    edges = np.linspace(*_limits(scaled), BINS + 1)
    grid_axes = panel.subplots(*grid, sharex=True, sharey=True, squeeze=False)
    highest = 0
    for j, axes in enumerate(grid_axes.flat):
        if j >= shown:
            axes.remove()
            continue
        highest = max(highest, _draw_histogram(axes, scaled[:, j], classes, colours, edges))
        axes.set_title(f"$z_{{{j + 1}}}$", pad=2)
        # The lowest plot of each column has tick labels, also if the last row is not full.
        axes.tick_params(labelbottom=j + grid[1] >= shown)
    grid_axes[0, 0].set(xlim=(edges[0], edges[-1]), ylim=(0, 1.05 * highest))
    panel.suptitle(_histogram_title(shown, values.shape[1]), fontsize=9)
    panel.supxlabel(f"latent coordinate{_unit(power)}", fontsize=8)
    panel.supylabel("images per bin", fontsize=8)


def _limits(values: Floats) -> tuple[float, float]:
    """Return the common range of ``values``. It is never empty, and its ends differ in three significant digits."""
    low, high = float(values.min()), float(values.max())
    half = max(0.52 * (high - low), 1e-3 * max(abs(low), abs(high))) or 0.5
    return (low + high) / 2 - half, (low + high) / 2 + half


def _draw_histogram(axes: Axes, column: Floats, classes: Ints, colours: Floats, edges: Floats) -> int:
    """Draw a histogram stacked by class, or in one colour for many classes. Return its height in images."""
    below = np.zeros(len(edges) - 1, dtype=np.int64)
    if len(colours) > len(PALETTE):
        classes, colours = np.zeros_like(classes), to_rgba_array(SINGLE)
    for c in np.unique(classes):
        above = below + np.histogram(column[classes == c], edges)[0]
        nonempty = np.flatnonzero(above > below)
        bins = slice(nonempty[0], nonempty[-1] + 1)  # empty bins on both sides are left out to make the file smaller
        ends = edges[bins.start : bins.stop + 1]
        axes.stairs(above[bins], ends, baseline=below[bins], fill=True, facecolor=colours[c], linewidth=0)
        below = above
    axes.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    return int(below.max())


def _draw_projection(
    panel: SubFigure, projection: Projection, classes: Ints, colours: Floats, class_names: Sequence[str] | None
) -> None:
    axes = panel.subplots()
    power = _power(projection.points)
    points, means = projection.points / 10.0**power, projection.means / 10.0**power
    # Draw in a random but fixed order, so that no class covers all others.
    order = np.random.default_rng(0).permutation(len(points))
    size = float(np.clip(4000 / len(points), 3, 16))
    axes.scatter(
        points[order, 0],
        points[order, 1],
        s=size,
        c=colours[classes[order]],
        alpha=0.7,
        linewidths=0,
        rasterized=True,  # ten thousand dots as paths are too many for SVG viewers
    )
    few_classes = len(colours) <= len(PALETTE)
    for c, mean in zip(np.unique(classes), means, strict=True):
        axes.plot(*mean, **_mark(colours[c], MARKERS[c] if few_classes else "o", 6 if few_classes else 3))
    _scale(axes, points, projection, power)
    panel.suptitle(_projection_title(projection), fontsize=9)
    if few_classes:
        _draw_legend(panel, np.unique(classes), colours, class_names)
    else:
        scale = ScalarMappable(Normalize(0, len(colours) - 1), mpl.colormaps[CONTINUOUS])
        bar = panel.colorbar(scale, ax=axes, orientation="horizontal", shrink=0.7, aspect=30, label="class")
        bar.ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _mark(colour: Floats, marker: str, size: float) -> dict[str, Any]:
    """Return the style of a class mean in the plane and in the legend."""
    return {
        "color": tuple(colour),
        "linestyle": "none",
        "marker": marker,
        "markersize": size,
        "markeredgecolor": "black",
        "markeredgewidth": 0.6,
    }


def _scale(axes: Axes, points: Floats, projection: Projection, power: int) -> None:
    (left, right), (bottom, top) = _limits(points[:, 0]), _limits(points[:, 1])
    # Use the same scale on both axes, so that distances are comparable.
    half = max(right - left, top - bottom) / 2 if projection.origins[1] else (right - left) / 2
    axes.set_xlim((left + right) / 2 - half, (left + right) / 2 + half)
    axes.set_ylim((bottom + top) / 2 - half, (bottom + top) / 2 + half)
    axes.set_aspect("equal", adjustable="box")
    for k, axis in enumerate((axes.xaxis, axes.yaxis)):
        axis.set_label_text(f"component {k + 1}: {100 * projection.shares[k]:.1f} % of the variance{_unit(power)}")
        axis.set_major_locator(MaxNLocator(5))
        if not projection.origins[k]:
            axis.set_label_text("no variance")
            axis.set_ticks([])


def _projection_title(projection: Projection) -> str:
    images = len(projection.points)
    count = "1 image" if images == 1 else f"{images:,} images".replace(",", " ")
    return f"PCA of the {', then of the '.join(dict.fromkeys(filter(None, projection.origins))) or 'images'} ({count})"


def _draw_legend(panel: SubFigure, present: Ints, colours: Floats, class_names: Sequence[str] | None) -> None:
    names = [_short(class_names[c]) if class_names is not None else str(c) for c in present]
    handles = [Line2D([], [], **_mark(colours[c], MARKERS[c], 5)) for c in present]
    columns = min(5, int(4.5 / (0.28 + 0.06 * max(map(len, names)))))  # estimated from the width of a column in inches
    # Set the names afterwards. Otherwise a legend drops names that begin with "_" and parses "$" as mathematics.
    legend = panel.legend(
        handles,
        ["class"] * len(handles),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        columnspacing=1.2,
        handlelength=1.0,
        handletextpad=0.5,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"
