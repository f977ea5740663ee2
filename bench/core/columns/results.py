"""results.csv and the per-image outcomes: one row a cell, and one an image."""

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
    "robust_acc_lowest": (
        "of an attack: robust accuracy of the run at this budget, lowest known, as a fraction: the share of the images "
        "that no verified attack broke, neither another one of the run nor one of the audit; see leaderboard.csv; the "
        "same in all rows of a run and a budget"
    ),
    "robust_acc_lowest_n": "number of images behind robust_acc_lowest, as in leaderboard.csv",
    "broken_by": "how many of them each attack broke, as in leaderboard.csv",
    "n_correct": "number of images classified correctly after the attack or the corruption",
    "n": "number of test images evaluated; 0 for a skipped cell",
    "n_attacked": "number of images the attack was run on: those correctly classified, less those already filtered",
    "n_truncated": (
        "number of images that were not broken when `--max-queries` stopped their search; they count as correct; empty "
        "without this bound"
    ),
    "adversarials": "how the images that the attack broke are stored: `float32` or `uint8`; empty if they are not",
    "n_broken_8bit": (
        "how many of the images that this attack broke are inside ball and box and still broken when they are rounded "
        "to 8 bits; acc is that of the float32 images; empty unless stored as `uint8`"
    ),
    "chance": "`no better than chance` in every row of a run whose accuracy on clean images is; else empty",
    "n_test": "number of images in the whole test split",
    "leaked": (
        "how many of the n images are also in the data set's training split, by equal pixels "
        "(floats are rounded to 8 bits if all pixels of an image are within 0.1/255 of 8-bit values), or by equal "
        "files where these are more than 512 MiB; resized or compressed copies are not found; empty if not known"
    ),
    "n_train": "number of images trained on; empty for a model that was not trained here",
    "epochs": "number of passes over the training images, whole batches of them",
    "lr": "learning rate of the training as given to its schedule; the output layer keeps it",
    "train_batch_size": "images a training batch",
    "weight_decay": "weight decay of the training",
    "train_precision": "floating-point type of the backbone's passes in training: `fp32` or `bf16`",
    "train_eps": "Linf budget of the adversary in training, in units of [0, 1] pixels; empty without one",
    "normalization": (
        "what the network's first layer subtracts and divides by: the moments of the `data set`, or the mean and std "
        "of timm's pretrained_cfg for weights that were trained elsewhere; of a network that `bench evaluate` read, "
        "how it was chosen (`given`, `imagenet`, `from-config`, …), mean and std; empty for a module, which does it "
        "itself"
    ),
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
        "of `frost` made here, of the photographs it was made with; else empty"
    ),
    "attack_precision": (
        "floating-point type of the backbone's passes in the search: `fp32` or `bf16`; verdicts are always float32"
    ),
    "flags": "names of what speaks against the number, separated by semicolons; empty where nothing was found",
    "notes": (
        "what departs from the attack's published form, what a flag rests on, how a limited number of images was "
        "drawn, of `clean` whether it is no better than chance, and of the data which files were left out, the order "
        "of its classes, copies among its images, and the largest pixel of a split if it is at most 64 of 255"
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

#: Columns that say how long or when; they differ between two runs of one seed.
TIME_COLUMNS = ("time_s", "train_time_s", "created")

#: samples/<cell>.csv: one row an image.
SAMPLE_COLUMNS = {
    "sample_id": "name of the image, stable across runs",
    "label": "true class",
    "clean_pred": "predicted class of the clean image; in the cell of a corruption, of the corrupted one",
    "adv_pred": "predicted class of the attacked image, recomputed in float32; without an attack the same",
    "distance": "norm of the perturbation of a broken image; 0 if it was wrong from the start; empty if it survived",
}
