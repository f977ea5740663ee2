"""leaderboard.csv: one row per configuration; rounding of its numbers."""

from __future__ import annotations

NOT_OK = "not ok"  # in the column `status`, after the number of such cells

#: leaderboard.csv: the columns before those of the attacks; accuracies are percent.
LEADERBOARD_COLUMNS = {
    "rank": (
        "rank within the data set by robust accuracy (mean over the budgets), then by clean; equal rows share a rank; "
        "only attacks that were run on all ranked rows count, see `rank_by`; empty for a row with a cell that is not "
        "ok, without a cell that another row has, with another attack in a column than the one ranked there (newest "
        "version, `fp32` before `bf16`, then that of most cells, then the latest), on a sample of an older version, or "
        "with fewer images than another row; without `--rank-flagged` also for a row with a flag at an attack, with an "
        "audit that failed or that only some of its seeds have, or with a status `no better than chance`"
    ),
    "rank_by": (
        "attacks that `rank` counts: `attacks` are those on the leaderboard; `attacks and audit` if all ranked rows "
        "were audited by the same version, at the same level and budgets, on the same images; adversarial images of "
        "the baseline count only if all rows were tested with them; empty without a rank"
    ),
    "dataset": "name of the data set",
    "model": "name of the backbone",
    "variant": "name of the training-time idea",
    "reference": (
        "paired reference of the `_diff` columns: `baseline`, or the variant given by `--against`, in a training that "
        "differs only in the variant; empty without one"
    ),
    "seeds": "number of seeds that the accuracies are averaged over",
    "latent_dim": "width of the latents z, the input of the output layer: penultimate layer, or features",
    "schedule": "schedule of the penalty's weight γ; empty without a penalty",
    "collapse": (
        "for a variant that is meant to collapse: `collapsed`; `not collapsed` and why, if any seed ends with a "
        "collapse_nc1_train above a tenth of that of `lin_pen` (else of `baseline`) in a training that differs only in "
        "the variant, or with a diagnosed train_acc below 99 %; or `collapse not measured` and why; empty for all "
        "other variants"
    ),
    "collapse_nc1_train": "within-class variability on training images, as in results.csv; mean over seeds",
    "train_acc": (
        "accuracy on training images in percent, as in results.csv; mean over seeds; empty unless all seeds were "
        "diagnosed"
    ),
    "gamma": "weight of the penalty in the last step; mean over seeds; empty without a penalty",
    "img_size": "side in pixels of the backbone's input",
    "param_count": "number of trained parameters, in millions",
    "epochs": "number of passes over the training images; an incomplete last batch is dropped",
    "n_train": "number of images trained on; empty for a model that was not trained here",
    "leaked": (
        "number of evaluated test images that are also in the data set's training split, as in results.csv: the "
        "largest number of the row's cells; empty if not known"
    ),
    "audit": (
        "`passed`; `undecided` if an attack was not audited, or on too few images for a flag; `failed` if an audit "
        "failed; and the flags of all seeds, each with the largest number of points by which it lowers the accuracy; "
        "`at chance` instead of all but `failed` if clean is no better than chance; empty unless all seeds were "
        "audited"
    ),
    "status": (
        "`ok`, or the number of cells that are not ok, including those that would take precedence over an ok one; the "
        "number of columns on `equally many images per class` of an unbalanced split (samples of an older version); "
        "and `no better than chance` with the number of seeds if not all, defined under At chance below"
    ),
    "config_sha": "hash of the training configuration without the seed",
    "data_sha": "hash of the test split: ids, labels and content",
}

CORRUPTIONS_ACC = "corruptions_acc"

#: leaderboard.csv: the accuracies, each with the columns METRIC_SUFFIXES; in percent.
ACCURACY_COLUMNS = {
    "clean": "accuracy on clean images",
    CORRUPTIONS_ACC: (
        "mean accuracy over the 15 standard kinds and their 5 severities; empty unless all these cells of all seeds "
        "are ok; the column exists if any corruption was evaluated"
    ),
    "<attack>@<norm>-<eps>": "accuracy under one attack at one budget, one column each; eps as `8/255` or a decimal",
}

#: Suffixes of a metric's column name, and the meaning of these columns.
METRIC_SUFFIXES = {
    "_n": (
        "number of images per seed; 0 if the attack was run and the accuracy is empty, because a cell is not ok or the "
        "seeds have different numbers of images"
    ),
    "_diff": (
        "difference to `reference` in points, for the same seeds and over the images that both were evaluated on; "
        "empty if the reference has another attack of the same name, or if either is no better than chance"
    ),
    "_flags": "names of the flags of its cells, separated by semicolons",
    "_lo": "lower end of the 95 % interval (sampling of images only)",
    "_hi": "upper end of the 95 % interval (sampling of images only)",
    "_se": "standard error of the mean over the n images of each image's mean over seeds (sampling of images only)",
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

#: Beginning of the column names of the lowest known robust accuracy.
LOWEST = "robust_acc_lowest"

DECIMALS = 2  # of percentages and points
RATIO_COLUMNS = ("collapse_nc1_train", "collapse_nc1_train_reference", "gamma", "gamma_reference")
DISTANCE_DECIMALS = 5
P_DIGITS = 4  # of p-values, and of RATIO_COLUMNS, whose values differ by orders of magnitude

#: The METRIC_SUFFIXES that leaderboard.csv has without ``--intervals``.
DEFAULT_SUFFIXES = ("_n", "_diff", "_flags")
