"""Columns of leaderboard.csv, one row per configuration, and the rounding of numbers."""

from __future__ import annotations

NOT_OK = "not ok"  # follows the number of such cells in the column `status`

#: leaderboard.csv: the columns before the accuracies. Accuracies are in percent.
LEADERBOARD_COLUMNS = {
    "rank": (
        "rank within the data set by robust accuracy (mean over the budgets), then by clean; equal rows share a rank; "
        "only attacks that were run on all ranked rows are used, see `rank_by`. Empty for a row with a cell that is "
        "not ok, with a missing cell, with fewer images than another row, with a sample of an older version, or with "
        "an attack that differs from the attack ranked in this column (the newest version, `fp32` before `bf16`, then "
        "the attack of most cells, then the latest). Without `--rank-flagged` also empty for a row with a flagged "
        "attack, with a failed audit, with audits of only some seeds, or with a status `no better than chance`"
    ),
    "rank_by": (
        "attacks that determine `rank`: `attacks` for the attacks on the leaderboard; `attacks and audit` if all "
        "ranked rows were audited by the same version, at the same level and budgets, on the same images (transfer "
        "from the baseline is used only if it was tried on all rows); empty without a rank"
    ),
    "dataset": "name of the data set",
    "model": "name of the backbone",
    "variant": "name of the training-time idea",
    "reference": (
        "paired reference of the `_diff` columns: `baseline`, or the variant given by `--against`, from a training "
        "that differs only in the variant; empty without a reference"
    ),
    "seeds": "number of seeds that the accuracies are averaged over",
    "latent_dim": "width of the latents z, the input of the output layer: the penultimate layer or the features",
    "schedule": "schedule of the penalty's weight γ; empty without a penalty",
    "collapse": (
        "for a variant with a collapse penalty: `collapsed`, `not collapsed` or `collapse not measured`, the latter "
        "two with the reason. Not collapsed if, for any seed, collapse_nc1_train is more than a tenth of its value for "
        "`lin_pen` (or for `baseline`, without `lin_pen`) in a training that differs only in the variant, or if the "
        "diagnosed train_acc is below 99 %. Empty for other variants"
    ),
    "collapse_nc1_train": "within-class variability on training images, as in results.csv; mean over seeds",
    "train_acc": (
        "accuracy on training images in percent, as in results.csv; mean over seeds; empty unless all seeds were "
        "diagnosed"
    ),
    "gamma": "weight of the penalty in the last step; mean over seeds; empty without a penalty",
    "img_size": "side in pixels of the backbone's input",
    "param_count": "number of trained parameters, in millions",
    "epochs": "number of training epochs; an incomplete last batch is dropped",
    "n_train": "number of training images; empty for a model that was not trained here",
    "leaked": (
        "number of evaluated test images that are also in the training split of the data set, as in results.csv: the "
        "largest number over the cells of the row; empty if unknown"
    ),
    "audit": (
        "`passed`; `undecided` if an attack was not audited, or was audited on too few images for a flag; `failed` if "
        "an audit failed or is of an earlier version; "
        "or the flags of all seeds, each with its largest drop in accuracy in points; if clean is no "
        "better than chance, `at chance` unless `failed`; empty unless all seeds were audited"
    ),
    "status": (
        "`ok`, or the number of cells that are not ok, including cells that would take precedence over an ok cell; the "
        "number of columns with `equally many images per class` of an unbalanced split (samples of an older version); "
        "and `no better than chance`, with the number of seeds unless all are, as defined under At chance below"
    ),
    "config_sha": "hash of the training configuration without the seed",
    "data_sha": "hash of the test split: ids, labels and content",
}

CORRUPTIONS_ACC = "corruptions_acc"

#: leaderboard.csv: the accuracies in percent, each with the columns METRIC_SUFFIXES.
ACCURACY_COLUMNS = {
    "clean": "accuracy on clean images",
    CORRUPTIONS_ACC: (
        "mean accuracy over the 15 standard kinds and their 5 severities; empty unless all these cells of all seeds "
        "are ok; the column exists if any corruption was evaluated"
    ),
    "<attack>@<norm>-<eps>": "accuracy under one attack at one budget; eps as `8/255` or as a decimal",
}

#: Suffixes of a metric's column name, and the meaning of these columns.
METRIC_SUFFIXES = {
    "_n": (
        "number of images per seed; 0 if the attack was run but the accuracy is empty, because a cell is not ok or the "
        "seeds have different numbers of images"
    ),
    "_diff": (
        "difference from `reference` in points, for the same seeds and the images on which both were evaluated; empty "
        "if the attack of the reference has the same name but another definition, or if either is no better than "
        "chance"
    ),
    "_flags": "names of the flags of the cells, separated by semicolons",
    "_lo": "lower end of the 95 % interval (sampling of images only)",
    "_hi": "upper end of the 95 % interval (sampling of images only)",
    "_se": "standard error over the n images, with the mean over seeds for each image (sampling of images only)",
    "_std": "standard deviation over seeds (variation between trainings); empty if the seeds have the same weights",
    "_t_lo": (
        "lower end of Student's 95 % interval of the mean over seeds (variation between trainings, for these images); "
        "empty if the seeds have the same weights"
    ),
    "_t_hi": (
        "upper end of Student's 95 % interval of the mean over seeds (variation between trainings, for these images); "
        "empty if the seeds have the same weights"
    ),
}

#: Prefix of the columns of the lowest known robust accuracy.
LOWEST = "robust_acc_lowest"

DECIMALS = 2  # decimals of percentages and points
RATIO_COLUMNS = ("collapse_nc1_train", "collapse_nc1_train_reference", "gamma", "gamma_reference")
DISTANCE_DECIMALS = 5
P_DIGITS = 4  # significant digits of p-values and of RATIO_COLUMNS, whose values differ by orders of magnitude

#: METRIC_SUFFIXES of leaderboard.csv without ``--intervals``.
DEFAULT_SUFFIXES = ("_n", "_diff", "_flags")
