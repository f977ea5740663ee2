"""What the texts of the studies say against the files beside them: every figure with a decimal point is recomputed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from studies import DEEPFOOL, LINEAR_TABLE, STUDIES, Text, accuracies, accuracy, diagnoses, results, row, where

FAMILIES = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
SMALL, LARGE = 8 / 255, 16 / 255
CHECKS: dict[str, Callable[[Text], None]] = {}


def check(function: Callable[[Text], None]) -> Callable[[Text], None]:
    """Register what is to be asked of the study that the function is named after."""
    CHECKS[function.__name__] = function
    return function


def runs_of(table: pd.DataFrame, variant: str, column: str) -> list[float]:
    return list(where(table, variant=variant).drop_duplicates("run_id").sort_values("seed")[column])


def listed(values: list[float], digits: int = 2) -> str:
    return ", ".join(signed(value, digits).removeprefix("+") for value in values)


def spoken(values: list[float], digits: int = 2) -> str:
    texts = [f"{value:.{digits}f}" for value in values]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def signed(value: float, digits: int = 1) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


@check
def audit(text: Text) -> None:
    table, compared = results("audit"), pd.read_csv(STUDIES / "audit" / "comparison.csv").set_index("metric")
    attacked = table[table["attack"].notna() & (table["attack"] != "clean")]
    variants = ("baseline", "lpc", "pgd_at")
    nc1 = {v: runs_of(table, v, "collapse_nc1_train") for v in variants}
    gamma = runs_of(table, "lpc", "gamma")
    assert min(nc1["lpc"]) > max(nc1["baseline"])
    text.says(
        f"training NC1 is {spoken(nc1['lpc'])} (seeds 0, 1, 2), higher than `baseline`'s {spoken(nc1['baseline'])}",
        f"γ ended at {spoken(gamma)}.",
        row("NC1 of the training images", *(listed(nc1[v]) for v in variants)),
        row("γ in the last step", "", listed(gamma), ""),
    )
    for attack, name, eps, budget in (
        ("PGD-20", "pgd-20", SMALL, "8/255, n = 1,000"),
        ("AutoAttack", "autoattack", SMALL, "8/255, n = 200"),
        ("PGD-20", "pgd-20", LARGE, "16/255, n = 1,000"),
        ("AutoAttack", "autoattack", LARGE, "16/255, n = 200"),
    ):
        tried = [v for v in variants if (name, eps, v) != ("autoattack", SMALL, "pgd_at")]
        cells = [", ".join(accuracies(table, name, eps, variant=v)) for v in tried]
        text.says(row(f"{attack} at {budget}", *cells, *["not run"] * (3 - len(tried))))
    for title, column in (
        ("audit: PGD of ten steps, logits as they are", "audit_acc_plain"),
        ("audit: the same, logits rescaled", "audit_acc_rescaled"),
        ("fall by the scale of the logits", "audit_fall_scale_masking"),
        ("fall below the whole suite", "audit_fall_stronger_attack"),
    ):
        text.says(row(title, *(listed(runs_of(attacked, v, column), 1) for v in variants)))
    text.says(row("audit", *(", ".join(map(str, runs_of(attacked, v, "audit"))) for v in variants)))
    pgd, autoattack = compared.loc["pgd-20@linf-8/255"], compared.loc["autoattack@linf-8/255"]
    first = [float(accuracies(table, "pgd-20", SMALL, variant=v, seed=0)[0]) for v in ("baseline", "lpc")]
    text.says(
        f"`lpc` keeps {first[1] - first[0]:.1f} points more than `baseline` under PGD-20 at 8/255 ({pgd.lost:.0f} images lost, "
        f"{pgd.gained:.0f} gained of 1,000; McNemar's exact test of these two networks "
        f"p = {binomtest(int(pgd.lost), int(pgd.lost + pgd.gained)).pvalue:.5f}, {pgd.p_checkpoint_holm:.4f} after Holm's",
        f"AutoAttack leaves {accuracies(table, 'autoattack', SMALL, variant='lpc')[0]} against "
        f"{accuracies(table, 'autoattack', SMALL, variant='baseline')[0]} % of 200 images ({autoattack.lost:.0f} lost, "
        f"{autoattack.gained:.0f} gained, p = {binomtest(int(autoattack.lost), int(autoattack.lost + autoattack.gained)).pvalue:.2f})",
        f"{runs_of(attacked, 'lpc', 'audit_fall_scale_masking')[0]:.0f} of the "
        f"{runs_of(attacked, 'lpc', 'audit_acc_plain')[0]:.1f} points away",
        *(
            f"{name} {signed(line['diff'])} points [{signed(line.diff_lo)}, {signed(line.diff_hi)}], n = {line.n:,}"
            for name, line in (("AutoAttack at 8/255", autoattack), ("PGD-20 at 8/255", pgd))
        ),
        f"cannot reach a p below {pgd.p_variant_smallest}.",
        f"64.5 % {accuracy(table, 'autoattack', LARGE, variant='pgd_at').removeprefix('64.5 ')}",
        f"takes {attacked.audit_passes.min():.0f} to {attacked.audit_passes.max():.0f} passes",
    )
    spread = [float(a) for a in accuracies(table, "pgd-20", SMALL, variant="baseline")]
    text.says(f"differs by {max(spread) - min(spread):.1f} points between seeds")
    nothing = ("zero_gradient_ce", "zero_gradient_margin", "zero_gradient_dlr", "softmax_one")
    assert not attacked[[f"audit_{name}{p}" for name in nothing for p in ("", "_perturbed") if name != "zero_gradient_dlr" or not p]].any(axis=None)
    assert not attacked[["audit_fall_black_box", "audit_fall_transfer", "audit_fall_large_eps"]].fillna(0).any(axis=None)


def by_family(table: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy in percent per variant and seed (rows) of every family and of all 75 cells (columns)."""
    cells = table[table["corruption"].notna()]
    groups = cells.groupby(["variant", "seed"])["acc"]
    assert set(groups.size()) == {75}
    means = {name: cells[cells["corruption"].isin(kinds)].groupby(["variant", "seed"])["acc"].mean() for name, kinds in FAMILIES.items()}
    return pd.DataFrame({**means, "all": groups.mean()}) * 100


@check
def corruptions(text: Text) -> None:
    table, seeds = results("corruptions"), by_family(results("audit"))
    board = pd.read_csv(STUDIES / "corruptions" / "leaderboard.csv").set_index("variant")
    compared = pd.read_csv(STUDIES / "audit" / "comparison.csv").set_index("metric").loc["corruptions_acc"]
    nc1 = {v: runs_of(table, v, "collapse_nc1_train")[0] for v in ("baseline", "lpc")}
    assert nc1["lpc"] > nc1["baseline"]
    text.says(
        f"training NC1 is {nc1['lpc']:.2f}, higher than `baseline`'s {nc1['baseline']:.2f}; "
        f"γ ended at {runs_of(table, 'lpc', 'gamma')[0]:.2f}"
    )
    means = by_family(table)
    pd.testing.assert_frame_equal(means, seeds.loc[means.index])
    from bench.statistics.intervals import wilson_interval

    for variant, line in board.iterrows():
        mean = means.loc[(variant, 0)]
        low, high = wilson_interval(1000 * mean["all"] / 100, 1000)
        severe = [f"{100 * where(table[table.corruption.notna()], variant=variant, severity=s).acc.mean():.1f}" for s in (1, 5)]
        cells = (f"{mean['all']:.1f} [{100 * low:.1f}, {100 * high:.1f}]", *(f"{mean[f]:.1f}" for f in FAMILIES), *severe)
        (clean,) = accuracies(table, "clean", variant=variant)
        text.says(row(f"`{variant}`", clean, *cells, f"{line.mce:.1f}", f"{line.rel_mce:.1f}"))
    differ = seeds.loc["lpc"] - seeds.loc["baseline"]
    assert all(len(set(np.sign(differ[family]))) == 2 for family in FAMILIES), "a family keeps its sign"
    noise, blur, weather, digital = (differ.loc[0, family] for family in FAMILIES)
    text.says(
        f"{signed(noise)} points under noise, {signed(blur)} under blur, {signed(weather)} under weather and {signed(digital)} under",
        "; ".join(f"{family} {', '.join(signed(v) for v in differ[family])}" for family in FAMILIES),
        f"the three seeds differ by {', '.join(map(signed, differ['all'][:2]))} and {signed(differ['all'][2])} points; "
        f"mean {signed(compared['diff'])} [{signed(compared.diff_lo)}, {signed(compared.diff_hi)}]",
        f"keeps {means.loc[('pgd_at', 0), 'all'] - means.loc[('baseline', 0), 'all']:.1f} points more than `baseline` over all",
        f"and {-board.loc['pgd_at', 'clean_diff']:.1f} points less on clean",
    )
    kinds = where(table[table.corruption.notna()], variant="baseline").groupby("corruption")["acc"].mean().sort_values() * 100
    assert list(kinds.index[:4]) == ["frost", "fog", "contrast", "brightness"]
    text.says(f"{spoken(list(kinds[:4]), 1)} % are left")


@check
def control(text: Text) -> None:
    table = results("control")
    for variant in ("baseline", "pgd_at"):
        cells = [accuracy(table, name, variant=variant) for name in ("clean", "fgsm", "pgd-20", "autoattack")]
        text.says(row(f"`{variant}`", *cells))
    kept = where(table, attack="autoattack", variant="pgd_at").iloc[0]
    clean = [float(accuracies(table, "clean", variant=v)[0]) for v in ("baseline", "pgd_at")]
    three = [float(accuracies(table, name, variant="pgd_at")[0]) for name in ("fgsm", "pgd-20", "autoattack")]
    text.says(
        f"keeps {kept.n_correct} of {kept.n} images", f"{clean[0] - clean[1]:.1f} points less", f"within {max(three) - min(three):.1f} points"
    )


@check
def gamma_loops(text: Text) -> None:
    table, attacks = results("gamma_loops"), results("gamma_loops", "convnext_attacks.csv")
    ratio: dict[str, list[float]] = {"auto": [], "short": []}
    lost: dict[str, list[float]] = {"auto": [], "short": []}
    ended: dict[str, list[float]] = {"auto": [], "short": []}
    for data in ("digits", "fashion_mnist"):
        for model in ("resnet10t", "mobilenetv3_small_050", "convnext_atto"):
            here = where(table, dataset=data, model=model, attack="clean")
            base = where(here, variant="baseline").iloc[0]
            for variant, recipe in (("baseline", None), ("lpc", "auto"), ("lpc", "short")):
                one = where(here, variant=variant, schedule=recipe)
                (run,) = one.itertuples()
                name = f"`{variant}`, {recipe}" if recipe else f"`{variant}`"
                steps = run.n_train // run.train_batch_size * run.epochs
                shown = diagnoses(one, ("γ", "NC1, training", "NC1, test"))
                text.says(row(data, f"`{model}`", str(steps), name, *accuracies(one, "clean"), *shown))
                if recipe:
                    ratio[recipe].append(run.collapse_nc1_train / base.collapse_nc1_train)
                    lost[recipe].append(100 * (run.acc - base.acc))
                    ended[recipe].append(run.gamma)
    assert min(ratio["auto"] + ratio["short"]) == ratio["auto"][2]
    assert max(ratio["auto"]) < 1
    assert all(r < 1 for r in ratio["short"][:3])
    assert all(r > 1 for r in ratio["short"][3:])
    auto, short = ([signed(v).replace("+0.0", "0.0").replace("−0.0", "0.0") for v in lost[k]] for k in ("auto", "short"))
    text.says(
        f"`lpc`'s training NC1 to `baseline`'s is {ratio['auto'][2]:.2f} (`convnext_atto` on digits, `auto`)",
        f"ended at {ended['auto'][4]:.2g} and {ended['auto'][5]:.2g} on two backbones, where NC1 is {ratio['auto'][4]:.2f} and "
        f"{ratio['auto'][5]:.2f} of `baseline`'s",
        f"is {auto[0]}, {auto[1]} and {auto[2]} points on digits and {auto[3]}, {auto[4]} and {auto[5]} points on Fashion-MNIST",
        f"in all six pairs, {min(ratio['auto']):.2f} to {max(ratio['auto']):.2f} of it",
        f"is {spoken([-v for v in lost['short'][3:]], 1)} points below `baseline`'s on Fashion-MNIST",
        f"γ ended at {spoken(ended['short'][3:], 0)}",
        f"On digits it is {short[0]}, {short[1]} and {short[2]} points",
        f"with {-lost['short'][5]:.1f} points less clean accuracy",
    )
    kept = {
        (attack, recipe): accuracy(attacks, attack, variant="lpc", schedule=recipe, sign=" %")
        for attack in ("pgd-20", "autoattack-apgd-ce+apgd-t")
        for recipe in ("auto", "short")
    }
    base = {name: accuracies(attacks, name, variant="baseline")[0] for name in ("pgd-20", "autoattack-apgd-ce+apgd-t")}
    loop = {name: accuracies(attacks, name, variant="lpc", schedule="auto")[0] for name in base}
    assert base["autoattack-apgd-ce+apgd-t"] == loop["autoattack-apgd-ce+apgd-t"]
    text.says(
        f"keeps {kept['pgd-20', 'short']} under PGD-20 at 16/255 (n = 1,000), against {base['pgd-20']} % for `baseline` and "
        f"{loop['pgd-20']} % for `auto`",
        f"{kept['autoattack-apgd-ce+apgd-t', 'short']} of 100 images under APGD-CE and targeted APGD, against "
        f"{base['autoattack-apgd-ce+apgd-t']} % for both",
    )


@check
def lpc_variants(text: Text) -> None:
    table = results("lpc_variants")
    shown = (*LINEAR_TABLE, *DEEPFOOL, "γ")

    def spread(attack: str, eps: float | None, variant: str) -> str:
        values = 100 * where(table, attack=attack, variant=variant, **({} if eps is None else {"eps": eps})).acc
        return f"{values.mean():.3g} ± {round(values.std(), 9):.2g}"

    for variant, one in table.groupby("variant"):
        (autoattack,) = accuracies(one, "autoattack", 0.1)
        measured = [spread(a, e, str(variant)) for a, e in (("clean", None), ("fgsm", 0.1), ("pgd-20", 0.1), ("pgd-20", 0.15))]
        gamma = [t if v not in ("feature_norm", "l1_pen") else t.split(" ±")[0] for v, t in [(variant, diagnoses(one, ("γ",))[0])]]
        text.says(row(f"`{variant}`", *measured, autoattack, *diagnoses(one, shown[:-1]), *gamma))
    mean = table.drop_duplicates("run_id").groupby("variant").mean(numeric_only=True)
    nc1 = mean["collapse_nc1_train"]
    kept = where(table, attack="autoattack", eps=0.1).set_index("variant").n_correct
    others = where(table, attack="autoattack").query("variant != 'pgd_at'")
    assert where(others, eps=0.1).n_correct.max() == kept["center_loss"] == 19
    assert where(others, eps=0.15).n_correct.max() == 0
    assert (kept["baseline"], kept["lpc"]) == (5, 0), "lost and gained follow from the counts where one keeps none"
    text.says(
        f"Training NC1 of `lpc` is {nc1['lpc']:.3f} (mean of three seeds; `baseline` {nc1['baseline']:.3f}, `lin_pen` {nc1['lin_pen']:.3f})",
        f"AutoAttack at 0.15 leaves `pgd_at` {accuracies(table, 'autoattack', 0.15, variant='pgd_at')[0]} % and every other",
        f"`pgd_at`** (trained at 0.15) keeps {kept['pgd_at']} of 64 images under AutoAttack at 0.1, "
        f"{accuracy(table, 'autoattack', 0.1, variant='pgd_at', sign=' %')}",
        f"50 at 0.15, {accuracy(table, 'autoattack', 0.15, variant='pgd_at', sign=' %')}",
        *(
            f"`{v}` keeps {kept[v]} (" + accuracy(table, "autoattack", 0.1, variant=v, sign=" %") if v == "center_loss"
            else f"`{v}` {kept[v]} (" + accuracy(table, "autoattack", 0.1, variant=v, sign=" %")
            for v in ("center_loss", "cosface", "arcface", "baseline", "lpc")
        ),
        f"p = {binomtest(5, 5).pvalue}",
    )  # fmt: skip
    deviation = (100 * where(table, attack="pgd-20", eps=0.1).groupby("variant").acc.std()).drop("pgd_at")
    above = mean["deepfool_rho_pixels"] / mean["deepfool_rho_boundary"] - 1
    family = above[[v for v in above.index if v.startswith("lpc")]]
    text.says(
        f"standard deviation over three seeds of {deviation.min():.1f} to {deviation.max():.1f} points",
        f"is {100 * above['arcface']:.0f} % above `deepfool_rho_boundary` for `arcface`, {100 * above['cosface']:.0f} % for `cosface`, "
        f"and at most {100 * family.max():.1f} % for the `lpc` family",
        f"of `lpc` are {mean.collapse_binarity_mean['lpc']:.3f} and {mean.collapse_vertex_cosine['lpc']:.3f}, of `lin_pen` "
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
        f"training NC1 is {nc1['lpc']:.3f}, against {nc1['baseline']:.3f} for `baseline` ({nc1['baseline'] / nc1['lpc']:.2f} times lower) and "
        f"{nc1['lin_pen']:.3f} for `lin_pen`; γ ended at {runs.gamma['lpc']:.1f}",
        f"PGD-20 leaves at most {pgd:.1f} % of 1,000",
        f"leaves `arcface` {fgsm['arcface']} % and `lpc_no_pen` {fgsm['lpc_no_pen']} %, nearly three times `baseline`'s {fgsm['baseline']} %; PGD-20 "
        f"leaves them {weak['arcface']} and {weak['lpc_no_pen']} %",
        f"of `lpc` is `baseline`'s, {accuracies(table, 'clean', variant='lpc')[0]} %",
        f"is {boundary['lpc']:.4f} for `lpc` and {boundary['baseline']:.4f} for `baseline`",
    )
    assert accuracies(table, "clean", variant="lpc") == accuracies(table, "clean", variant="baseline")


@check
def binary_encoding(text: Text) -> None:
    table = results("binary_encoding")
    digits, fashion = (where(table, dataset=data) for data in ("digits", "fashion_mnist"))
    order = [("lpc", 8), ("lpc", 64), ("lpc_no_pen", 512), ("nonlin_pen", 8), ("nonlin_pen", 64), ("lin_pen", 64), ("baseline", 512)]
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
    left = {key: accuracy(digits, "apgd-t", 0.1, variant=key[0], latent_dim=key[1], sign=" %") for key in (*family[:2], order[-1])}
    text.says(
        f"is {train[0]:.0f} to {train[-1]:.0f} times smaller than `baseline`'s; on test images {test[0]:.0f} to {test[-1]:.0f} times",
        f"is {cosine['lpc', 8]:.3f} (d = 8) and {cosine['lpc', 64]:.3f} (d = 64) for `lpc`; the same linear layer without the penalty has "
        f"{cosine['lin_pen', 64]:.3f} (d = 64)",
        f"is {binarity['lpc', 8]:.3f} and {binarity['lpc', 64]:.3f} for `lpc` and {binarity['lin_pen', 64]:.3f} for `lin_pen`",
        f"binarity of {binarity['nonlin_pen', 64]:.3f} with a vertex cosine of {cosine['nonlin_pen', 64]:.3f}, `lpc_no_pen` "
        f"{binarity['lpc_no_pen', 512]:.3f} with {cosine['lpc_no_pen', 512]:.3f}",
        f"(d = 8, d = 64) is {spoken(rho['authors'], 1)} times",
        f"on correct images, {spoken(rho['pixels'], 1)} times; shortened to the boundary {spoken(rho['boundary'], 1)} times",
        f"leaves `lpc` {pgd['lpc', 8]} and {pgd['lpc', 64]} %, `lpc_no_pen` {pgd['lpc_no_pen', 512]} %, `lin_pen` {pgd['lin_pen', 64]} %, "
        f"`baseline` {pgd['baseline', 512]} % (n = 500)",
        f"leaves `lpc` {left['lpc', 8]} and {left['lpc', 64]}, `baseline` {left['baseline', 512]} (n = 64",
        f"directions have {random_cosine(8)} and {random_cosine(64)}.",
        "PGD-20, 0.1 | PGD-20, 0.2", "**At 0.1**", "At 0.1, on the same",
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
        text.says(row(f"`{variant}`", str(width), *(accuracies(one, a, SMALL)[0] for a in ("apgd-ce", "apgd-t")), strong))
    lpc, wide, silu = (part.iloc[0] for part in parts.values())
    left = {(key, a): accuracy(parts[key], a, SMALL, sign=" %") for key in (keys[0], keys[2]) for a in ("pgd-20", "apgd-t")}
    ours, theirs = keys[0], keys[2]

    def times(data: pd.DataFrame, column: str) -> float:
        one, other = (where(data, variant=v, latent_dim=8).iloc[0][column] for v in ("lpc", "nonlin_pen"))
        return float(one / other)

    text.says(
        f"is {lpc.collapse_binarity_mean:.3f} at d = 8, and {lpc.collapse_binarity_min:.3f} in the least coordinate "
        f"({lpc.collapse_binarity_mean_train:.3f} and {lpc.collapse_binarity_min_train:.3f} on training images)",
        f"nearest vertex is {lpc.collapse_vertex_cosine:.3f}, where means of random directions have {random_cosine(8)}",
        f"NC1 is {lpc.collapse_nc1_train:.5f} on training images and {lpc.collapse_nc1:.3f} on test images. γ ended at {lpc.gamma:.0f}.",
        f"At d = 64: {wide.collapse_binarity_mean:.3f} and {wide.collapse_vertex_cosine:.3f}, with {wide.collapse_binarity_min:.3f} in",
        f"has a binarity of {silu.collapse_binarity_mean:.3f}, a cosine of {silu.collapse_vertex_cosine:.3f}, an NC1 of "
        f"{silu.collapse_nc1_train:.2f} on training and {silu.collapse_nc1:.2f} on test images",
        f"PGD-20 leaves `lpc` (d = 8) {left[ours, 'pgd-20']} and `nonlin_pen` {left[theirs, 'pgd-20']} (n = 1,000), targeted APGD "
        f"{left[ours, 'apgd-t']} and {left[theirs, 'apgd-t']} (n = 200)",
        f"PGD-20 leaves {accuracies(parts[ours], 'pgd-20', LARGE)[0]} % and {accuracies(parts[theirs], 'pgd-20', LARGE)[0]} %, AutoAttack nothing",
        f"is {times(table, 'deepfool_rho_authors'):.2f} times `nonlin_pen`'s, shortened to the boundary "
        f"{times(table, 'deepfool_rho_boundary'):.2f} times; on digits {times(digits, 'deepfool_rho_authors'):.1f} and "
        f"{times(digits, 'deepfool_rho_boundary'):.1f} times",
    )
    assert where(table, attack="autoattack").n_correct.max() == 0


@check
def engine(text: Text) -> None:
    """No file of its runs was kept, so it has no figures."""


def ask(name: str, text: Text) -> None:
    """Fail where the text differs from the files, or has a figure that no file was asked for."""
    CHECKS[name](text)
    assert not text.left(), "these figures are recomputed from no file"


def test_every_study_is_checked() -> None:
    assert {path.parent.name for path in STUDIES.glob("*/README.md")} == CHECKS.keys()


@pytest.mark.parametrize("name", CHECKS)
def test_every_figure_of_a_study_is_what_its_files_give(name: str) -> None:
    ask(name, Text(name))


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "engine"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_figure_that_is_changed_is_noticed(name: str, share: float) -> None:
    """The first figure of the text, one in the middle and the last one."""
    text = Text(name)
    text.raise_digit(share)
    with pytest.raises(AssertionError):
        ask(name, text)
