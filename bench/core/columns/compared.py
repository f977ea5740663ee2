"""comparison.csv and the tables of ``bench compare``: rows compared with a paired reference or with published rows."""

from __future__ import annotations

#: comparison.csv: one row per variant and metric that has a paired reference; accuracies are percent.
COMPARISON_COLUMNS = {
    "dataset": "name of the data set",
    "model": "name of the backbone",
    "variant": "name of the training-time idea",
    "reference": (
        "paired reference: `baseline`, or the variant given by `--against`, in a training that differs only in the "
        "variant"
    ),
    "config_sha": "hash of the variant's training configuration without the seed",
    "data_sha": "hash of the test split: ids, labels and content",
    "metric": "column of leaderboard.csv that is compared",
    "n": "number of images that both were evaluated on",
    "seeds": "number of seeds, the same for both",
    "acc": "accuracy of the variant on these images, mean over seeds",
    "acc_reference": "accuracy of the reference on these images, mean over seeds",
    "diff": "acc − acc_reference, in points; empty if either is no better than chance",
    "diff_lo": "lower end of the 95 % interval of diff",
    "diff_hi": "upper end of the 95 % interval of diff",
    "interval": "source of variation in the interval: sampling of `images`, or of `seeds+images`",
    "n_regressed": (
        "number of images that the reference classifies correctly and the variant does not, at the lowest seed"
    ),
    "n_improved": (
        "number of images that the variant classifies correctly and the reference does not, at the lowest seed"
    ),
    "p_checkpoint": (
        "p-value of McNemar's exact test on these two numbers; compares two trained networks, never several seeds"
    ),
    "p_checkpoint_holm": (
        "p_checkpoint after Holm's correction for all tests of the table that a finding is based on, of this column or "
        "of p_variant; empty if this row's finding is not based on it"
    ),
    "p_variant": (
        "p-value of the exact sign-flip test on the differences of the seeds; compares the two recipes; empty for a "
        "single seed and if the seeds have the same weights"
    ),
    "p_variant_smallest": "smallest p_variant that is possible with this number of seeds",
    "p_variant_holm": "p_variant after the same correction; empty if this row's finding is not based on it",
    "mde": (
        "difference in points that McNemar's test of two networks detects in 80 % of cases, for this number of images "
        "and this share of images lost or gained; if this share is too small even with all changes in one direction, "
        "for the smallest share that is detected, all lost or all gained; at level 0.05 divided by the number of rows "
        "with a p-value; for `corruptions_acc` that of a paired t-test, empty if no image differs; empty if no "
        "difference would be detected"
    ),
    "mde_seeds": (
        "difference in points that the sign-flip test over this number of seeds detects in 80 % of cases, simulated "
        "with normal differences of the observed spread, or with seeds that all lose, or all gain, single images at "
        "random, whichever is larger; at level 0.05 divided by the number of rows with a p-value; empty without "
        "p_variant and if no difference would be detected"
    ),
    "std_seeds": "standard deviation of the difference over seeds, in points; empty for a single seed",
    "finding": (
        "`higher`, `lower`, or the size of the difference that would have been detected; based on p_variant_holm if "
        "the number of seeds allows a p_variant of 0.05 divided by the number of rows with a p-value, else on "
        "p_checkpoint_holm and then valid for these weights only; with `upper bound` if the higher of the two "
        "accuracies is that of a flagged attack; `untested` if p_checkpoint is empty and the seeds are too few; `not "
        "compared` if the two were measured differently, or if either is no better than chance; `no conclusion: not "
        "collapsed` if either is meant to collapse and did not; for these weights only if collapse was not measured"
    ),
    "flags": "names of the flags of the variant's cells, separated by semicolons",
    "flags_reference": "names of the flags of the reference's cells, separated by semicolons",
    "note": "why a p-value or the difference is empty",
    "audit": "result of the audits of the variant's runs, as in leaderboard.csv; empty without an audit",
    "chance": (
        "which of the two is no better than chance on clean images, and for how many seeds if not for all; empty if "
        "neither is"
    ),
    "leaked": "as in leaderboard.csv, the larger number of the two; empty if not known for either",
    "collapse": "whether the variant collapsed, as in leaderboard.csv; empty for a variant that is not meant to",
    "collapse_reference": "whether the reference collapsed",
    "collapse_nc1_train": "collapse_nc1_train of the variant, as in leaderboard.csv",
    "collapse_nc1_train_reference": "collapse_nc1_train of the reference",
    "train_acc": "train_acc of the variant, as in leaderboard.csv",
    "train_acc_reference": "train_acc of the reference",
    "gamma": "gamma of the variant, as in leaderboard.csv",
    "gamma_reference": "gamma of the reference",
    "robust_acc_lowest": (
        "lowest known robust accuracy of the variant at the budget of the attack, as in leaderboard.csv, on "
        "robust_acc_lowest_n images; not tested, because the two may have been attacked differently"
    ),
    "robust_acc_lowest_reference": "lowest known robust accuracy of the reference, on the same images",
    "robust_acc_lowest_n": "number of images that all attacks at this budget, of both, were run on",
    "robust_acc_lowest_audit_n": (
        "number of these images that the audit's attacks were run on, the smallest number of any seed of the two"
    ),
    "broken_by": "number of these images misclassified under each attack, for the variant, as in leaderboard.csv",
    "broken_by_reference": "the same for the reference",
}

#: The tables of ``bench compare`` as CSV or JSON: one row per model, own or published; accuracies are percent.
COMPARE_COLUMNS = {
    "table": (
        "protocol of the table, under which our rows were measured; if our rows were run through different attacks of "
        "one name, or through different corrupted images, they are in different tables, with a hash of the definition"
    ),
    "rank": (
        "rank by robust, then by clean, to two decimals, among the rows of this protocol; equal rows share a rank; if "
        "our rows were run through different attacks or audits, they are ranked by the attack of the table alone, and "
        "the note says so; empty for a row of another protocol, a flagged row, a row that is no better than chance on "
        "clean images, a row whose audit failed or covers only some of its seeds, a row without a number, and under "
        "DeepFool"
    ),
    "model": "`model:variant` for our rows, or the published name",
    "published": "whether the numbers are from a publication",
    "clean": "accuracy on clean images, in percent",
    "bound": "`≤` before a flagged robust accuracy: it is an upper bound",
    "robust": (
        "lowest known accuracy under attack at this budget (for our rows robust_acc_lowest on the images of the "
        "table's attack), or mean accuracy over the 15 corruptions and 5 severities, in percent; or DeepFool's ratio "
        "‖r‖/‖x‖, not in percent"
    ),
    "flags": "flags that cast doubt on robust, separated by semicolons; `unreliable` is RobustBench's flag",
    "n": "number of images that robust is computed on; empty if a publication does not state it",
    "collapse": (
        "for our rows, whether the variant collapsed, as in leaderboard.csv; empty for a variant that is not meant to"
    ),
    "leaked": (
        "for our rows, number of test images that are also in the training split, as in leaderboard.csv; empty if not "
        "known"
    ),
    "architecture": "name of the backbone; for published rows as published",
    "source": "our seeds, or the publication of the number",
    "comparable": "whether the row was measured under the table's protocol",
    "note": "why the row is not comparable, and other remarks on the number",
}
