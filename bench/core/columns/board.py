"""leaderboard.csv: one row a configuration; how its numbers are rounded."""

from __future__ import annotations

NOT_OK = "not ok"  # in the column `status`, behind the number of such cells

#: leaderboard.csv: the columns before those of the attacks; accuracies are percent.
LEADERBOARD_COLUMNS = {
    "rank": (
        "place within the data set by robust accuracy, mean over the budgets, then by clean; equal rows share a "
        "place; an image counts as broken if an attack broke it that all ranked rows went through, see `rank_by`; "
        "empty for a row with a cell that is not ok, or without a cell that another row has, or by another attack of "
        "its name than the one that counts there (the newest version, `fp32` before `bf16`, that of most cells, the "
        "latest), or on a sample of an older version, or with fewer images than another row has of that, and, without "
        "`--rank-flagged`, for one with a flag at an attack, an audit that failed or that only some of its seeds "
        "have, or a status `no better than chance`"
    ),
    "rank_by": (
        "attacks that `rank` counts: `attacks`, those on the board, or `attacks and audit` where all ranked rows were "
        "audited by the same version, level and budgets on the same images; images made on the baseline only where "
        "every row was shown some; empty without a rank"
    ),
    "dataset": "name of the data set",
    "model": "name of the backbone",
    "variant": "name of the training-time idea",
    "reference": (
        "variant that the `_diff` are against: `baseline`, or that of `--against`, of the same training but for the "
        "variant; empty without one"
    ),
    "seeds": "number of seeds the accuracies are means over",
    "latent_dim": "width of the latents z, which the output layer sees: the penultimate layer, or the features",
    "schedule": "how the penalty's weight went; empty without a penalty",
    "collapse": (
        "of a variant that is meant to collapse: `collapsed`; `not collapsed` and why, where any seed ends with a "
        "collapse_nc1_train above a tenth of that of `lin_pen` (else of `baseline`) of the same training but for the "
        "variant, or with a diagnosed train_acc below 99 %; or `collapse not measured` and why; empty for any "
        "other variant"
    ),
    "collapse_nc1_train": "within-class variability on training images, as in results.csv; mean over seeds",
    "train_acc": (
        "accuracy on training images in percent, as in results.csv; mean over seeds; empty unless every seed was "
        "diagnosed"
    ),
    "gamma": "weight of the penalty in the last step; mean over seeds; empty without a penalty",
    "img_size": "side in pixels on which the backbone works",
    "param_count": "number of trained parameters, in millions",
    "epochs": "number of passes over the training images, whole batches of them",
    "n_train": "number of images trained on; empty for a model that was not trained here",
    "leaked": (
        "how many of the test images evaluated are also in the data set's training split, as in results.csv: the "
        "largest number of any of the row's cells; empty if not known"
    ),
    "audit": (
        "`passed`, `undecided` where an attack was not audited, or on too few images for a flag, or `failed` where an "
        "audit went wrong and the flags of its seeds, each with the most points that it takes away; `at chance` in "
        "place of all but `failed` where clean is no better than chance; empty unless every seed was audited"
    ),
    "status": (
        "`ok`, or how many cells are not, those among them that would have counted before an ok one, how many columns "
        "are on `equally many images per class` of an unbalanced split (samples of an older version), and whether "
        "clean is `no better than chance`, of all seeds or of how many: defined under At chance below"
    ),
    "config_sha": "hash of the training configuration without the seed",
    "data_sha": "hash of the test split: ids, labels and content",
}

#: leaderboard.csv: the columns of corruptions; a mean is there when all its cells are, of every seed.
CORRUPTIONS_ACC = "corruptions_acc"

CORRUPTION_COLUMNS = {
    CORRUPTIONS_ACC: "mean accuracy over the 15 standard kinds and their 5 severities, in percent",
    "corruptions_set": "whose images they are: source and profile; of several sets the one that counts for the row",
    "mce": (
        "mean corruption error in percent: the mean over the 15 kinds of the mean error over the severities, divided "
        "by the reference's; 100 is as good as the reference; mean over seeds"
    ),
    "rel_mce": "the same of the errors beyond the clean one",
    "mce_reference": (
        "whose errors those are: `baseline` of the same backbone, recipe and seed, or `alexnet`'s published ones"
    ),
    "mce_note": "why mce or rel_mce is empty, and whether the row is no better than chance on clean images",
    "noise_acc": "mean accuracy over the standard kinds of noise",
    "blur_acc": "mean accuracy over the standard kinds of blur",
    "weather_acc": "mean accuracy over the standard kinds of weather, brightness among them",
    "digital_acc": "mean accuracy over the other standard kinds",
    **{f"severity_{level}_acc": f"mean accuracy over the 15 kinds at severity {level}" for level in range(1, 6)},
    "<kind>_acc": "mean accuracy over the 5 severities of one kind",
}

#: What may stand behind a metric's column name, and what it then holds.
METRIC_SUFFIXES = {
    "_n": (
        "number of images of each seed; 0 where the attack was tried and there is no accuracy: a cell is not ok, or "
        "not every seed has one of as many images"
    ),
    "_diff": (
        "difference to `reference`, of the same training but for the variant and of the same seeds, in points, over "
        "the images both were evaluated on; empty where an attack of this name was another one for the reference, and "
        "where either is no better than chance"
    ),
    "_flags": "names of the flags of its cells, separated by semicolons",
    "_lo": "lower end of the 95 % interval (sampling of images only)",
    "_hi": "upper end of the 95 % interval (sampling of images only)",
    "_se": "standard error of the mean of the n images, each by its mean over the seeds (sampling of images only)",
    "_std": "standard deviation over seeds (other trainings); empty where the seeds have the same weights",
    "_t_lo": (
        "lower end of Student's 95 % interval of the mean over seeds (other trainings, these images); empty where the "
        "seeds have the same weights"
    ),
    "_t_hi": (
        "upper end of Student's 95 % interval of the mean over seeds (other trainings, these images); empty where the "
        "seeds have the same weights"
    ),
}

#: leaderboard.csv: how far the nearest adversarial image is that any attack of a norm found.
DISTANCE_COLUMNS = {
    "median_distance@<norm>": (
        "smallest distance within which more than half of the images were broken, each by any attack of this norm, in "
        "units of [0, 1] pixels; 0 for an image that was wrong from the start; images that survived count as farther "
        "than the largest budget; mean over seeds; empty where half of them survive"
    ),
    "median_distance@<norm>_lo": (
        "lower end of its 95 % interval (sampling of images only), mean over seeds; the largest budget where all of it "
        "lies beyond; 0 for fewer than six images"
    ),
    "median_distance@<norm>_hi": (
        "upper end; empty where it lies beyond the largest budget, and for fewer than six images"
    ),
    "median_distance@<norm>_n": "number of images of each seed that all the row's attacks of this norm were given",
    "auc@<norm>": (
        "mean robust accuracy over all budgets from 0 to the largest, in percent: the area under the line through the "
        "accuracy at 0 and at every budget attacked, on the same images; mean over seeds"
    ),
}

#: leaderboard.csv: the robust accuracy that is known, one for every budget attacked.
LOWEST = "robust_acc_lowest"
LOWEST_COLUMNS = {
    f"{LOWEST}@<norm>-<eps>": (
        "robust accuracy, lowest known, in percent: the share of the images that no verified attack has broken within "
        "this budget, neither one of the run's, of whatever protocol, version, precision or budget, nor one of the "
        "audit's; on the images that all of the row's attacks at this budget hold, those of fewer than 50 images "
        "and those on samples of an older version aside; an attack that was not shown an image has not broken it; mean "
        "over seeds"
    ),
    f"{LOWEST}@<norm>-<eps>_n": "number of these images, the same of each seed",
    f"{LOWEST}@<norm>-<eps>_audit_n": (
        "how many of them the audit's own attacks saw within this budget, the fewest of any seed; empty unless every "
        "seed was audited, 0 where the audit stored no images"
    ),
    f"{LOWEST}@<norm>-<eps>_broken_by": (
        "how many of these images each attack broke, summed over seeds, and how many no other one did (`alone`), "
        "separated by semicolons; the audit's attacks begin with `audit:`; images that are wrong without an attack are "
        "not counted, nor, of a prefiltered attack, those that the filtering attacks had broken before"
    ),
}

DECIMALS = 2  # of percentages and points
DIGITS_COLUMNS = ("collapse_nc1_train", "collapse_nc1_train_reference", "gamma", "gamma_reference")
DISTANCE_DECIMALS = 5
P_DIGITS = 4  # of p-values, and of DIGITS_COLUMNS, whose sizes differ by powers of ten

#: Those that leaderboard.csv always has.
ALWAYS_BESIDE = ("_n", "_diff", "_flags")
