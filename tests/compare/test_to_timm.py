"""Read rows for timm's tables written by ``bench export`` again, as timm reads them."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from published_runs import COUNTS, TEXT, cell, row_of, run_on, stored
from user_names import is_allowed

from bench.compare.to_timm import timm_csv
from bench.core.errors import BenchError
from bench.core.inert import from_csv

RUN = run_on()
SIZES, PARAMETERS = st.none() | st.integers(8, 512), st.none() | st.integers(0, 10**10)


@given(model=TEXT, variant=TEXT, right=COUNTS, size=SIZES, count=PARAMETERS)
def test_any_run_is_read_again_from_timms_form(
    model: str, variant: str, right: int, size: int | None, count: int | None
) -> None:
    run = dataclasses.replace(RUN, model=model, variant=variant, img_size=size, param_count=count)
    row = row_of(run, cell(run, None, right))
    text = timm_csv(row, [row], allow_protocol_mismatch=True)
    header, line = list(csv.reader(io.StringIO(text, newline="")))
    assert ",".join(header) == "model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation"
    cells = dict(zip(header, line, strict=True))
    assert from_csv(cells["model"]) == f"{model}.{variant}" + ("_at-chance" if row.chance() else "")
    assert (float(cells["top1"]), float(cells["top1_err"])) == (right / 100, round(100 - right / 100, 3))
    assert {cells[name] for name in ("top5", "top5_err", "crop_pct", "interpolation")} == {""}
    assert cells["img_size"] == ("" if size is None else str(size))
    read = pd.read_csv(io.StringIO(text))
    assert not is_allowed(model) or not is_allowed(variant) or read["model"].item() == cells["model"]
    assert cells["param_count"] == ("" if count is None else f"{count / 1e6:.2f}")


def test_a_network_that_guesses_is_refused_or_says_so_in_its_name() -> None:
    """10 classes: 10 % of 10,000 images."""
    row = row_of(RUN, cell(RUN, None, 1000))
    with pytest.raises(BenchError, match="is no better than chance, and the table of timm has no column for this"):
        timm_csv(row, [row], allow_protocol_mismatch=False)
    assert (
        timm_csv(row, [row], allow_protocol_mismatch=True).splitlines()[1].startswith("tiny.baseline_at-chance,10.000,")
    )


def test_timms_own_program_can_read_the_row(tmp_path: Path, bench: Callable[..., Any]) -> None:
    """As its generate_csv_results.py does: pandas, sorted by top1, top5 and model, parameters as numbers."""
    stored(tmp_path, cell(RUN, None, 9478), runs=(RUN,))
    out = tmp_path / "timm" / "results.csv"
    assert bench("export", "tiny:baseline", "--format", "timm", "--results", tmp_path, "--out", out).code == 0
    frame = pd.read_csv(out).sort_values(["top1", "top5", "model"], ascending=[False, False, True])
    assert frame[["top1", "top1_err", "param_count"]].to_dict("records") == [
        {"top1": 94.78, "top1_err": 5.22, "param_count": 0.12}
    ]
    assert frame["top5"].isna().all()


def test_timms_form_has_no_room_for_a_part_of_the_images(tmp_path: Path, bench: Callable[..., Any]) -> None:
    stored(tmp_path, cell(RUN, None, 900, n=1000), runs=(RUN,))
    arguments = ("export", "tiny:baseline", "--format", "timm", "--results", tmp_path)
    assert "1000 of 10000 test images" in bench(*arguments).err
    assert (
        bench(*arguments, "--allow-protocol-mismatch")
        .out.splitlines()[1]
        .startswith("tiny.baseline_n1000,90.000,10.000,")
    )
