"""Figures of the study of networks trained for robustness, recomputed from its files."""

from __future__ import annotations

import pandas as pd
from studies import STUDIES, Text, accuracies, accuracy, check, figures, results, row, runs_of, where

EPS = 8 / 255
VARIANTS = ("baseline", "lpc", "trades", "pgd_at", "lpc+pgd_at")
ROBUST = ("trades", "pgd_at", "lpc+pgd_at")
ATTACKS = ("autoattack", "cr", "pma", "robust-fast")


@check
def baselines(text: Text) -> None:
    table = results("baselines")
    board = pd.read_csv(STUDIES / "baselines" / "leaderboard.csv").set_index("variant")
    compared = pd.read_csv(STUDIES / "baselines" / "comparison.csv").set_index(["variant", "metric"])
    attacked = table[table["attack"].notna() & (table["attack"] != "clean")]
    for variant in VARIANTS:
        assert len(runs_of(table, variant, "seed")) == 1
        seconds = runs_of(table, variant, "train_time_s")[0]
        audit = board.loc[variant, "audit"]
        text.says(
            row(
                f"`{variant}`",
                accuracy(table, "clean", variant=variant),
                f"{board.loc[variant, 'corruptions_acc']:.1f}",
                *(accuracies(table, attack, EPS, variant=variant)[0] for attack in ("fgsm", "pgd-20")),
                accuracy(table, "autoattack", EPS, variant=variant),
                figures(runs_of(table, variant, "collapse_nc1_train")),
                f"{seconds:.0f}",
                str(audit),
            ),
            row(f"`{variant}`", *(cell(attacked, variant, attack) for attack in ATTACKS)),
        )
    tested = [compared.loc[(variant, "autoattack@linf-8/255")] for variant in ROBUST]
    assert max(float(line.p_checkpoint) for line in tested) < 1e-100
    assert min(float(line["diff"]) for line in tested) > 75
    lpc = compared.loc[("lpc", "autoattack@linf-8/255")]
    both = compared.loc[("lpc+pgd_at", "autoattack@linf-8/255")]
    alone = compared.loc[("pgd_at", "autoattack@linf-8/255")]
    text.says(
        "p < 0.01",
        f"So {lpc.acc:.1f} % is an upper bound",
        f"`lpc` keeps {lpc.acc:.1f} % under AutoAttack (p = {float(lpc.p_checkpoint):.0e} against `baseline`",
        f"drop of {runs_of(attacked, 'lpc', 'audit_drop_scale_masking')[0]:.1f} points",
        f"`lpc+pgd_at` has {both.acc:.1f} % and `pgd_at` {alone.acc:.1f} %",
        f"training accuracy of `lpc` is {board.loc['lpc', 'train_acc']:.1f} %",
    )
    for attack, least, most in (("cr", 35, 45), ("robust-fast", 14, 16)):
        ratios = [passes(attacked, v, "autoattack") / passes(attacked, v, attack) for v in ROBUST]
        assert [round(min(ratios)), round(max(ratios))] == [least, most]
        text.says(f"`{attack}` takes 1/{least} to 1/{most} of the passes of `autoattack`")
    for variant in ("baseline", *ROBUST):  # image by image they are equal: see the texts on counts
        counts = {int(where(attacked, variant=variant, attack=a)["n_correct"].iloc[0]) for a in ("autoattack", "cr")}
        assert len(counts) == 1
    gap = [float(accuracies(table, a, EPS, variant="lpc")[0]) for a in ("robust-fast", "cr", "autoattack")]
    text.says(f"it is {gap[0] - gap[2]:.1f} points above AutoAttack, and `cr` alone {gap[1] - gap[2]:.1f} points")


def passes(table: pd.DataFrame, variant: str, attack: str) -> int:
    """Forward and backward passes of one cell."""
    (line,) = where(table, variant=variant, attack=attack).itertuples()
    return int(str(line.n_forwards)) + int(str(line.n_backwards))


def cell(table: pd.DataFrame, variant: str, attack: str) -> str:
    """Accuracy in percent, and passes in thousands."""
    (value,) = accuracies(table, attack, EPS, variant=variant)
    return f"{value} ({passes(table, variant, attack) / 1000:,.0f})"
