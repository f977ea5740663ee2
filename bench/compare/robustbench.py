"""Selection of published models of RobustBench that is included in the package, one model per row.

Source: Croce et al., "RobustBench: a standardized adversarial robustness benchmark", NeurIPS Datasets and Benchmarks
2021, arXiv 2010.09670. The numbers are from github RobustBench/robustbench, folder model_info, at the commit in the
row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from types import MappingProxyType
from typing import Final, NamedTuple

from bench.compare.strict_csv import Form, Line, number, parse_table
from bench.core.epsilon import parse_eps
from bench.core.errors import BenchError
from bench.core.words import join

FILE = "robustbench.csv"
CORRUPTIONS: Final = "corruptions"
#: Norms by the threat names of RobustBench; empty for corruptions.
THREATS: Final[Mapping[str, str]] = MappingProxyType({"Linf": "linf", "L2": "l2", CORRUPTIONS: ""})


class TestSet(NamedTuple):
    """Test images on which RobustBench evaluates a data set."""

    n: int
    subset: str  # description of a subset; empty for the whole test split


#: The images of ImageNet are a list by RobustBench, which cannot be reproduced by ``--limit``.
TEST_SETS: Final[Mapping[str, TestSet]] = MappingProxyType(
    {
        "cifar10": TestSet(10_000, ""),
        "cifar100": TestSet(10_000, ""),
        "imagenet": TestSet(5_000, "RobustBench's own list of 5,000 validation images"),
    }
)
#: Standard budget of each board. A few models were evaluated at another budget.
BUDGETS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("cifar10", "Linf"): "8/255",
        ("cifar10", "L2"): "0.5",
        ("cifar100", "Linf"): "8/255",
        ("imagenet", "Linf"): "4/255",
    }
)


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """One model on one board of RobustBench. Accuracies are percent.

    ``robust`` is the accuracy under AutoAttack, or the mean over the 75 corruption cells. ``external`` is a lower
    robust accuracy under another attack. If it is given, it is the lowest known robust accuracy.
    """

    dataset: str
    threat: str  # a key of THREATS
    model: str  # RobustBench's id
    architecture: str
    clean: float
    robust: float
    external: float | None
    mce: float | None  # mean corruption error on ImageNet-C, in percent of the errors of AlexNet
    eps: str  # published budget as text; empty for corruptions
    additional_data: bool
    unreliable: bool  # true if RobustBench declares the AutoAttack accuracy unreliable
    venue: str
    link: str
    source: str
    commit: str

    @property
    def lowest_known(self) -> float:
        """Lowest known robust accuracy. RobustBench ranks by this value."""
        return self.robust if self.external is None else self.external

    @property
    def norm(self) -> str:
        """Norm of the threat: linf, l2, or empty for corruptions."""
        return THREATS[self.threat]


COLUMNS = tuple(field.name for field in fields(PublishedModel))
FORM = Form(
    COLUMNS,
    may_be_empty={"external", "mce", "eps"},
    identity=("dataset", "threat", "model"),
    called="{model} under {dataset} {threat}",
)


def published_models() -> tuple[PublishedModel, ...]:
    """Return all rows included in the package, in the order of the file."""
    content = resources.files("bench.compare").joinpath(FILE).read_text(encoding="utf-8-sig")
    return parse_models(content, where=FILE)


def parse_models(content: str, *, where: str) -> tuple[PublishedModel, ...]:
    """Parse a table with exactly the columns ``COLUMNS``. Raises BenchError with the file ``where`` and the line."""
    return tuple(_model(line) for line in parse_table(content, FORM, where=where))


def _model(line: Line) -> PublishedModel:
    cells, place = line.cells, line.place
    for name, allowed in (("dataset", TEST_SETS), ("threat", THREATS)):
        if cells[name] not in allowed:
            raise BenchError(f"{place}: {name} is {cells[name]!r}; write {join(tuple(allowed), 'or')}.")
    check_budget(cells["threat"], cells["eps"], place)
    texts = {name: cells[name] for name in COLUMNS if name not in _PARSED}
    return PublishedModel(
        **texts,
        clean=percent(cells["clean"], f"{place}: clean"),
        robust=percent(cells["robust"], f"{place}: robust"),
        external=percent(cells["external"], f"{place}: external") if cells["external"] else None,
        mce=number(cells["mce"], f"{place}: mce") if cells["mce"] else None,
        additional_data=_truth(cells["additional_data"], f"{place}: additional_data"),
        unreliable=_truth(cells["unreliable"], f"{place}: unreliable"),
    )


_PARSED = {"clean", "robust", "external", "mce", "additional_data", "unreliable"}


def check_budget(threat: str, eps: str, place: str) -> None:
    """Raise BenchError unless ``eps`` is valid for ``threat``: a budget for a norm, empty for corruptions."""
    if THREATS[threat]:
        try:
            parse_eps(eps, THREATS[threat])
        except BenchError as error:
            raise BenchError(f"{place}: {error}") from None
    elif eps:
        raise BenchError(f"{place}: eps is {eps!r}; leave it empty, because corruptions have no budget.")


def percent(text: str, prefix: str) -> float:
    """Parse a percentage. Raises BenchError, beginning with ``prefix``, unless ``text`` is a number from 0 to 100."""
    value = number(text, prefix)
    if not 0 <= value <= 100:
        raise BenchError(f"{prefix} is {text!r}; give a percentage from 0 to 100.")
    return value


def _truth(cell: str, prefix: str) -> bool:
    if cell not in ("true", "false"):
        raise BenchError(f"{prefix} is {cell!r}; write true or false.")
    return cell == "true"
