"""Options and fixtures of the benchmarks, and the table of results printed at the end.

``--engine-size small`` takes about two minutes and only checks that everything runs, because overhead dominates in
batches of a few images. The goals apply to ``--engine-size full`` on an otherwise idle machine.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from measure import Bench, Row
from subjects import SIZES, Choice, EvaluatedModel, build_subject

from bench.runtime.environment import choose_device

ROWS: list[Row] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the benchmarks."""
    group = parser.getgroup("engine", "benchmarks of the attack engine")
    group.addoption(
        "--engine-size", choices=tuple(SIZES), default="small", help="small: a trial run; full: goals apply"
    )
    group.addoption("--engine-dataset", default="digits", help="as --dataset of bench run")
    group.addoption("--engine-data-dir", type=Path, help="as --data-dir of bench run")
    group.addoption("--engine-image-size", type=int, help="as --image-size of bench run, for image folders")
    group.addoption("--engine-model", help="backbone; the default depends on the size")
    group.addoption("--engine-images", type=int, help="images to attack; the default depends on the size")
    group.addoption("--engine-batch-size", type=int, help="images per batch; the default depends on the size")
    group.addoption("--engine-epochs", type=int, help="training epochs; the default depends on the size")
    group.addoption("--engine-train-limit", type=int, help="training images; the default depends on the size")
    group.addoption("--engine-train-eps", help="budget of the adversarial training, as --train-eps of bench run")
    group.addoption("--engine-reference-runs", type=int, help="runs of pyautoattack with different seeds; 0 for none")
    group.addoption("--engine-cache", type=Path, help="results folder in which the trained networks are stored")
    group.addoption(
        "--training-size", choices=("small", "full"), default="small", help="size of the benchmarks of training"
    )
    group.addoption("--table", type=Path, help="write the table of results to this CSV file, too")
    group.addoption(
        "--engine-clock", choices=("wall", "cpu"), default="wall", help="cpu: time of this process, CPU only"
    )


@pytest.fixture(scope="session")
def choice(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Choice:
    """Return the chosen size with the values of the other options."""
    option = request.config.getoption
    size, runs = SIZES[option("--engine-size")], option("--engine-reference-runs")
    return Choice(
        dataset=option("--engine-dataset"),
        data_dir=option("--engine-data-dir"),
        image_size=option("--engine-image-size"),
        model=option("--engine-model") or size.model,
        images=option("--engine-images") or size.images,
        batch_size=option("--engine-batch-size") or size.batch_size,
        epochs=option("--engine-epochs") or size.epochs,
        train_limit=option("--engine-train-limit") or size.train_limit,
        train_precision=size.train_precision,
        train_eps=option("--engine-train-eps"),
        deepfool_images=size.deepfool_images,
        n_single=size.n_single,
        reference_runs=size.reference_runs if runs is None else runs,
        cache=option("--engine-cache") or tmp_path_factory.mktemp("engine"),
    )


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest, choice: Choice) -> Bench:
    """Return the object that measures attacks and records the rows of the table."""
    return Bench(choose_device("auto"), choice.batch_size, request.config.getoption("--engine-clock"), ROWS)


@pytest.fixture(scope="session")
def undefended(choice: Choice, engine: Bench) -> EvaluatedModel:
    """Return a model trained without a defence."""
    return build_subject("baseline", choice, engine)


@pytest.fixture(scope="session")
def defended(choice: Choice, engine: Bench) -> EvaluatedModel:
    """Return a model trained with PGD adversarial training."""
    return build_subject("pgd_at", choice, engine)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of results."""
    if ROWS:
        option, threads = config.getoption, torch.get_num_threads()
        sizes = f"engine: {option('--engine-size')} size, training: {option('--training-size')} size"
        terminalreporter.section(f"{sizes}, {threads} threads, {option('--engine-clock')} clock")
        verdicts = {True: "met", False: "NOT met", None: "no verdict"}
        rows = [(row.case, row.measured, row.goal, verdicts[row.met]) for row in ROWS]
        for cells in rows:
            terminalreporter.line(f"| {' | '.join(cells)} |")
        if option("--table") is not None:
            with option("--table").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([("case", "measured", "goal", "verdict"), *rows])
