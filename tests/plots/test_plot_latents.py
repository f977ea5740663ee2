"""The figure shows the latents it was given, all of them, and the same ones give the same file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import StepPatch
from numpy.typing import NDArray
from PIL import Image

from bench.core.errors import BenchError
from bench.plots.latents import MARKERS, PALETTE, draw_latents, save_figure
from bench.plots.projection import project

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def hypercube(d: int, *, classes: int = 3, n: int = 120, scale: float = 4.5e-4) -> tuple[Floats, Ints]:
    """Latents near the corners of a cube of half side ``scale``: what a collapsed model has."""
    rng = np.random.default_rng(d)
    labels = np.arange(n) % classes
    corners = rng.choice([-1.0, 1.0], (classes, d))
    return scale * (corners[labels] + 0.05 * rng.standard_normal((n, d))), labels


def draw(latents: Floats, labels: Ints, **options: object) -> Figure:
    given = {"title": "lpc", "class_names": None, **options}
    return draw_latents(latents, labels, **given)  # type: ignore[arg-type]


def histograms(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_title().startswith("$z_")]


def plane(figure: Figure) -> Axes:
    (axes,) = [axes for axes in figure.axes if axes.get_xlabel().startswith(("component", "no variance"))]
    return axes


def texts(figure: Figure) -> str:
    return "\n".join(part.get_suptitle() for part in [figure, *figure.subfigs])


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for part in figure.subfigs for legend in part.legends for text in legend.get_texts()]


@pytest.mark.parametrize(
    ("d", "most", "shown", "said"),
    [
        (8, 16, 8, "All 8 latent coordinates"),
        (20, 16, 16, "The first 16 of 20 latent coordinates"),
        (64, 3, 3, "The first 3 of 64 latent coordinates"),
        (17, 17, 17, "All 17 latent coordinates"),
        (1, 16, 1, "The only latent coordinate"),
    ],
)
def test_every_shown_coordinate_has_a_histogram_and_the_title_counts_them(
    d: int, most: int, shown: int, said: str
) -> None:
    figure = draw(*hypercube(d), max_dimensions=most)
    assert [axes.get_title() for axes in histograms(figure)] == [f"$z_{{{j + 1}}}$" for j in range(shown)]
    assert said in texts(figure)
    assert len(figure.axes) == shown + 1  # and the plane


@pytest.mark.parametrize("classes", [10, 11])
def test_the_bars_hold_every_image_and_stand_where_it_lies(classes: int) -> None:
    """Stacked, the topmost class reaches the height of all; one colour above ten classes."""
    latents, labels = hypercube(2, classes=classes, scale=3.0)
    for column, axes in zip(latents.T, histograms(draw(latents, labels)), strict=True):
        steps = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
        assert len(steps) == (10 if classes == 10 else 1)
        total, weighted = 0.0, 0.0
        for step in steps:
            heights, edges, base = step.get_data()
            total += float(np.sum(heights - base))
            weighted += float(np.sum((heights - base) * (edges[1:] + edges[:-1]) / 2))
        assert total == len(latents)
        assert weighted / total == pytest.approx(column.mean(), abs=0.05)
        assert axes.get_ylim()[1] >= max(float(np.max(step.get_data()[0])) for step in steps)


def test_all_histograms_have_one_range_and_it_holds_every_shown_latent() -> None:
    latents, labels = hypercube(6, scale=1.0)
    latents[:, 3] *= 5
    axes = histograms(draw(latents, labels))
    ((low, high),) = {one.get_xlim() for one in axes}
    assert low < latents.min()
    assert latents.max() < high
    assert len({one.get_ylim() for one in axes}) == 1


def test_the_lowest_histogram_of_each_column_bears_the_scale() -> None:
    """Five stand in two rows of three, the last place is empty."""
    axes = histograms(draw(*hypercube(5)))
    assert [one.xaxis.get_tick_params()["labelbottom"] for one in axes] == [False, False, True, True, True]


def test_the_range_of_nearly_equal_latents_can_be_read_off_its_ticks() -> None:
    latents, labels = hypercube(2, scale=1e-9)
    low, high = histograms(draw(7.0 + latents, labels))[0].get_xlim()
    assert 1e-3 < (high - low) / 7.0 < 1e-2


def test_small_latents_are_shown_in_powers_of_ten() -> None:
    figure = draw(*hypercube(4, scale=4.5e-4))
    assert "[$10^{-4}$]" in figure.subfigs[0].get_supxlabel()
    assert 4 < histograms(figure)[0].get_xlim()[1] < 7
    assert "10^" not in draw(*hypercube(4, scale=2.0)).subfigs[0].get_supxlabel()


def test_the_plane_is_that_of_the_class_means() -> None:
    """Three means in the plane of z2 and z3 and a larger spread along z1, which PCA of all images would take."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    corners = np.array([[0.0, 3.0, 0.0], [0.0, -3.0, 0.0], [0.0, 0.0, 1.0]])
    latents = corners[labels]
    latents[:, 0] += np.tile(np.repeat([-20.0, 20.0], 3), 50)
    latents += 1e-6 * rng.standard_normal(latents.shape)
    projection = project(latents, labels)
    assert projection.origins == ("class means", "class means")
    third = 1 / 3
    np.testing.assert_allclose(projection.means, [[3, -third], [-3, -third], [0, 2 * third]], atol=1e-5)
    total = 400 + 6 + 2 / 9  # the variances along z1, z2 and z3
    np.testing.assert_allclose(projection.shares, [6 / total, 2 / 9 / total], rtol=1e-4)


def test_two_classes_take_the_second_direction_from_the_images() -> None:
    """The means differ along z1 only; within the classes z3 varies most."""
    labels = np.arange(200) % 2
    latents = np.zeros((200, 3))
    latents[:, 0] = np.where(labels == 1, 5.0, -5.0)
    latents[:, 2] = np.tile([-1.0, -1.0, 1.0, 1.0], 50)
    projection = project(latents, labels)
    assert projection.origins == ("class means", "images")
    np.testing.assert_allclose(projection.points, latents[:, [0, 2]], atol=1e-12)
    np.testing.assert_allclose(projection.shares, [25 / 26, 1 / 26])
    assert "PCA of the class means, then of the images (200 images)" in texts(draw(latents, labels))


def test_the_plane_shows_every_image_in_the_colour_of_its_class() -> None:
    latents, labels = hypercube(4, classes=10, scale=1.0)
    figure = draw(latents, labels)
    (dots,) = [c for c in plane(figure).collections if isinstance(c, PathCollection)]
    expected = project(latents, labels).points
    shown = np.asarray(dots.get_offsets())
    colours = np.asarray(dots.get_facecolor())[:, :3]
    assert len(shown) == len(latents)
    nearest = np.array([np.abs(expected - point).sum(axis=1).argmin() for point in shown])
    np.testing.assert_allclose(shown, expected[nearest])
    assert sorted(nearest) == list(range(len(latents)))
    palette = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in PALETTE])
    np.testing.assert_allclose(colours, palette[labels[nearest]], atol=1e-6)
    assert re.fullmatch(r"component 1: \d+\.\d % of the variance", plane(figure).get_xlabel())


def test_the_plane_has_one_scale_on_both_axes() -> None:
    axes = plane(draw(*hypercube(3)))
    assert np.ptp(axes.get_xlim()) == pytest.approx(np.ptp(axes.get_ylim()))
    assert axes.get_aspect() == 1


def test_the_plane_holds_every_image_also_when_the_classes_hardly_differ() -> None:
    """Then the second direction, from the images, is the longer one."""
    labels = np.arange(60) % 2
    latents = np.stack([0.1 * labels, np.repeat(np.linspace(-3, 3, 30), 2)], axis=1)
    axes = plane(draw(latents, labels))
    points = project(latents, labels).points
    for k, (low, high) in enumerate((axes.get_xlim(), axes.get_ylim())):
        assert low < points[:, k].min()
        assert points[:, k].max() < high


def test_the_palette_and_the_markers_tell_ten_classes_apart() -> None:
    assert len(set(PALETTE)) == len(set(MARKERS)) == 10


def test_the_legend_names_the_classes_that_occur() -> None:
    """A class keeps its colour whether or not others occur, and a name is shown as it is."""
    names = ["plain", "$^$", "_under", "one that is much too long", "absent"]
    latents, labels = hypercube(4, classes=4)
    figure = draw(latents, labels, class_names=names, title="$^$")  # as mathematics neither could be drawn
    assert legend_of(figure) == ["plain", "$^$", "_under", "one that is muc…"]
    figure = draw(latents[labels > 1], labels[labels > 1])
    assert legend_of(figure) == ["2", "3"]
    (dots,) = [c for c in plane(figure).collections if isinstance(c, PathCollection)]
    assert {tuple(np.round(255 * c[:3]).astype(int)) for c in np.asarray(dots.get_facecolor())} == {
        (0xBD, 0x1F, 0x01),
        (0x94, 0xA4, 0xA2),
    }


def test_more_than_ten_classes_share_a_scale() -> None:
    latents, labels = hypercube(4, classes=20)
    figure = draw(latents, labels)
    assert legend_of(figure) == []
    assert len(figure.axes) == 4 + 1 + 1  # the scale is the last
    assert any(axes.get_xlabel() == "class" for axes in figure.axes)


@pytest.mark.parametrize("d", [8, 64])
def test_no_text_lies_on_another(d: int) -> None:
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    figure = draw(*hypercube(d, classes=10), class_names=names)
    parts = [figure, *figure.subfigs]
    written = [text for part in parts for text in part.texts]
    written += [text for part in parts for legend in part.legends for text in legend.get_texts()]
    for axes in figure.axes:
        written += [axes.title, axes.xaxis.label, axes.yaxis.label]
        for axis, label in ((axes.xaxis, "labelbottom"), (axes.yaxis, "labelleft")):
            if axis.get_tick_params()[label]:
                low, high = sorted(axis.get_view_interval())
                written += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = {id(text): (text.get_text(), text.get_window_extent()) for text in written if text.get_text()}
    ends = list(boxes.values())
    assert len(ends) > 30
    whole = figure.bbox
    for i, (text, box) in enumerate(ends):
        assert whole.x0 <= box.x0 <= box.x1 <= whole.x1, text
        assert whole.y0 <= box.y0 <= box.y1 <= whole.y1, text
        assert [other for other, its in ends[:i] if box.overlaps(its)] == [], text


def test_the_same_latents_give_the_same_bytes(tmp_path: Path) -> None:
    paths = [save_figure(draw(*hypercube(3)), tmp_path / name / "latents") for name in ("a", "b")]
    for first, second in zip(*paths, strict=True):
        assert first.read_bytes() == second.read_bytes()
    other = save_figure(draw(hypercube(3)[0] * 0.9, hypercube(3)[1]), tmp_path / "c" / "latents")
    assert other[0].read_bytes() != paths[0][0].read_bytes()


def test_another_process_gives_the_same_bytes_and_keeps_no_state(tmp_path: Path) -> None:
    """Hashes of strings differ between processes, and so does the clock.

    No pyplot, which keeps every figure, and the settings of the caller as they were.
    """
    program = (
        "import sys, matplotlib, numpy as np; from pathlib import Path; from bench.plots.latents import *;"
        # Asking for the backend would choose one.
        "settings = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'};"
        "before = settings();"
        "figure = draw_latents(np.eye(4), np.arange(4), title='t', class_names=None);"
        "assert 'matplotlib.pyplot' not in sys.modules; assert settings() == before;"
        "assert 'torch' not in sys.modules;"
        "save_figure(figure, Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "theirs"], check=True)
    for path in save_figure(draw(np.eye(4), np.arange(4), title="t"), tmp_path / "ours"):
        assert path.read_bytes() == path.with_stem("theirs").read_bytes()


def test_saving_lays_nothing_out_again_and_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw(*hypercube(2))

    def not_again(self: ConstrainedLayoutEngine, fig: Figure) -> None:
        raise AssertionError

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", not_again)
    once, again = save_figure(figure, tmp_path / "once"), save_figure(figure, tmp_path / "again")
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


def test_both_files_are_written_whole_under_the_name_given(tmp_path: Path) -> None:
    figure = draw(*hypercube(2))
    png, svg = save_figure(figure, tmp_path / "new" / "resnet18.v1")
    assert [p.name for p in (png, svg)] == ["resnet18.v1.png", "resnet18.v1.svg"]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted([png.name, svg.name])
    with Image.open(png) as image:
        image.load()
        assert image.size == tuple(np.floor(150 * figure.get_size_inches() + 1e-6).astype(int))
    text = svg.read_text()
    assert text.rstrip().endswith("</svg>")
    assert "<dc:date>" not in text


def test_a_figure_that_cannot_be_rendered_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw(*hypercube(2))
    old = [path.read_bytes() for path in save_figure(figure, tmp_path / "z")]
    render = Figure.savefig

    def no_svg(self: Figure, *args: object, **options: object) -> None:
        if options["format"] == "svg":
            raise MemoryError
        render(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", no_svg)
    with pytest.raises(MemoryError):
        save_figure(draw(*hypercube(3)), tmp_path / "z")
    assert [path.read_bytes() for path in (tmp_path / "z.png", tmp_path / "z.svg")] == old


def test_a_write_that_breaks_off_leaves_the_old_files_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = save_figure(draw(*hypercube(2)), tmp_path / "z")
    old = {path.name: path.read_bytes() for path in paths}

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BenchError, match="No space left on device"):
        save_figure(draw(*hypercube(3)), tmp_path / "z")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_a_file_in_the_way_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write"):
        save_figure(draw(*hypercube(2)), tmp_path / "file" / "z")


@pytest.mark.parametrize(
    ("latents", "labels"),
    [
        pytest.param(np.zeros((20, 3)), np.arange(20) % 3, id="all zero"),
        pytest.param(np.full((20, 3), 7.1, dtype=np.float32), np.zeros(20, dtype=np.int32), id="one class, all equal"),
        pytest.param(np.full((1, 4), -2e-5), np.array([4]), id="one image"),
        pytest.param(np.array([[3.0]]), np.array([0]), id="one number"),
        pytest.param(np.linspace(-1, 1, 30)[:, None], np.arange(30) % 2, id="one dimension"),
        pytest.param(np.zeros((5, 1)), np.arange(5), id="one dimension, all zero"),
        pytest.param(np.random.default_rng(0).normal(size=(9, 5)), np.zeros(9, dtype=np.int64), id="one class"),
        pytest.param(np.eye(11)[:, :4], np.arange(11), id="an image a class, more than ten"),
        pytest.param(1e6 + np.eye(3), np.arange(3), id="far from zero"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_degenerate_latents_still_give_a_figure(tmp_path: Path, latents: Floats, labels: Ints) -> None:
    figure = draw(latents, labels)
    assert len(histograms(figure)) == latents.shape[1]
    for path in save_figure(figure, tmp_path / "z"):
        assert path.stat().st_size > 1000
    varies = bool(np.ptp(latents, axis=0).any())
    assert (plane(figure).get_xlabel() == "no variance") == (not varies)
    assert (plane(figure).get_ylabel() == "no variance") == (not varies or latents.shape[1] == 1)


@pytest.mark.parametrize(
    ("latents", "labels", "options", "message"),
    [
        (np.zeros(3), np.zeros(3, dtype=int), {}, r"shape \(3,\)"),
        (np.zeros((0, 3)), np.zeros(0, dtype=int), {}, r"shape \(0, 3\)"),
        (np.zeros((3, 2)), np.zeros(2, dtype=int), {}, r"need \(3,\)"),
        (np.zeros((3, 2)), np.array([0, -1, 0]), {}, "are from -1 to 0"),
        (np.zeros((3, 2)), np.array([0, 1, 2]), {"class_names": ["a", "b"]}, "are from 0 to 2"),
        (np.zeros((3, 2)), np.array([0, 1, 2]), {"max_dimensions": 0}, "max_dimensions is 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    latents: Floats, labels: Ints, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        draw(latents, labels, **options)


def test_latents_of_a_diverged_model_are_a_mistake_in_a_sentence() -> None:
    latents, labels = hypercube(3)
    latents[0, :2] = np.nan, np.inf
    with pytest.raises(BenchError, match="2 latents are NaN or infinite"):
        draw(latents, labels)
