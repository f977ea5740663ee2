"""Reading a study: its text, which figures of it have been checked, and its results.csv."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd

STUDIES = Path(__file__).parents[2] / "results" / "studies"

#: Columns of the tables that summary.py prints, by what the texts call them.
DIAGNOSES = {
    "γ": "gamma",
    "NC1, training": "collapse_nc1_train",
    "NC1, test": "collapse_nc1",
    "binarity": "collapse_binarity_mean",
    "least": "collapse_binarity_min",
    "vertex cosine": "collapse_vertex_cosine",
    "local radius": "lipschitz_local_radius",
    "ρ, authors": "deepfool_rho_authors",
    "ρ, pixels": "deepfool_rho_pixels",
    "ρ, boundary": "deepfool_rho_boundary",
    "median distance": "deepfool_median_distance",
}
LINEAR_TABLE = ("NC1, training", "binarity", "vertex cosine", "local radius")
DEEPFOOL = ("ρ, authors", "ρ, pixels", "ρ, boundary", "median distance")


class Text:
    """The README of a study; every figure in it is to be asked for by :meth:`says` with what its file gives."""

    def __init__(self, name: str) -> None:
        text = (STUDIES / name / "README.md").read_text()
        text = re.sub(r"```sh\n.*?```", " ", text, flags=re.DOTALL)
        text = re.sub(r"\]\([^)]*\)|`[^`]*\.(?:csv|png|py)`|arXiv [\d.]+", " ", text)
        self._text = self._rest = " ".join(text.split())

    def raise_digit(self, share: float) -> None:
        """Change the digit behind a decimal point: the one at ``share`` of all of them."""
        digits = [match.start() for match in re.finditer(r"(?<=\d\.)\d", self._text)]
        place = digits[int(share * (len(digits) - 1))]
        changed = str((int(self._text[place]) + 1) % 10)
        self._text = self._rest = self._text[:place] + changed + self._text[place + 1 :]

    def says(self, *phrases: str) -> None:
        """Fail unless every phrase stands in the text."""
        for phrase in phrases:
            assert phrase in self._text, f"{phrase!r} is what the file gives, and the text does not say so."
            self._rest = self._rest.replace(phrase, " … ")

    def left(self) -> list[str]:
        """Figures with a decimal point that no file was asked for."""
        return re.findall(r"\S*\d\.\d+\S*", self._rest)


@cache
def results(name: str, file: str = "results.csv") -> pd.DataFrame:
    """The ok rows of a study's file."""
    table = pd.read_csv(STUDIES / name / file)
    return table[table["status"] == "ok"]


def where(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows with these values; ``eps`` within rounding, None for an empty field."""
    for column, value in wanted.items():
        if column == "eps":
            table = table[(table["eps"] - float(str(value))).abs() < 1e-6]
        else:
            table = table[table[column].isna() if value is None else table[column] == value]
    assert len(table), f"no rows with {wanted}"
    return table


def accuracies(table: pd.DataFrame, attack: str, eps: float | None = None, **wanted: object) -> list[str]:
    """Accuracies in percent, one per row in order of the seeds."""
    chosen = where(table, attack=attack, **({} if eps is None else {"eps": eps}), **wanted)
    return [f"{100 * value:.1f}" for value in chosen.sort_values("seed")["acc"]]


def accuracy(table: pd.DataFrame, attack: str, eps: float | None = None, *, sign: str = "", **wanted: object) -> str:
    """The accuracy of the only such row, with its Wilson interval."""
    (row,) = where(table, attack=attack, **({} if eps is None else {"eps": eps}), **wanted).itertuples()
    low, high = 100 * float(str(row.acc_lo)), 100 * float(str(row.acc_hi))
    return f"{100 * float(str(row.acc)):.1f}{sign} [{low:.1f}, {high:.1f}]"


def diagnoses(table: pd.DataFrame, columns: tuple[str, ...]) -> list[str]:
    """Diagnoses of a configuration as summary.py prints them: mean, and deviation over several seeds."""
    runs = table.drop_duplicates("run_id")
    texts = []
    for column in columns:
        values = runs[DIAGNOSES[column]]
        spread = f" ± {values.std():.2g}" if len(runs) > 1 and values.notna().any() else ""
        texts.append("" if values.isna().all() else f"{values.mean():.3g}{spread}")
    return texts


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


#: By study: ask a text for every figure that follows from its files.
CHECKS: dict[str, Callable[[Text], None]] = {}


def check(function: Callable[[Text], None]) -> Callable[[Text], None]:
    """Register what is to be asked of the study that the function is named after."""
    CHECKS[function.__name__] = function
    return function


def runs_of(table: pd.DataFrame, variant: str, column: str) -> list[float]:
    return list(where(table, variant=variant).drop_duplicates("run_id").sort_values("seed")[column])


def figures(values: list[float], digits: int = 2) -> str:
    return ", ".join(signed(value, digits).removeprefix("+") for value in values)


def spoken(values: list[float], digits: int = 2) -> str:
    texts = [f"{value:.{digits}f}" for value in values]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def signed(value: float, digits: int = 1) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
