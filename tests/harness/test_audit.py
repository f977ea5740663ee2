"""Flags go where the number goes: a model that was found out does not pass for robust."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from oddities import Noisy, Stepped, linear
from records import cell_record, run_record, samples_of

from bench import api
from bench.leaderboard import rebuild
from bench.store import Store

evaluate = partial(api.evaluate, corruptions="none", audit=False)


def test_the_flag_goes_where_the_number_goes(tmp_path: Path, bench: Callable[..., Any]) -> None:
    evaluate(Noisy(0.5), name="noisy", attacks=["fgsm"], eps=["0.1"], limit=40, results=tmp_path, device="cpu")
    rows = evaluate(Stepped(), name="steps", attacks=["fgsm", "square"], eps=["0.1"], limit=40, results=tmp_path)
    flags = rows.set_index("attack")["flags"].to_dict()
    assert flags == {"clean": "", "fgsm": "", "square": ""}, "gradients of zero are a remark, not a flag"
    notes = rows.set_index("attack")["notes"]
    assert "the margin has no gradient at " in notes["fgsm"]
    assert "no gradient" not in notes["square"]
    written = pd.read_csv(tmp_path / "results.csv").set_index(["model", "attack"])["flags"]
    assert written["noisy", "clean"] == written["noisy", "fgsm"] == "randomised"
    board = pd.read_csv(tmp_path / "leaderboard.csv").set_index("model")
    assert board.loc["noisy", "clean_flags"] == "randomised"
    assert pd.isna(board.loc["steps", ["clean_flags", "fgsm@linf-0.1_flags"]]).all()
    shown = bench("leaderboard", "--results", tmp_path).out
    assert shown.count("⚑randomised") == 2
    assert "⚑randomised" in bench("show", "noisy:external", "--results", tmp_path).out
    assert rows.set_index("attack").loc["fgsm", "n_forwards"] == rows.set_index("attack").loc["fgsm", "n_attacked"]


def test_an_ordinary_model_has_no_flag() -> None:
    rows = evaluate(linear(), name="plain", attacks=["fgsm", "pgd-2"], eps=["0.1"], limit=40)
    assert set(rows["flags"]) == {""}


def test_one_flagged_seed_marks_the_mean(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed, flags in ((0, ()), (1, ("black_box", "randomised"))):
        run = run_record(seed=seed)
        store.write_run(run, None)
        record = cell_record(run, "clean", [True] * 4)
        store.write_cell(dataclasses.replace(record, flags=flags), samples_of([True] * 4))
    assert rebuild(store).iloc[0]["clean_flags"] == "black_box;randomised"
