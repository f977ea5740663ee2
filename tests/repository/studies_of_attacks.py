"""Figures of the studies of the audit, corruptions, the control and γ, recomputed from their files."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from studies import (
    STUDIES,
    Text,
    accuracies,
    accuracy,
    check,
    diagnoses,
    figures,
    results,
    row,
    runs_of,
    signed,
    spoken,
    where,
)

from bench.attacks.corruptions.frost_texture import CONTRAST
from bench.statistics.intervals import wilson_interval

FAMILIES = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
SMALL, LARGE = 8 / 255, 16 / 255


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
        row("NC1 of the training images", *(figures(nc1[v]) for v in variants)),
        row("γ in the last step", "", figures(gamma), ""),
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
        ("audit: PGD with ten steps, plain logits", "audit_acc_plain"),
        ("audit: PGD with ten steps, rescaled logits", "audit_acc_rescaled"),
        ("drop by rescaling the logits", "audit_drop_scale_masking"),
        ("drop below all attacks of the run", "audit_drop_stronger_attack"),
    ):
        text.says(row(title, *(figures(runs_of(attacked, v, column), 1) for v in variants)))
    text.says(row("audit", *(", ".join(map(str, runs_of(attacked, v, "audit"))) for v in variants)))
    pgd, autoattack = compared.loc["pgd-20@linf-8/255"], compared.loc["autoattack@linf-8/255"]
    first = [float(accuracies(table, "pgd-20", SMALL, variant=v, seed=0)[0]) for v in ("baseline", "lpc")]
    p_pgd, p_autoattack = (
        binomtest(int(line.n_regressed), int(line.n_regressed + line.n_improved)).pvalue for line in (pgd, autoattack)
    )
    text.says(
        f"`lpc` is {first[1] - first[0]:.1f} points above `baseline` under PGD-20 at 8/255 ("
        f"{pgd.n_regressed:.0f} images lost, "
        f"{pgd.n_improved:.0f} gained of 1,000; McNemar's exact test of these two networks "
        f"p = {p_pgd:.5f}, {pgd.p_checkpoint_holm:.4f} after "
        "Holm's",
        f"Under AutoAttack, they have {accuracies(table, 'autoattack', SMALL, variant='lpc')[0]} and "
        f"{accuracies(table, 'autoattack', SMALL, variant='baseline')[0]} % on 200 images "
        f"({autoattack.n_regressed:.0f} lost, {autoattack.n_improved:.0f} gained, p = {p_autoattack:.2f})",
        f"lower the {runs_of(attacked, 'lpc', 'audit_acc_plain')[0]:.1f} % by "
        f"{runs_of(attacked, 'lpc', 'audit_drop_scale_masking')[0]:.0f} points",
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
    assert not attacked[
        [f"audit_{name}{p}" for name in nothing for p in ("", "_perturbed") if name != "zero_gradient_dlr" or not p]
    ].any(axis=None)
    assert (
        not attacked[["audit_drop_black_box_stronger", "audit_drop_transfer", "audit_drop_large_eps_survivors"]]
        .fillna(0)
        .any(axis=None)
    )


def by_family(table: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy in percent per variant and seed (rows) of every family and of all 75 cells (columns)."""
    cells = table[table["corruption"].notna()]
    groups = cells.groupby(["variant", "seed"])["acc"]
    assert set(groups.size()) == {75}
    means = {
        name: cells[cells["corruption"].isin(kinds)].groupby(["variant", "seed"])["acc"].mean()
        for name, kinds in FAMILIES.items()
    }
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
    for variant, line in board.iterrows():
        mean = means.loc[(variant, 0)]
        low, high = wilson_interval(1000 * mean["all"] / 100, 1000)
        severe = [
            f"{100 * where(table[table.corruption.notna()], variant=variant, severity=s).acc.mean():.1f}"
            for s in (1, 5)
        ]
        cells = (
            f"{mean['all']:.1f} [{100 * low:.1f}, {100 * high:.1f}]",
            *(f"{mean[f]:.1f}" for f in FAMILIES),
            *severe,
        )
        (clean,) = accuracies(table, "clean", variant=variant)
        text.says(row(f"`{variant}`", clean, *cells, f"{line.mce:.1f}", f"{line.rel_mce:.1f}"))
    differ = seeds.loc["lpc"] - seeds.loc["baseline"]
    assert all(len(set(np.sign(differ[family]))) == 2 for family in FAMILIES), "a family keeps its sign"
    noise, blur, weather, digital = (differ.loc[0, family] for family in FAMILIES)
    text.says(
        f"{signed(noise)} points under noise, {signed(blur)} under blur, {signed(weather)} under weather and "
        f"{signed(digital)} under",
        "; ".join(f"{family} {', '.join(signed(v) for v in differ[family])}" for family in FAMILIES),
        f"the three seeds differ by {', '.join(map(signed, differ['all'][:2]))} and {signed(differ['all'][2])} points; "
        f"mean {signed(compared['diff'])} [{signed(compared.diff_lo)}, {signed(compared.diff_hi)}]",
        f"is {means.loc[('pgd_at', 0), 'all'] - means.loc[('baseline', 0), 'all']:.1f} points above "
        "`baseline` over all",
        f"and {-board.loc['pgd_at', 'clean_diff']:.1f} points below on clean",
    )
    kinds = (
        where(table[table.corruption.notna()], variant="baseline").groupby("corruption")["acc"].mean().sort_values()
        * 100
    )
    assert list(kinds.index[:4]) == ["frost", "fog", "contrast", "brightness"]
    text.says(f"the accuracies are {spoken(list(kinds[:4]), 1)} %")


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
        f"classifies {kept.n_correct} of {kept.n} images correctly",
        f"is {clean[0] - clean[1]:.1f} points lower",
        f"within {max(three) - min(three):.1f} points",
    )


@check
def gamma_loops(text: Text) -> None:
    table, attacks = results("gamma_loops"), results("gamma_loops", "convnext_attacks.csv")
    ratio: dict[str, list[float]] = {"auto": [], "short": []}
    n_regressed: dict[str, list[float]] = {"auto": [], "short": []}
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
                    n_regressed[recipe].append(100 * (run.acc - base.acc))
                    ended[recipe].append(run.gamma)
    assert min(ratio["auto"] + ratio["short"]) == ratio["auto"][2]
    assert max(ratio["auto"]) < 1
    assert all(r < 1 for r in ratio["short"][:3])
    assert all(r > 1 for r in ratio["short"][3:])
    auto, short = (
        [signed(v).replace("+0.0", "0.0").replace("−0.0", "0.0") for v in n_regressed[k]] for k in ("auto", "short")
    )
    text.says(
        f"`lpc`'s training NC1 to `baseline`'s is {ratio['auto'][2]:.2f} (`convnext_atto` on digits, `auto`)",
        f"ended at {ended['auto'][4]:.2g} and {ended['auto'][5]:.2g} on two backbones, where NC1 is "
        f"{ratio['auto'][4]:.2f} and "
        f"{ratio['auto'][5]:.2f} of `baseline`'s",
        f"is {auto[0]}, {auto[1]} and {auto[2]} points on digits and {auto[3]}, {auto[4]} and {auto[5]} points on "
        "Fashion-MNIST",
        f"in all six pairs, {min(ratio['auto']):.2f} to {max(ratio['auto']):.2f} of it",
        f"is {spoken([-v for v in n_regressed['short'][3:]], 1)} points below `baseline`'s on Fashion-MNIST",
        f"γ ended at {spoken(ended['short'][3:], 0)}",
        f"On digits it is {short[0]}, {short[1]} and {short[2]} points",
        f"clean accuracy is {-n_regressed['short'][5]:.1f} points lower",
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
        f"has {kept['pgd-20', 'short']} under PGD-20 at 16/255 (n = 1,000), against {base['pgd-20']} % for "
        "`baseline` and "
        f"{loop['pgd-20']} % for `auto`",
        f"{kept['autoattack-apgd-ce+apgd-t', 'short']} on 100 images under APGD-CE and targeted APGD, against "
        f"{base['autoattack-apgd-ce+apgd-t']} % for both",
    )


@check
def frost(text: Text) -> None:
    table = pd.read_csv(STUDIES / "frost" / "frost.csv", dtype={"severity": str}).set_index(
        ["network", "frost", "severity"]
    )
    points = 100 * table[["difference", "low", "high"]]

    def cell(*place: str) -> str:
        middle, low, high = (signed(value, 2).removeprefix("+") for value in points.loc[place])
        return f"{middle} [{low}, {high}]"

    networks = {"resnet20": "ResNet-20", "convnet": "convnet of four layers"}
    for network, title in networks.items():
        for kind in ("texture, version 1", "texture, version 2", "photographs, other crops"):
            text.says(row(title, kind, *(cell(network, kind, severity) for severity in ("1", "3", "4", "5", "all"))))
    former, newer = ((network, f"texture, version {v}") for v in (1, 2) for network in ("resnet20",))
    most = {severity: -points.loc[(*former, severity), "difference"] for severity in ("5", "all")}
    p = {severity: table.loc[(*former, severity), "p"] for severity in ("5", "all")}
    newest = table.xs("texture, version 2", level="frost")
    assert newest["p"].min() == newest.loc[("resnet20", "5"), "p"] > 0.05
    text.says(
        f"is {most['5']:.2f} points lower than under the photographs at severity 5 (p = {p['5']:.0e})",
        f"and {most['all']:.2f} points lower in the mean (p = {p['all']:.5f})",
        "no severity and no mean differs at 0.05",
        f"The smallest p is {newest['p'].min()} (ResNet-20, severity 5, "
        f"{points.loc[(*newer, '5'), 'difference']:.2f} points",
        f"up to {points.xs('all', level='severity').loc[(slice(None), newer[1]), 'high'].max():.2f} points",
        f"One number, the contrast of {CONTRAST}, was chosen",
    )


@check
def foreign_checkpoints(text: Text) -> None:
    table = results("foreign_checkpoints")
    compared = pd.read_csv(STUDIES / "foreign_checkpoints" / "comparison.csv").set_index("metric")
    for variant in ("baseline", "noise"):
        one = where(table, variant=variant)
        cells = [accuracy(one, name) for name in ("clean", "fgsm", "pgd-20")]
        text.says(row(f"`{variant}`", *cells, f"{100 * where(one, attack='pgd-20').robust_acc_lowest.iloc[0]:.1f}"))
    clean, pgd = compared.loc["clean"], compared.loc["pgd-20@linf-4/255"]
    assert clean.finding == "lower, these weights"
    assert pgd.finding.startswith("no difference found")
    assert set(table.audit) == {"passed"}
    notes = where(table, variant="baseline").notes.iloc[0]
    probed = next(note for note in notes.split("; ") if note.startswith("probe of 256 images: "))
    text.says(
        f"of `noise` is {-clean['diff']:.1f} points lower",
        f"`noise` is {pgd['diff']:.1f} points higher; a difference of {pgd.mde:.1f} points would have been",
        f"classifies {probed.split()[4]} % of the probe's 256 images correctly",
    )
