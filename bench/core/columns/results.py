"""results.csv and the per-image outcomes: one row per cell, and one row per image."""

from __future__ import annotations

#: results.csv: one row per cell; accuracies are fractions.
RESULT_COLUMNS = {
    "run_id": "identifier of the trained model: a hash of everything that determines its weights",
    "cell_id": "identifier of the cell: a hash of the run and of everything that determines the cell's result",
    "dataset": "name of the data set",
    "model": "name of the backbone",
    "variant": "name of the training-time idea",
    "seed": "seed of the attack, and of the training if it was trained here",
    "attack": (
        "name of the attack; `clean` is no attack, and `-q500` stops after 500 forward passes per image; empty for a "
        "corruption"
    ),
    "norm": "norm that bounds the perturbation: `linf`, `l2` or `l1`; empty without an attack",
    "eps": "budget in units of [0, 1] pixels; empty without an attack",
    "corruption": "kind of corruption of the images; empty without one",
    "severity": "severity of the corruption, 1 to 5; empty without one",
    "profile": (
        "set of constants of the corruption: `cifar` (32 px), `tiny_imagenet` (64 px) or `imagenet` (224 px); empty "
        "without a corruption"
    ),
    "source": "`generated` here, or read from the `official` files; empty without a corruption",
    "protocol": "`standard` or `prefiltered`",
    "status": "`ok`, `failed` or `skipped`; only `ok` has an accuracy",
    "reason": "why the cell is not `ok`",
    "acc": "share of the n images that are classified correctly after the attack or the corruption",
    "acc_lo": "lower end of the 95 % interval of acc",
    "acc_hi": "upper end of the 95 % interval of acc",
    "ci_method": "method of the interval: `wilson`",
    "robust_acc_lowest": (
        "lowest known robust accuracy of the run at this budget, as a fraction: share of the images correctly "
        "classified under all verified attacks, those of the run and those of the audit; see leaderboard.csv; the same "
        "in all rows of a run and a budget"
    ),
    "robust_acc_lowest_n": "number of images that robust_acc_lowest is computed on, as in leaderboard.csv",
    "broken_by": "number of these images misclassified under each attack, as in leaderboard.csv",
    "n_correct": "number of images classified correctly after the attack or the corruption",
    "n": "number of test images evaluated; 0 for a skipped cell",
    "n_attacked": (
        "number of images the attack was run on: the correctly classified ones, except those misclassified under a "
        "filtering attack"
    ),
    "n_truncated": (
        "number of images that were still correctly classified when `--max-queries` stopped their search; they count "
        "as correct; empty without this bound"
    ),
    "adversarials": "format of the stored adversarial images: `float32` or `uint8`; empty if none are stored",
    "n_broken_8bit": (
        "number of the images misclassified under this attack that stay inside the ball and the box, and stay "
        "misclassified, after rounding to 8 bits; acc is that of the float32 images; empty unless stored as `uint8`"
    ),
    "chance": "`no better than chance` in every row of a run whose clean accuracy is at chance level; else empty",
    "n_test": "number of images in the whole test split",
    "leaked": (
        "number of the n images that are also in the data set's training split, by equal pixels (floats are rounded to "
        "8 bits if all pixels of an image are within 0.1/255 of 8-bit values), or by equal files if these exceed 512 "
        "MiB in total; resized or compressed copies are not found; empty if not known"
    ),
    "n_train": "number of images trained on; empty for a model that was not trained here",
    "epochs": "number of passes over the training images; an incomplete last batch is dropped",
    "lr": "learning rate given to the schedule; the output layer keeps this rate",
    "train_batch_size": "number of images per training batch",
    "weight_decay": "weight decay of the training",
    "train_precision": "floating-point type of the backbone's passes in training: `fp32` or `bf16`",
    "train_eps": "Linf budget of adversarial training, in units of [0, 1] pixels; empty without it",
    "normalization": (
        "normalisation in the network's first layer: mean and std of the `data set`, or of timm's pretrained_cfg for "
        "weights that were trained elsewhere; for a network read by `bench evaluate`, how it was chosen (`given`, "
        "`imagenet`, `from-config`, …), and mean and std; empty for a module, which normalises by itself"
    ),
    "img_size": "side in pixels of the backbone's input",
    "native_size": "side in pixels of the images that are attacked",
    "stem": "`native` as the architecture defines it, `small` for the 3×3 stride-1 stem without pooling",
    "latent_dim": "width of the latents z, the input of the output layer: penultimate layer, or features",
    "schedule": "schedule of the penalty's weight γ; empty without a penalty",
    "gamma": "weight of the penalty in the last step; empty without one",
    "gamma_per_sample": (
        "weight that gamma gives to the norm of z of a single image: gamma/latent_dim on ‖z‖² for a mean of squares; "
        "empty if the penalty has no such constant"
    ),
    "param_count": "number of trained parameters",
    "official": (
        "whether the images are the data set's official files, by checksum; for corruptions read from files, whether "
        "those files are official; for corruptions generated here, whether the uncorrupted images are"
    ),
    "backend": "library that computed the attack",
    "backend_version": "version of that library",
    "attack_version": "version of our definition of the attack; it changes when the results may change",
    "corruption_version": (
        "version of our definition of the corruption; it changes when the images may change; empty without a "
        "corruption and for official files"
    ),
    "corruption_seed": "seed of the corruption's random numbers; empty without a corruption and for official files",
    "files_sha": (
        "hash of the published files of the corruption: MD5 for an array, names and sizes only for image files; for "
        "`frost` generated here, hash of the photographs that were used; else empty"
    ),
    "attack_precision": (
        "floating-point type of the backbone's passes in the search: `fp32` or `bf16`; verdicts are always float32"
    ),
    "flags": "names of the flags that cast doubt on the number, separated by semicolons; empty if there are none",
    "notes": (
        "deviations from the attack's published form, evidence of flags, sampling of a limited number of images, "
        "whether `clean` is no better than chance, and of the data: files left out, class order, duplicate images, and "
        "the largest pixel of a split if it is at most 64 of 255"
    ),
    "max_distance": "largest perturbation among the adversarial images, in the norm of the row",
    "n_forwards": (
        "forward passes of the attack alone, counted per image: search, confirmation and discarded speculative queries"
    ),
    "n_backwards": "backward passes of the attack alone, counted per image",
    "time_s": "wall-clock seconds of the cell: clean predictions, checks of model and gradients, attack, verification",
    "train_time_s": "wall-clock seconds of building and training the model, all parts of an interrupted training",
    "created": "time at which the cell was computed, UTC",
    "batch_size": "number of images per batch",
    "device": "torch device",
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

#: Columns of times and durations; they differ between two runs of one seed.
TIME_COLUMNS = ("time_s", "train_time_s", "created")

#: <cell_id>.samples.csv: one row per image.
SAMPLE_COLUMNS = {
    "sample_id": "name of the image, stable across runs",
    "label": "true class",
    "clean_pred": "predicted class of the clean image; in the cell of a corruption, of the corrupted image",
    "adv_pred": "predicted class of the attacked image, recomputed in float32; without an attack equal to clean_pred",
    "distance": (
        "norm of the perturbation of an image misclassified under the attack; 0 if it was misclassified without it; "
        "empty if it stays correctly classified"
    ),
}
