"""Figures of the studies of collapse, recomputed from their files."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from studies import (
    DEEPFOOL,
    LINEAR_TABLE,
    STUDIES,
    Text,
    accuracies,
    accuracy,
    check,
    diagnoses,
    results,
    row,
    spoken,
    where,
)

from bench.results.collapse_status import MOST_NC1

SMALL, LARGE = 8 / 255, 16 / 255


@check
def lpc_variants(text: Text) -> None:
    table = results("lpc_variants")
    shown = (*LINEAR_TABLE, *DEEPFOOL, "γ")

    def spread(attack: str, eps: float | None, variant: str) -> str:
        values = 100 * where(table, attack=attack, variant=variant, **({} if eps is None else {"eps": eps})).acc
        return f"{values.mean():.3g} ± {round(values.std(), 9):.2g}"

    for variant, one in table.groupby("variant"):
        (autoattack,) = accuracies(one, "autoattack", 0.1)
        measured = [
            spread(a, e, str(variant)) for a, e in (("clean", None), ("fgsm", 0.1), ("pgd-20", 0.1), ("pgd-20", 0.15))
        ]
        gamma = [
            t if v not in ("feature_norm", "l1_pen") else t.split(" ±")[0]
            for v, t in [(variant, diagnoses(one, ("γ",))[0])]
        ]
        text.says(row(f"`{variant}`", *measured, autoattack, *diagnoses(one, shown[:-1]), *gamma))
    mean = table.drop_duplicates("run_id").groupby("variant").mean(numeric_only=True)
    nc1 = mean["collapse_nc1_train"]
    kept = where(table, attack="autoattack", eps=0.1).set_index("variant").n_correct
    others = where(table, attack="autoattack").query("variant != 'pgd_at'")
    assert where(others, eps=0.1).n_correct.max() == kept["center_loss"] == 19
    assert where(others, eps=0.15).n_correct.max() == 0
    assert (kept["baseline"], kept["lpc"]) == (5, 0), "lost and gained follow from the counts where one keeps none"
    text.says(
        f"Training NC1 of `lpc` is {nc1['lpc']:.3f} (mean of three seeds; `baseline` {nc1['baseline']:.3f}, "
        f"`lin_pen` {nc1['lin_pen']:.3f})",
        f"Under AutoAttack at 0.15, `pgd_at` has {accuracies(table, 'autoattack', 0.15, variant='pgd_at')[0]} % and "
        "every other",
        f"`pgd_at`** (trained at 0.15) classifies {kept['pgd_at']} of 64 images correctly under AutoAttack at 0.1, "
        f"{accuracy(table, 'autoattack', 0.1, variant='pgd_at', sign=' %')}",
        f"50 at 0.15, {accuracy(table, 'autoattack', 0.15, variant='pgd_at', sign=' %')}",
        *(
            f"`{v}` {kept[v]} (" + accuracy(table, "autoattack", 0.1, variant=v, sign=" %")
            for v in ("center_loss", "cosface", "arcface", "baseline", "lpc")
        ),
        f"p = {binomtest(5, 5).pvalue}",
    )  # fmt: skip
    deviation = (100 * where(table, attack="pgd-20", eps=0.1).groupby("variant").acc.std()).drop("pgd_at")
    above = mean["deepfool_rho_pixels"] / mean["deepfool_rho_boundary"] - 1
    family = above[[v for v in above.index if v.startswith("lpc")]]
    text.says(
        f"standard deviation over three seeds of {deviation.min():.1f} to {deviation.max():.1f} points",
        f"is {100 * above['arcface']:.0f} % above `deepfool_rho_boundary` for `arcface`, "
        f"{100 * above['cosface']:.0f} % for `cosface`, "
        f"and at most {100 * family.max():.1f} % for the `lpc` family",
        f"of `lpc` are {mean.collapse_binarity_mean['lpc']:.3f} and {mean.collapse_vertex_cosine['lpc']:.3f}, of "
        "`lin_pen` "
        f"{mean.collapse_binarity_mean['lin_pen']:.3f} and {mean.collapse_vertex_cosine['lin_pen']:.3f}",
        "The first command is the default run: FGSM, PGD-20 and AutoAttack at 0.1 and 0.15",
        "and none at 0.15", "at most 19 of 64 at 0.1", "**PGD-20 at 0.1**", "(trained at 0.15)",
        "FGSM, 0.1 | PGD-20, 0.1 | PGD-20, 0.15 | AutoAttack, 0.1", f"one image is {100 / 64:.1f} points",
    )  # fmt: skip
    assert 4.5 < mean.gamma["lpc"] < 5.5


@check
def lpc_native(text: Text) -> None:
    table = results("lpc_native")
    runs = table.drop_duplicates("run_id").set_index("variant")
    nc1, boundary = runs["collapse_nc1_train"], runs["deepfool_rho_boundary"]
    for variant, one in table.groupby("variant"):
        cells = [accuracy(one, name) for name in ("clean", "fgsm", "pgd-20", "autoattack")]
        text.says(row(f"`{variant}`", *cells, *diagnoses(one, ("γ", *LINEAR_TABLE, *DEEPFOOL))))
    pgd = 100 * where(table, attack="pgd-20").acc.max()
    fgsm, weak = ({v: accuracies(table, a, variant=v)[0] for v in runs.index} for a in ("fgsm", "pgd-20"))
    assert list(where(table, attack="autoattack").set_index("variant").n_correct.sort_values()) == [0, 0, 0, 0, 1]
    assert sorted(runs.deepfool_n_correct)[:: len(runs) - 1] == [88, 90]
    text.says(
        f"training NC1 is {nc1['lpc']:.3f}, against {nc1['baseline']:.3f} for `baseline` "
        f"({nc1['baseline'] / nc1['lpc']:.2f} times lower) and "
        f"{nc1['lin_pen']:.3f} for `lin_pen`; γ ended at {runs.gamma['lpc']:.1f}",
        f"Under PGD-20, all accuracies are at most {pgd:.1f} % on 1,000",
        f"`arcface` has {fgsm['arcface']} % and `lpc_no_pen` {fgsm['lpc_no_pen']} %, nearly three times "
        f"`baseline`'s {fgsm['baseline']} %. Under PGD-20, "
        f"they have {weak['arcface']} and {weak['lpc_no_pen']} %",
        f"of `lpc` is `baseline`'s, {accuracies(table, 'clean', variant='lpc')[0]} %",
        f"is {boundary['lpc']:.4f} for `lpc` and {boundary['baseline']:.4f} for `baseline`",
    )
    assert accuracies(table, "clean", variant="lpc") == accuracies(table, "clean", variant="baseline")


@check
def binary_encoding(text: Text) -> None:
    table = results("binary_encoding")
    digits, fashion = (where(table, dataset=data) for data in ("digits", "fashion_mnist"))
    order = [
        ("lpc", 8),
        ("lpc", 64),
        ("lpc_no_pen", 512),
        ("nonlin_pen", 8),
        ("nonlin_pen", 64),
        ("lin_pen", 64),
        ("baseline", 512),
    ]
    shown = ("γ", "NC1, training", "binarity", "least", "vertex cosine", "local radius", *DEEPFOOL)
    for variant, width in order:
        one = where(digits, variant=variant, latent_dim=width)
        cells = [accuracies(one, a, e)[0] for a, e in (("clean", None), ("pgd-20", 0.1), ("pgd-20", 0.2))]
        text.says(row(f"`{variant}`", str(width), *cells, *diagnoses(one, shown)))
    for variant, width in (("lpc", 8), ("lpc", 64), ("baseline", 512)):
        one = where(digits, variant=variant, latent_dim=width)
        text.says(row(f"`{variant}`", str(width), *(accuracies(one, a, 0.1)[0] for a in ("apgd-ce", "apgd-t"))))
    text.says(row("`lpc`", "8", *(accuracies(fashion, a)[0] for a in ("clean", "pgd-20")), *diagnoses(fashion, shown)))
    runs = digits.drop_duplicates("run_id").set_index(["variant", "latent_dim"])
    family = [("lpc", 8), ("lpc", 64), ("lpc_no_pen", 512)]

    def times(column: str, keys: list[tuple[str, int]]) -> list[float]:
        return [float(runs.loc[key, column] / runs.loc[("baseline", 512), column]) for key in keys]

    train, test = (sorted(1 / t for t in times(c, family)) for c in ("collapse_nc1_train", "collapse_nc1"))
    rho = {name: times(f"deepfool_rho_{name}", family[:2]) for name in ("authors", "pixels", "boundary")}
    assert train[0] > 10, "the `lpc` family is collapsed"
    cosine, binarity = runs["collapse_vertex_cosine"], runs["collapse_binarity_mean"]
    pgd = {key: accuracies(where(digits, variant=key[0], latent_dim=key[1]), "pgd-20", 0.1)[0] for key in order}
    left = {
        key: accuracy(digits, "apgd-t", 0.1, variant=key[0], latent_dim=key[1], sign=" %")
        for key in (*family[:2], order[-1])
    }
    text.says(
        f"is {train[0]:.0f} to {train[-1]:.0f} times smaller than `baseline`'s; on test images {test[0]:.0f} to "
        f"{test[-1]:.0f} times",
        f"is {cosine['lpc', 8]:.3f} (d = 8) and {cosine['lpc', 64]:.3f} (d = 64) for `lpc`; the same linear layer "
        "without the penalty has "
        f"{cosine['lin_pen', 64]:.3f} (d = 64)",
        f"is {binarity['lpc', 8]:.3f} and {binarity['lpc', 64]:.3f} for `lpc` and {binarity['lin_pen', 64]:.3f} for "
        "`lin_pen`",
        f"binarity of {binarity['nonlin_pen', 64]:.3f} with a vertex cosine of {cosine['nonlin_pen', 64]:.3f}, "
        "`lpc_no_pen` "
        f"{binarity['lpc_no_pen', 512]:.3f} with {cosine['lpc_no_pen', 512]:.3f}",
        f"(d = 8, d = 64) is {spoken(rho['authors'], 1)} times",
        f"on correct images, {spoken(rho['pixels'], 1)} times; shortened to the boundary "
        f"{spoken(rho['boundary'], 1)} times",
        f"Under PGD-20, `lpc` has {pgd['lpc', 8]} and {pgd['lpc', 64]} %, `lpc_no_pen` {pgd['lpc_no_pen', 512]} %, "
        "`lin_pen` "
        f"{pgd['lin_pen', 64]} %, "
        f"`baseline` {pgd['baseline', 512]} % (n = 500)",
        f"Under targeted APGD, `lpc` has {left['lpc', 8]} and {left['lpc', 64]}, `baseline` "
        f"{left['baseline', 512]} (n = 64",
        f"directions have {random_cosine(8)} and {random_cosine(64)}.",
        "PGD-20, 0.1 | PGD-20, 0.2", "**At 0.1.**", "at 0.1, on the same",
    )  # fmt: skip
    (run,) = fashion.drop_duplicates("run_id").itertuples()
    text.says(
        f"Training NC1 is {run.collapse_nc1_train:.4f}, on test images {run.collapse_nc1:.3f}; the digits reach "
        f"{runs.collapse_nc1_train['lpc', 8]:.4f} and {runs.collapse_nc1['lpc', 8]:.4f}",
        f"Binarity is {run.collapse_binarity_mean:.3f}, γ ended at {run.gamma:.2f}",
    )


def random_cosine(width: int) -> str:
    """The mean cosine of a Gaussian direction with its nearest vertex, ‖μ‖₁ / (√d ‖μ‖₂)."""
    draws = np.random.default_rng(0).standard_normal((200_000 // width, width))
    return f"{(np.abs(draws).sum(1) / np.sqrt(width) / np.linalg.norm(draws, axis=1)).mean():.2f}"


@check
def binary_encoding_fmnist(text: Text) -> None:
    table, digits = results("binary_encoding_fmnist"), where(results("binary_encoding"), dataset="digits")
    shown = ("γ", "NC1, training", "binarity", "least", "vertex cosine", "local radius", *DEEPFOOL)
    keys = [("lpc", 8), ("lpc", 64), ("nonlin_pen", 8)]
    parts = {key: where(table, variant=key[0], latent_dim=key[1]) for key in keys}
    for (variant, width), one in parts.items():
        cells = [accuracies(one, a, e)[0] for a, e in (("clean", None), ("pgd-20", SMALL), ("pgd-20", LARGE))]
        text.says(row(f"`{variant}`", str(width), *cells, *diagnoses(one, shown)))
        strong = accuracies(one, "autoattack", LARGE)[0] if width == 8 else ""
        text.says(
            row(f"`{variant}`", str(width), *(accuracies(one, a, SMALL)[0] for a in ("apgd-ce", "apgd-t")), strong)
        )
    lpc, wide, silu = (part.iloc[0] for part in parts.values())
    left = {
        (key, a): accuracy(parts[key], a, SMALL, sign=" %") for key in (keys[0], keys[2]) for a in ("pgd-20", "apgd-t")
    }
    ours, theirs = keys[0], keys[2]

    def times(data: pd.DataFrame, column: str) -> float:
        one, other = (where(data, variant=v, latent_dim=8).iloc[0][column] for v in ("lpc", "nonlin_pen"))
        return float(one / other)

    text.says(
        f"is {lpc.collapse_binarity_mean:.3f} at d = 8, and {lpc.collapse_binarity_min:.3f} in the least coordinate "
        f"({lpc.collapse_binarity_mean_train:.3f} and {lpc.collapse_binarity_min_train:.3f} on training images)",
        f"nearest vertex is {lpc.collapse_vertex_cosine:.3f}, where means of random directions have {random_cosine(8)}",
        f"NC1 is {lpc.collapse_nc1_train:.5f} on training images and {lpc.collapse_nc1:.3f} on test images. γ ended "
        f"at {lpc.gamma:.0f}.",
        f"At d = 64: {wide.collapse_binarity_mean:.3f} and {wide.collapse_vertex_cosine:.3f}, with "
        f"{wide.collapse_binarity_min:.3f} in",
        f"has a binarity of {silu.collapse_binarity_mean:.3f}, a cosine of {silu.collapse_vertex_cosine:.3f}, an NC1 "
        "of "
        f"{silu.collapse_nc1_train:.2f} on training and {silu.collapse_nc1:.2f} on test images",
        f"Under PGD-20, `lpc` (d = 8) has {left[ours, 'pgd-20']} and `nonlin_pen` {left[theirs, 'pgd-20']} "
        "(n = 1,000). "
        "Under targeted APGD, they have "
        f"{left[ours, 'apgd-t']} and {left[theirs, 'apgd-t']} (n = 200)",
        f"Under PGD-20, they have {accuracies(parts[ours], 'pgd-20', LARGE)[0]} % and "
        f"{accuracies(parts[theirs], 'pgd-20', LARGE)[0]} %, under AutoAttack 0 of 200",
        f"is {times(table, 'deepfool_rho_authors'):.2f} times `nonlin_pen`'s, shortened to the boundary "
        f"{times(table, 'deepfool_rho_boundary'):.2f} times; on digits {times(digits, 'deepfool_rho_authors'):.1f} and "
        f"{times(digits, 'deepfool_rho_boundary'):.1f} times",
    )
    assert where(table, attack="autoattack").n_correct.max() == 0


@check
def engine(text: Text) -> None:
    """No file of its runs was kept, so it has no figures."""


@check
def collapse_status(text: Text) -> None:
    table = results("collapse_status")
    folder = STUDIES / "collapse_status"
    board = pd.read_csv(folder / "leaderboard.csv").set_index("variant")
    compared = pd.read_csv(folder / "comparison.csv")
    order = ("baseline", "lin_pen", "lpc")
    broken, alone = {}, {}
    for variant in order:
        one = where(table, variant=variant)
        last = where(one, attack="apgd-t").iloc[0]
        cells = [accuracy(one, name) for name in ("clean", "fgsm", "pgd-20", "apgd-t")]
        lowest = f"{100 * last.robust_acc_lowest:.1f} (n = {last.robust_acc_lowest_n:.0f})"
        gamma = "" if np.isnan(last.gamma) else f"{last.gamma:.2f}"
        shares = (f"{last.collapse_nc1_train:.3f}", f"{board.train_acc[variant]:.1f}", gamma)
        text.says(row(f"`{variant}`", *cells, lowest, *shares))
        broken[variant] = {k: v.split() for k, v in (part.split(" ", 1) for part in last.broken_by.split("; "))}
        alone[variant] = broken[variant]["apgd-t@linf-8/255"][1].strip("(")
    nc1 = board.collapse_nc1_train
    lpc = compared[compared.variant == "lpc"]
    p = lpc.set_index("metric").p_checkpoint
    rescaled, plain = (int(broken["lpc"][f"audit:{name}"][0]) for name in ("rescaled", "plain"))
    clean = compared[(compared.variant == "baseline") & (compared.metric == "clean")].finding.iloc[0]
    assert board.collapse["lpc"].startswith("not collapsed")
    assert np.isnan(board["rank"]["lpc"])
    assert list(lpc.finding) == ["no conclusion: not collapsed"] * 4
    assert set(table.leaked) == {0}
    text.says(
        f"its training NC1 is {nc1['lpc']:.3f}, against {nc1['lin_pen']:.3f} for `lin_pen` "
        f"({nc1['lpc'] / nc1['lin_pen']:.2f} times; at most {MOST_NC1} counts as collapsed), and its training accuracy "
        f"is {board.train_acc['lpc']:.1f} %",
        f"p = {p['apgd-t@linf-8/255']:.4f} (APGD-T) and {p['pgd-20@linf-8/255']:.3f} (PGD-20)",
        f"{rescaled} are misclassified under PGD on rescaled logits, and {plain} under PGD on plain logits "
        f"(`scale_masking`, {rescaled - plain:.1f} points)",
        f"of 100 images {', '.join(broken[v]['apgd-t@linf-8/255'][0] for v in order[:2])} and "
        f"{broken['lpc']['apgd-t@linf-8/255'][0]} are misclassified under it for",
        f"{', '.join(alone[v] for v in order[:2])} and {alone['lpc']} of them under no other attack",
        f"one of {clean.split('; ')[1].split()[0]} points would have been",
    )
