"""comparison.csv and bench compare: a row beside its paired reference, or beside published ones."""

from __future__ import annotations

#: comparison.csv: one row per variant and metric that has a paired reference; accuracies are percent.
COMPARISON_COLUMNS = {
    "dataset": "name of the data set",
    "model": "name of the backbone",
    "variant": "name of the training-time idea",
    "reference": (
        "variant it is compared with: `baseline`, or that of `--against`, of the same training but for the variant"
    ),
    "config_sha": "hash of the variant's training configuration without the seed",
    "data_sha": "hash of the test split: ids, labels and content",
    "metric": "column of leaderboard.csv that is compared",
    "n": "number of images that both were evaluated on",
    "seeds": "number of seeds, the same of both",
    "acc": "accuracy of the variant on these images, mean over seeds",
    "acc_reference": "accuracy of the reference on these images, mean over seeds",
    "diff": "acc − acc_reference, in points; empty where either is no better than chance",
    "diff_lo": "lower end of the 95 % interval of diff",
    "diff_hi": "upper end of the 95 % interval of diff",
    "interval": "what the interval allows for: other `images`, or other `seeds+images`",
    "n_regressed": "number of images that the reference has right and the variant wrong, at the lowest seed",
    "n_improved": "number of images that the variant has right and the reference wrong, at the lowest seed",
    "p_checkpoint": "p of McNemar's exact test on these two numbers: of two trained networks, never of several seeds",
    "p_checkpoint_holm": (
        "the same after Holm's correction for all tests that a finding of the table goes by, of this column or of "
        "p_variant; empty where the finding does not go by it"
    ),
    "p_variant": (
        "p of the exact sign-flip test on the differences of the seeds: of the two recipes; empty for a single seed "
        "and where the seeds have the same weights"
    ),
    "p_variant_smallest": "the smallest p_variant that so many seeds can give",
    "p_variant_holm": "p_variant after the same correction; empty where the finding does not go by it",
    "mde": (
        "difference in points that McNemar's test of two networks would find in 80 % of cases, on so many images of "
        "which as large a share is lost or gained or, if even all of these in one direction are too few, as many as it "
        "takes, all lost or all gained; at 0.05 divided by the number of rows that have a p; of `corruptions_acc` that "
        "of a paired t-test, empty where no image differs; empty where none would be found"
    ),
    "mde_seeds": (
        "difference in points that the sign-flip test over so many seeds would find in 80 % of cases, simulated with "
        "normal differences of this spread, or were each to lose, or each to gain, single images at random, if that is "
        "more; at 0.05 divided by the number of rows that have a p; empty without p_variant and where none would be "
        "found"
    ),
    "std_seeds": "standard deviation over seeds of the difference, in points; empty for a single seed",
    "finding": (
        "`higher`, `lower`, or how large a difference would have been found; by p_variant_holm where so many seeds can "
        "bring p_variant to 0.05 divided by the number of rows that have a p, else by p_checkpoint_holm, and then of "
        "these weights only; with `upper bound` where the higher of the two is the accuracy of a flagged attack; "
        "`untested` where p_checkpoint is empty and the seeds are too few, and `not compared` where the two were "
        "measured otherwise, or where either is no better than chance; `no conclusion: not collapsed` where either is "
        "meant to collapse and did not; of these weights only where that was not measured"
    ),
    "flags": "names of the flags of the variant's cells, separated by semicolons",
    "flags_reference": "names of the flags of the reference's cells, separated by semicolons",
    "note": "why a p is empty, or there is no difference",
    "audit": "what an audit of the variant's runs found, as in leaderboard.csv; empty without one",
    "chance": "which of the two is no better than chance on clean images, in all or how many seeds; empty if neither",
    "leaked": "as in leaderboard.csv, the larger of the two; empty if known of neither",
    "collapse": "whether the variant collapsed, as in leaderboard.csv; empty for a variant that is not meant to",
    "collapse_reference": "the same of the reference",
    "collapse_nc1_train": "as in leaderboard.csv, of the variant",
    "collapse_nc1_train_reference": "the same of the reference",
    "train_acc": "as in leaderboard.csv, of the variant",
    "train_acc_reference": "the same of the reference",
    "gamma": "as in leaderboard.csv, of the variant",
    "gamma_reference": "the same of the reference",
    "robust_acc_lowest": (
        "of an attack: robust accuracy of the variant at its budget, lowest known, as in leaderboard.csv, on "
        "robust_acc_lowest_n images; it is not tested, as the two need not have been shown the same attacks"
    ),
    "robust_acc_lowest_reference": "the same of the reference, on the same images",
    "robust_acc_lowest_n": "number of images that all attacks of both at this budget hold",
    "robust_acc_lowest_audit_n": "how many of them the audit's attacks saw, the fewest of any seed of the two",
    "broken_by": "what broke them, of the variant, as in leaderboard.csv",
    "broken_by_reference": "the same of the reference",
}

#: The tables of ``bench compare`` as CSV or JSON: one row a model, ours or published; accuracies are percent.
COMPARE_COLUMNS = {
    "table": "the protocol under which our rows of the table were measured",
    "rank": (
        "place by robust, then by clean, to two decimals, among the rows of this protocol; equal rows share a place; "
        "where our ranked rows went through different attacks or audits, they are ranked by the attack of the table "
        "alone, and the note says so; "
        "empty for a row of another protocol, a flagged one, one that is no better than chance on clean images, one "
        "without a number, and under DeepFool"
    ),
    "model": "`model:variant` of ours, or the published name",
    "published": "whether the numbers are from a publication",
    "clean": "accuracy on clean images",
    "bound": "`≤` before a flagged robust accuracy: it is an upper bound",
    "robust": (
        "lowest known accuracy under attack at this budget, of ours by robust_acc_lowest on the images of the table's "
        "attack, or mean over the 15 corruptions and 5 severities, or DeepFool's ratio ‖r‖/‖x‖"
    ),
    "flags": "what speaks against robust, separated by semicolons; `unreliable` is RobustBench's own word",
    "n": "number of images behind robust; empty where a publication does not settle it",
    "collapse": (
        "of ours, whether the variant collapsed, as in leaderboard.csv; empty for a variant that is not meant to"
    ),
    "leaked": "of ours, how many test images are also in the training split, as in leaderboard.csv; empty if not known",
    "architecture": "name of the backbone, of published rows in their publishers' words",
    "source": "which of our seeds, or where the number was published",
    "comparable": "whether the row is of the table's protocol",
    "note": "why it is not, and what else has to be said of the number",
}
