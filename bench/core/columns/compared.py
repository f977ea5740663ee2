"""Columns of comparison.csv and of the tables of ``bench compare``."""

from __future__ import annotations

#: comparison.csv: one row per variant and metric with a paired reference. Accuracies are in percent.
COMPARISON_COLUMNS = {
    "dataset": "name of the data set",
    "model": "name of the backbone",
    "variant": "name of the training-time idea",
    "reference": (
        "paired reference: `baseline`, or the variant given by `--against`, from a training that differs only in the "
        "variant"
    ),
    "config_sha": "hash of the variant's training configuration without the seed",
    "data_sha": "hash of the test split: ids, labels and content",
    "metric": "column of leaderboard.csv that is compared",
    "n": "number of images on which both were evaluated",
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
        "p-value of McNemar's exact test for these two numbers; compares two trained networks, not several seeds"
    ),
    "p_checkpoint_holm": (
        "p_checkpoint after Holm's correction over all tests of the table on which a finding is based, whether "
        "p_checkpoint or p_variant; empty if the finding of this row is not based on p_checkpoint"
    ),
    "p_variant": (
        "p-value of the exact sign-flip test of the differences between variant and reference, one per seed; compares "
        "the two variants over several trainings; empty for a single seed and if the seeds have the same weights"
    ),
    "p_variant_smallest": "smallest p_variant that is possible with this number of seeds",
    "p_variant_holm": "p_variant after the same correction; empty if the finding of this row is not based on p_variant",
    "mde": (
        "difference in points that McNemar's test of two networks detects in 80 % of cases, for this number of images "
        "and the observed share of regressed or improved images. If this share is too small for any difference to be "
        "detected, the smallest share that is detectable if all changes are in one direction. The level is 0.05 "
        "divided by the number of rows with a p-value. For `corruptions_acc` the test is a paired t-test, and the "
        "column is empty if no image differs. Empty if not even a difference of 100 points is detectable"
    ),
    "mde_seeds": (
        "difference in points that the sign-flip test over this number of seeds detects in 80 % of cases: the larger "
        "result of two calculations. One assumes normal differences with the observed standard deviation, the other "
        "images that improve independently at random. The level is 0.05 divided by the number of rows with a p-value. "
        "Empty without p_variant and if no difference is detectable"
    ),
    "std_seeds": "standard deviation of the difference over seeds, in points; empty for a single seed",
    "finding": (
        "`higher`, `lower`, or the size of the difference that would have been detected. Based on p_variant_holm if "
        "the number of seeds allows a p_variant of at most 0.05 divided by the number of rows with a p-value. "
        "Otherwise, or if collapse was not measured, based on p_checkpoint_holm, and valid for these weights only. "
        "With `upper bound` if the attack of the higher accuracy is flagged. `untested` if p_checkpoint is empty and "
        "there are too few seeds. `not compared` if the two were measured differently, or if either is no better than "
        "chance. `no conclusion: not collapsed` if either has a collapse penalty and has not collapsed"
    ),
    "flags": "names of the flags of the variant's cells, separated by semicolons",
    "flags_reference": "names of the flags of the reference's cells, separated by semicolons",
    "note": "reason why a p-value or the difference is empty",
    "audit": "result of the audits of the runs of the variant, as in leaderboard.csv; empty without an audit",
    "chance": (
        "names the variant or the reference if any of its seeds is no better than chance on clean images, with the "
        "number of these seeds if it is not all of them; otherwise empty"
    ),
    "leaked": "as in leaderboard.csv, the larger number of the two; empty if unknown for both",
    "collapse": "collapse status of the variant, as in leaderboard.csv; empty without a collapse penalty",
    "collapse_reference": "collapse status of the reference",
    "collapse_nc1_train": "collapse_nc1_train of the variant, as in leaderboard.csv",
    "collapse_nc1_train_reference": "collapse_nc1_train of the reference",
    "train_acc": "train_acc of the variant, as in leaderboard.csv",
    "train_acc_reference": "train_acc of the reference",
    "gamma": "gamma of the variant, as in leaderboard.csv",
    "gamma_reference": "gamma of the reference",
    "robust_acc_lowest": (
        "lowest known robust accuracy of the variant at the budget of the attack, as in leaderboard.csv, on "
        "robust_acc_lowest_n images; no test is computed, because the two may have been attacked differently"
    ),
    "robust_acc_lowest_reference": "lowest known robust accuracy of the reference, on the same images",
    "robust_acc_lowest_n": "number of images on which all attacks of both at this budget were run",
    "robust_acc_lowest_audit_n": (
        "number of these images on which the attacks of the audit were run, minimum over the seeds of both"
    ),
    "broken_by": "number of these images misclassified under each attack, for the variant, as in leaderboard.csv",
    "broken_by_reference": "the same for the reference",
}

#: Tables of ``bench compare`` as CSV or JSON: one row per model, ours or published. Accuracies are in percent.
COMPARE_COLUMNS = {
    "table": (
        "protocol of the table, under which our rows were measured; rows with attacks of the same name but another "
        "definition, or with other corrupted images, are in separate tables, with a hash of the definition"
    ),
    "rank": (
        "rank by robust, then by clean, both rounded to two decimals, among the rows of this protocol; equal rows "
        "share a rank. If our rows have different attacks or audits, they are ranked by the attack of the table only, "
        "as stated in the note. Empty for a row of another protocol, a flagged row, a row that is no better than "
        "chance on clean images, a row with a failed audit or with audits of only some seeds, a row without a number, "
        "and in the table of DeepFool"
    ),
    "model": "`model:variant` for our rows, or the published name",
    "published": "whether the numbers are from a publication",
    "clean": "accuracy on clean images, in percent",
    "bound": "`≤` before a flagged robust accuracy: it is an upper bound",
    "robust": (
        "lowest known accuracy under attack at this budget in percent (for our rows robust_acc_lowest on the images of "
        "the attack of the table), mean accuracy over the 15 corruptions and 5 severities in percent, or DeepFool's "
        "ratio ‖r‖/‖x‖, not in percent"
    ),
    "flags": "flags of the robust accuracy, separated by semicolons; `unreliable` is the flag of RobustBench",
    "n": "number of images of the robust accuracy; empty if a publication does not state it",
    "collapse": (
        "for our rows, collapse status of the variant, as in leaderboard.csv; empty without a collapse penalty"
    ),
    "leaked": (
        "for our rows, number of test images that are also in the training split, as in leaderboard.csv; empty if "
        "unknown"
    ),
    "architecture": "name of the backbone; for published rows as published",
    "source": "our seeds, or the publication that reports the number",
    "comparable": "whether the row was measured under the table's protocol",
    "note": "reason why the row is not comparable, and other notes on the number",
}
