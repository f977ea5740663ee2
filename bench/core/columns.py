"""The columns of every table and what they mean; results/README.md says the same, word for word."""

from __future__ import annotations

#: results.csv: one row a cell; accuracies are fractions.
RESULT_COLUMNS = {
    "run_id": "identifier of the trained model: a hash of everything that made its weights",
    "cell_id": "identifier of the cell: a hash of the run and of everything that made its number",
    "dataset": "name of the data set",
    "model": "name of the backbone",
    "variant": "name of the training-time idea",
    "seed": "seed of the attack, and of the training if it was trained here",
    "attack": (
        "what the images went through; `clean` is no attack, `-q500` is stopped at 500 forward passes an image; empty "
        "for a corruption"
    ),
    "norm": "norm that bounds the perturbation: `linf`, `l2` or `l1`; empty without an attack",
    "eps": "budget in units of [0, 1] pixels; empty without an attack",
    "corruption": "kind of corruption of the images; empty without one",
    "severity": "of the corruption, 1 to 5; empty without one",
    "profile": (
        "whose constants the corruption has: those of `cifar` (32 px), `tiny_imagenet` (64 px) or `imagenet` (224 px); "
        "empty without one"
    ),
    "source": "`generated` here, or read from the `official` files; empty without a corruption",
    "protocol": "`standard` or `prefiltered`",
    "status": "`ok`, `failed` or `skipped`; only `ok` has an accuracy",
    "reason": "why the cell is not `ok`",
    "acc": "share of the n images that are classified correctly after the attack or the corruption",
    "acc_lo": "lower end of the 95 % interval of acc",
    "acc_hi": "upper end of the 95 % interval of acc",
    "ci_method": "how the interval was computed: `wilson`",
    "n_correct": "number of images classified correctly after the attack or the corruption",
    "n": "number of test images evaluated; 0 for a skipped cell",
    "n_attacked": "number of images the attack was run on: those correctly classified, less those already filtered",
    "n_cut": (
        "number of images that were not broken when `--max-queries` stopped their search; they count as correct; empty "
        "without this bound"
    ),
    "adversarials": "how the images that the attack broke are stored: `float32` or `uint8`; empty if they are not",
    "n_broken_8bit": (
        "how many of the images that this attack broke are inside ball and box and still broken when they are rounded "
        "to 8 bits; acc is that of the float32 images; empty unless stored as `uint8`"
    ),
    "n_test": "number of images in the whole test split",
    "n_train": "number of images trained on; empty for a model that was not trained here",
    "epochs": "number of passes over the training images, whole batches of them",
    "lr": "learning rate of the training as given to its schedule; the output layer keeps it",
    "train_batch_size": "images a training batch",
    "weight_decay": "weight decay of the training",
    "train_precision": "floating-point type of the backbone's passes in training: `fp32` or `bf16`",
    "train_eps": "Linf budget of the adversary in training, in units of [0, 1] pixels; empty without one",
    "img_size": "side in pixels on which the backbone works",
    "native_size": "side in pixels of the images that are attacked",
    "stem": "`native` as the architecture defines it, `small` for the 3×3 stride-1 stem without pooling",
    "latent_dim": "width of the latents z, which the output layer sees: the penultimate layer, or the features",
    "schedule": "how the penalty's weight went; empty without a penalty",
    "gamma": "weight of the penalty in the last step; empty without one",
    "gamma_per_sample": (
        "what gamma puts on a single image's own norm of z: gamma/latent_dim on ‖z‖² for a mean of squares; empty "
        "where the penalty has no such constant"
    ),
    "param_count": "number of trained parameters",
    "official": (
        "whether the images are the data set's official files, by checksum; of corruptions read from files, whether "
        "those are; of corruptions generated here, whether what was corrupted is"
    ),
    "backend": "library that computed the attack",
    "backend_version": "version of that library",
    "attack_version": "version of our definition of the attack; it changes when the numbers may",
    "corruption_version": (
        "version of our definition of the corruption; it changes when the images may; empty without one and for "
        "official files"
    ),
    "corruption_seed": "seed of what is drawn for the corruption; empty without one and for official files",
    "files_sha": (
        "hash of the published files of the corruption: MD5 of an array, of image files their names and sizes alone; "
        "empty unless the source is `official`"
    ),
    "attack_precision": (
        "floating-point type of the backbone's passes in the search: `fp32` or `bf16`; verdicts are always float32"
    ),
    "flags": "names of what speaks against the number, separated by semicolons; empty where nothing was found",
    "notes": (
        "what departs from the attack's published form, what a flag rests on, and of `clean` whether it is no better "
        "than chance"
    ),
    "max_distance": "largest perturbation among the adversarial images, in the norm of the row",
    "n_forwards": "forward passes of the attack alone, counted in images: to search, to confirm, and in vain",
    "n_backwards": "backward passes of the attack alone, counted in images",
    "time_s": "wall-clock seconds of the cell: clean predictions, checks of model and gradients, attack, verification",
    "train_time_s": "wall-clock seconds of building and training the model, all parts of an interrupted training",
    "created": "when the cell was computed, UTC",
    "batch_size": "images a batch",
    "device": "device it ran on",
    "hardware": "name of the processor or the accelerator",
    "dtype": "floating-point type of the attack; verdicts are always float32",
    "python": "version of Python",
    "torch": "version of torch",
    "torchvision": "version of torchvision",
    "timm": "version of timm",
    "bench": "version of this project",
    "git_sha": "git revision of this project, `-dirty` when it had local changes; empty outside a checkout",
    "config_sha": "hash of the training configuration without the seed",
    "data_sha": "hash of the test split: ids, labels and content",
    "train_sha": "hash of the training split: ids, labels and content",
    "weights_sha": "hash of the weights",
}

#: results.csv, behind the other columns: one diagnosis a run, repeated in each of its rows. z is the latent of an
#: image, μ_c the mean of z over the images of true class c, μ the mean of the μ_c, W the output weights, K classes,
#: d dimensions. *Invariant* is what does not change when z becomes c·z and W becomes W/c, which leaves the network
#: as it is.
COLLAPSE_COLUMNS = {
    "collapse_nc1": "within-class variability tr(Σ_W Σ_B⁺)/K; 0 when every class is a point; invariant",
    "collapse_equiangularity": "standard deviation over pairs of classes of cos(μ_i − μ, μ_j − μ); invariant",
    "collapse_max_angle": "mean over pairs of classes of abs(cos(μ_i − μ, μ_j − μ) + 1/(K − 1)); invariant",
    "collapse_equinorm": "standard deviation / mean over classes of ‖μ_c − μ‖; invariant",
    "collapse_nc3": "‖W/‖W‖ − M/‖M‖‖, Frobenius, M the rows μ_c − μ; empty for cosine logits; invariant",
    "collapse_nc4": "share of images whose predicted class is that of the nearest class mean; invariant",
    "collapse_cov_norm": "standard deviation / mean over images of ‖z‖; invariant",
    "collapse_cov_abs": "standard deviation / mean over images and dimensions of abs(z_j); invariant",
    "collapse_mean_norm": "mean over images of ‖z‖; scales with z",
    "collapse_distance_ratio": "median over images of ‖z − μ_y‖ / min over c ≠ y of ‖z − μ_c‖; invariant",
    "collapse_dimensions_used": "rank of the class means about their mean; invariant",
    "collapse_effective_rank": "exp of the entropy of the shares of the eigenvalues of Σ_B; invariant",
    "collapse_entropy": (
        "Kozachenko–Leonenko entropy of z at unit root mean square, 20 neighbours, nats a dimension; 1.42 for a "
        "Gaussian; invariant"
    ),
    "collapse_binarity_mean": (
        "share of a dimension's variance that two values explain, rescaled so that a Gaussian has 0 and two values "
        "have 1; mean over dimensions; invariant"
    ),
    "collapse_binarity_min": "the same, least over dimensions; invariant",
    "collapse_vertex_cosine": "mean over classes of cos(μ_c, sign μ_c), 1 at a vertex of a hypercube; invariant",
}
#: Behind a column of COLLAPSE_COLUMNS: on training images, not augmented, in place of test images.
TRAIN_SUFFIX = "_train"
STEEPNESS_COLUMNS = {
    "lipschitz_head_bound": (
        "upper bound, over all features h, of ‖∂(o_i − o_j)/∂h‖₂ for the layers behind the backbone; empty for cosine "
        "logits; invariant where there is a penultimate layer"
    ),
    "lipschitz_head_local_max": (
        "largest ‖∂m/∂h‖₂ over test images, m = o_y − max over j ≠ y of o_j; invariant where there is a penultimate "
        "layer"
    ),
    "lipschitz_head_local_mean": "mean ‖∂m/∂h‖₂ over test images; invariant where there is a penultimate layer",
    "lipschitz_gradient_norm_max": (
        "largest ‖∂m/∂x‖₂ over test images, x in [0, 1] pixels; invariant, but grows with the scale of the logits"
    ),
    "lipschitz_gradient_norm_mean": (
        "mean ‖∂m/∂x‖₂ over test images; invariant, but grows with the scale of the logits"
    ),
    "lipschitz_zero_gradient_share": (
        "share of test images on which ∂m/∂x is exactly 0; a cross-entropy has vanishing gradients earlier; invariant"
    ),
    "lipschitz_local_radius": (
        "median over correct test images of m/‖∂m/∂x‖₂, in pixel L2; invariant, also to a scale of the logits"
    ),
    "deepfool_rho_authors": (
        "mean ‖r‖/‖x‖ of DeepFool as the method's authors compute it: in normalised space, all images, pixels beyond "
        "[0, 1] allowed, r as it comes; invariant"
    ),
    "deepfool_rho_pixels": "mean ‖r‖/‖x‖ in pixels, clipped to [0, 1], over correct images that were fooled; invariant",
    "deepfool_rho_boundary": "the same after r was shortened, by bisection, to the boundary it crosses; invariant",
    "deepfool_fooled_share": "share of the correct images that DeepFool fooled in pixels; invariant",
    "deepfool_median_distance": (
        "median ‖r‖₂ of the shortened perturbations over correct images, in pixel L2, those not fooled at infinity; "
        "invariant"
    ),
}
COUNT_COLUMNS = {
    "collapse_n": "number of test images behind the collapse_ columns",
    "collapse_n_train": "number of training images behind the collapse_…_train columns",
    "lipschitz_n": "number of test images behind the lipschitz_ columns",
    "deepfool_n": "number of test images behind deepfool_rho_authors",
    "deepfool_n_correct": "how many of them are classified correctly",
    "deepfool_n_fooled": "how many of those DeepFool fooled: the images behind deepfool_rho_pixels and _boundary",
}
DIAGNOSTIC_COLUMNS = {
    **COLLAPSE_COLUMNS,
    **{f"{name}{TRAIN_SUFFIX}": f"{meaning}; on training images" for name, meaning in COLLAPSE_COLUMNS.items()},
    **STEEPNESS_COLUMNS,
    **COUNT_COLUMNS,
}

#: results.csv, behind the diagnosis: the audit of the run, in the rows of its attacks. Those of a norm that was audited
#: at one budget have the figures of that budget.
AUDIT_FIGURES = {
    "audit_acc_suite": "robust accuracy in percent that all attacks of the run together leave of the audit's images",
    "audit_acc_plain": "the same of the audit's PGD on the plain float32 cross-entropy",
    "audit_acc_rescaled": "the same of that PGD on logits divided so that their median gap is 8 nats",
    "audit_acc_longer": "the same of the latter with twice the steps",
    "audit_acc_margin": "the same of PGD on the margin",
    "audit_acc_large": "the same of PGD on the margin at the budget that reaches the grey image (linf: 0.5)",
    "audit_fall_margin": "points by which PGD on the margin is below PGD on the rescaled cross-entropy; flags nothing",
    "audit_fall_scale_masking": "points of robust accuracy between PGD on plain and on rescaled logits",
    "audit_fall_more_steps": "points between PGD and PGD with twice the steps",
    "audit_fall_black_box": "points that Square and noise take away beyond all attacks by gradients",
    "audit_fall_transfer": "points that images made on the baseline take away beyond them; empty without a baseline",
    "audit_fall_large_eps": "points that the grey image takes away beyond PGD at the large budget",
    "audit_fall_stronger_attack": "points that the audit takes away beyond the whole suite",
    "audit_detectable": (
        "smallest fall in points that flags when it is seen and no image is gained; a true fall of that size is seen "
        "about every other time; empty if none could have flagged"
    ),
    "audit_broken_8bit": "share of what PGD on the margin breaks that is broken after rounding to 8 bits, too",
    "audit_n_right": (
        "number of right images behind the columns from here on: those of an eighth of the audited images, or of a "
        "quarter with `--full`, and of ten at least; where audit_n is below that of another norm fewer are behind the "
        "perturbed ones"
    ),
    "audit_zero_gradient_ce": "share of right images whose gradient of the plain float32 cross-entropy is exactly 0",
    "audit_zero_gradient_margin": "share of right images whose gradient of the margin is exactly 0",
    "audit_zero_gradient_dlr": "share of right images whose gradient of the DLR loss is exactly 0",
    "audit_tiny_gradient_ce": "share of right images with every entry of that of the cross-entropy below 10⁻¹²",
    "audit_softmax_one": "share of right images whose largest softmax probability is exactly 1 in float32",
    "audit_zero_gradient_ce_perturbed": "the same as audit_zero_gradient_ce after ten steps of an attack at audit_eps",
    "audit_zero_gradient_margin_perturbed": "the same as audit_zero_gradient_margin after these steps",
    "audit_softmax_one_perturbed": "the same as audit_softmax_one after these steps",
    "audit_nonfinite_gradient_ce": "share of right images with NaN or infinity in the gradient of the cross-entropy",
    "audit_logit_gap_q10": "gap between the two largest logits of right images, in nats: a tenth is below it",
    "audit_logit_gap_q50": "the same: half are below it",
    "audit_logit_gap_q90": "the same: nine tenths are below it",
    "audit_float64_disagree": "share of right images that get another class in float64",
    "audit_deepfool_ratio": (
        "mean length of DeepFool's perturbations, in pixel L2, after each was shortened to the boundary it crosses, "
        "over that before; far below 1 DeepFool flatters the model"
    ),
    "audit_ddn_within": (
        "share of right images that DDN breaks within DeepFool's median distance: about 0.5 if DeepFool is as good"
    ),
}
AUDIT_COLUMNS = {
    "audit": (
        "`passed`, `flagged`, `undecided` where no flag could have been raised (too few images, a norm without an "
        "audit, a cell that came later or has fewer images than the audit), or `failed` where the audit itself went "
        "wrong; in a row without an attack of the checks of the model alone; empty without an audit on this test split"
    ),
    "audit_flags": (
        "what the audit found, one that failed what was found before, each flag with its points of robust accuracy "
        "and, behind `@`, the eps they were measured at where it is not the row's; separated by semicolons"
    ),
    "audit_level": "`default`, or `full` with more steps and images and at every budget",
    "audit_eps": "budget that was audited: of those of the norm the one whose accuracy is nearest to half of clean",
    "audit_n": "number of images that were audited",
    "audit_passes": "passes an audited image that the whole audit took, both directions and all norms counted",
    "audit_twin": "run id of the baseline on which images were made that this model was shown",
    **AUDIT_FIGURES,
}

#: Columns that say how long or when; they differ between two runs of one seed.
TIME_COLUMNS = ("time_s", "train_time_s", "created")

NOT_OK = "not ok"  # in the column `status`, behind the number of such cells

#: leaderboard.csv: the columns before those of the attacks; accuracies are percent.
LEADERBOARD_COLUMNS = {
    "rank": (
        "place within the data set by the mean over the budgets of the lowest accuracy that any attack left, then by "
        "clean; equal rows share a place; empty for a row with a cell that is not ok, or without a cell that another "
        "row has, or by another attack of its name than the one that counts there (the newest version, `fp32` before "
        "`bf16`, that of most cells, the latest), or with fewer images than another row has of that, and, without "
        "`--rank-flagged`, for one with a flag at an attack, an audit that failed, or a status `no better than chance`"
    ),
    "dataset": "name of the data set",
    "model": "name of the backbone",
    "variant": "name of the training-time idea",
    "seeds": "number of seeds the accuracies are means over",
    "latent_dim": "width of the latents z, which the output layer sees: the penultimate layer, or the features",
    "schedule": "how the penalty's weight went; empty without a penalty",
    "img_size": "side in pixels on which the backbone works",
    "param_count": "number of trained parameters, in millions",
    "epochs": "number of passes over the training images, whole batches of them",
    "n_train": "number of images trained on; empty for a model that was not trained here",
    "audit": (
        "`passed`, `undecided` where an attack was not audited, or on too few images for a flag, or `failed` where an "
        "audit went wrong and the flags of its seeds, each with the most points that it takes away; empty unless every "
        "seed was audited"
    ),
    "status": (
        "`ok`, or how many cells are not, those among them that would have counted before an ok one, and whether clean "
        "is `no better than chance`, of all seeds or of how many: its 95 % interval reaches down to one of the classes"
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
    "mce_note": "why mce or rel_mce is empty",
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
        "difference to `baseline`, of the same training but for the variant and of the same seeds, in points, over the "
        "images both were evaluated on; empty where an attack of this name was another one for `baseline`"
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

#: comparison.csv: one row a variant and metric that has a baseline to be compared with; accuracies are percent.
COMPARISON_COLUMNS = {
    "dataset": "name of the data set",
    "model": "name of the backbone",
    "variant": "name of the training-time idea",
    "config_sha": "hash of the variant's training configuration without the seed",
    "data_sha": "hash of the test split: ids, labels and content",
    "metric": "column of leaderboard.csv that is compared",
    "n": "number of images that both were evaluated on",
    "seeds": "number of seeds, the same of both",
    "acc": "accuracy of the variant on these images, mean over seeds",
    "acc_baseline": "accuracy of `baseline` on these images, mean over seeds",
    "diff": "acc − acc_baseline, in points",
    "diff_lo": "lower end of the 95 % interval of diff",
    "diff_hi": "upper end of the 95 % interval of diff",
    "interval": "what the interval allows for: other `images`, or other `seeds+images`",
    "lost": "number of images that `baseline` has right and the variant wrong, at the lowest seed",
    "gained": "number of images that the variant has right and `baseline` wrong, at the lowest seed",
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
    "detectable": (
        "difference in points that McNemar's test of two networks would find in 80 % of cases, on so many images of "
        "which as large a share is lost or gained or, if even all of these in one direction are too few, as many as it "
        "takes, all lost or all gained; at 0.05 divided by the number of rows that have a p; of `corruptions_acc` that "
        "of a paired t-test, empty where no image differs; empty where none would be found"
    ),
    "detectable_seeds": (
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
        "measured otherwise"
    ),
    "flags": "names of the flags of the variant's cells, separated by semicolons",
    "flags_baseline": "names of the flags of the baseline's cells, separated by semicolons",
    "note": "why a p is empty, or there is no difference",
    "audit": "what an audit of the variant's runs found; empty without one",
}

#: The tables of ``bench compare`` as CSV or JSON: one row a model, ours or published; accuracies are percent.
COMPARE_COLUMNS = {
    "table": "the protocol under which our rows of the table were measured",
    "rank": (
        "place by robust, then by clean, to two decimals, among the rows of this protocol; equal rows share a place; "
        "empty for a row of another protocol, a flagged one, one that is no better than chance on clean images, one "
        "without a number, and under DeepFool"
    ),
    "model": "`model:variant` of ours, or the published name",
    "published": "whether the numbers are from a publication",
    "clean": "accuracy on clean images",
    "bound": "`≤` before a flagged robust accuracy: it is an upper bound",
    "robust": (
        "lowest known accuracy under attack at this budget, or mean over the 15 corruptions and 5 severities, or "
        "DeepFool's ratio ‖r‖/‖x‖"
    ),
    "flags": "what speaks against robust, separated by semicolons; `unreliable` is RobustBench's own word",
    "n": "number of images behind robust; empty where a publication does not settle it",
    "architecture": "name of the backbone, of published rows in their publishers' words",
    "source": "which of our seeds, or where the number was published",
    "comparable": "whether the row is of the table's protocol",
    "note": "why it is not, and what else has to be said of the number",
}

DECIMALS = 2  # of percentages and points
DISTANCE_DECIMALS = 5
P_DIGITS = 4  # of p-values

#: Those that leaderboard.csv always has.
ALWAYS_BESIDE = ("_n", "_diff", "_flags")

#: samples/<cell>.csv: one row an image.
SAMPLE_COLUMNS = {
    "sample_id": "name of the image, stable across runs",
    "label": "true class",
    "clean_pred": "predicted class of the clean image; in the cell of a corruption, of the corrupted one",
    "adv_pred": "predicted class of the attacked image, recomputed in float32; without an attack the same",
    "distance": "norm of the perturbation of a broken image; 0 if it was wrong from the start; empty if it survived",
}
