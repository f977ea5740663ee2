"""Numbers published by the authors of latent point collapse, one per row.

Source: Sbailo and Ghiringhelli, "Latent Point Collapse Induces an Information Bottleneck", manuscript of 2024
(OpenReview FwlM1k4ODx), Tables 1 and 2. The numbers are from the revision with marked changes in github
luigisbailo/latent_point_collapse at commit 4ae9823. Each row names the recipe of this project that repeats its
training, and the width of its penultimate layer in the authors' configuration. Only runs with this recipe and this
width are comparable, even if the names of other variants are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import resources

from bench.compare.strict_csv import Form, Line, number, parse_table
from bench.core.errors import BenchError

FILE = "lpc_published.csv"


@dataclass(frozen=True)
class PublishedRow:
    """One published number and the known fields of its protocol.

    ``value`` and ``std`` are the printed numbers, in ``unit``: accuracies in percent, other metrics as plain numbers.
    """

    source: str
    table: str
    dataset: str  # cifar10, cifar100 or svhn
    backbone: str  # resnet18 or resnet50
    published_name: str
    variant: str  # name of the same variant in this project; empty if it does not exist
    recipe: str  # recipe of this project with the same training
    latent_dim: int | None  # width of the penultimate layer; None without one
    metric: str
    value: float
    std: float | None  # standard deviation over 5 repeats; None if not published
    unit: str
    n_images: str  # text, because paper and code may disagree; empty if unknown
    protocol: str
    note: str


COLUMNS = tuple(field.name for field in fields(PublishedRow))
FORM = Form(
    COLUMNS,
    may_be_empty={"variant", "latent_dim", "std", "n_images", "note"},
    identity=("source", "table", "dataset", "backbone", "published_name", "metric"),
    called="{metric} of {published_name}",
)


def published_lpc() -> tuple[PublishedRow, ...]:
    """Return all published rows, in the order of the file."""
    content = resources.files("bench.compare").joinpath(FILE).read_text(encoding="utf-8-sig")
    return parse_published(content, where=FILE)


def parse_published(content: str, *, where: str) -> tuple[PublishedRow, ...]:
    """Parse a table with exactly the columns ``COLUMNS``. Raises BenchError with the file ``where`` and the line."""
    return tuple(_row(line) for line in parse_table(content, FORM, where=where))


def _row(line: Line) -> PublishedRow:
    texts = {name: cell for name, cell in line.cells.items() if name not in ("latent_dim", "value", "std")}
    std = number(line.cells["std"], f"{line.place}: std") if line.cells["std"] else None
    if std is not None and std < 0:
        raise BenchError(f"{line.place}: std is {line.cells['std']}; it must be 0 or more.")
    width = number(line.cells["latent_dim"], f"{line.place}: latent_dim") if line.cells["latent_dim"] else None
    if width is not None and (width < 1 or width != int(width)):
        raise BenchError(f"{line.place}: latent_dim is {line.cells['latent_dim']}; it must be a whole number from 1.")
    latent_dim = None if width is None else int(width)
    return PublishedRow(
        **texts, latent_dim=latent_dim, value=number(line.cells["value"], f"{line.place}: value"), std=std
    )
