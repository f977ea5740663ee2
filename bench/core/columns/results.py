"""Columns of results.csv, one row per cell, and of the per-image outcomes, one row per image."""

from __future__ import annotations

#: results.csv: one row per cell. Accuracies are fractions.
RESULT_COLUMNS = {
    "run_id": "identifier of the trained model: a hash of everything that determines its weights",
    "cell_id": "identifier of the cell: a hash of the run and of everything that determines the cell's result",
    "dataset": "name of the data set",
    "model": "name of the backbone",
    "variant": "name of the training-time idea",
    "seed": "seed of the attack, and of the training for a model that was trained here",
    "attack": (
        "name of the attack, with a suffix such as `-q500` if it was stopped after 500 forward passes per image; "
        "`clean` without an attack; empty for a corruption"
    ),
    "norm": "norm that bounds the perturbation: `linf`, `l2` or `l1`; empty without an attack",
    "eps": "budget in units of [0, 1] pixels; empty without an attack",
    "corruption": "kind of corruption of the images; empty without a corruption",
    "severity": "severity of the corruption, 1 to 5; empty without a corruption",
    "profile": (
        "set of constants of the corruption: `cifar` (32 px), `tiny_imagenet` (64 px) or `imagenet` (224 px); empty "
        "without a corruption"
    ),
    "source": "`generated` by this project, or read from `official` files; empty without a corruption",
    "protocol": "`standard` or `prefiltered`",
    "status": "`ok`, `failed` or `skipped`; only `ok` cells have an accuracy",
    "reason": "reason why the cell is not `ok`",
    "acc": "share of the n images that are correctly classified after the attack or the corruption",
    "acc_lo": "lower end of the 95 % interval of acc",
    "acc_hi": "upper end of the 95 % interval of acc",
    "ci_method": "method of the interval: `wilson`",
    "robust_acc_lowest": (
        "lowest known robust accuracy of the run at this budget, as a fraction: share of the images that are correctly "
        "classified under all verified attacks of the run and of the audit; see leaderboard.csv; equal in all rows of "
        "a run and a budget"
    ),
    "robust_acc_lowest_n": "number of images of robust_acc_lowest, as in leaderboard.csv",
    "broken_by": "number of these images misclassified under each attack, as in leaderboard.csv",
    "n_correct": "number of images that are correctly classified after the attack or the corruption",
    "n": "number of test images evaluated; 0 for a skipped cell",
    "n_attacked": (
        "number of images on which the attack was run: images that are correctly classified without an attack and "
        "under all filtering attacks"
    ),
    "n_truncated": (
        "number of images that were still correctly classified when `--max-queries` stopped the attack; they are "
        "counted as correct; empty without this bound"
    ),
    "stages": (
        "stages of an ensemble in the order in which they ran, such as `apgd-ce 450/500 (49500+49500)`: images for "
        "which the stage found an adversarial image, of the images it attacked, and forward and backward passes; the "
        "one pass per image that ranks the classes counts for the first stage; the passes depend on the batch size, as "
        "`n_forwards`; empty for other attacks"
    ),
    "adversarials": "format of the stored adversarial images: `float32` or `uint8`; empty if none are stored",
    "n_broken_8bit": (
        "number of adversarial images that are still misclassified and inside the ball and the box after rounding to 8 "
        "bits; acc refers to the float32 images; empty unless stored as `uint8`"
    ),
    "chance": "`no better than chance` in all rows of a run with a clean accuracy at chance level; otherwise empty",
    "n_test": "number of images in the test split",
    "leaked": (
        "number of the n images that are also in the training split of the data set. Images are compared by their "
        "pixels (floats are rounded to 8 bits if all pixels of an image are within 0.1/255 of 8-bit values), or by "
        "their files if the files exceed 512 MiB in total. Resized or compressed copies are not found. Empty if unknown"
    ),
    "n_train": "number of training images; empty for a model that was not trained here",
    "epochs": "number of training epochs; an incomplete last batch is dropped",
    "optimizer": "optimiser of the training: `adamw` or `sgd`",
    "lr": "learning rate of the recipe, which `lr_schedule` changes during the training",
    "lr_schedule": "schedule of the learning rate: `cosine`, `one_cycle`, or one of a published recipe",
    "train_batch_size": "number of images per training batch",
    "weight_decay": "weight decay of the training",
    "ema": "decay per step of the averaged weights, which are evaluated in place of the last ones; empty if none",
    "train_precision": "floating-point type of the backbone in training: `fp32` or `bf16`",
    "train_norm": "norm of adversarial training; empty without it",
    "train_eps": "budget of adversarial training, in units of [0, 1] pixels; empty without it",
    "normalization": (
        "normalisation in the first layer of the network: mean and std of the `data set`, or of timm's pretrained_cfg "
        "for weights that were trained elsewhere; for a network of `bench evaluate`, the source (`given`, `imagenet`, "
        "`from-config`, …), mean and std; empty for a module, which normalises its input itself"
    ),
    "img_size": "side in pixels of the backbone's input",
    "native_size": "side in pixels of the attacked images",
    "stem": "`native` for the stem of the architecture, `small` for a 3×3 stride-1 stem without pooling",
    "latent_dim": "width of the latents z, the input of the output layer: the penultimate layer or the features",
    "schedule": "schedule of the penalty's weight γ; empty without a penalty",
    "gamma": "weight γ of the penalty in the last step; empty without a penalty",
    "gamma_per_sample": (
        "weight of the norm of z of a single image: gamma/latent_dim for ‖z‖² if the penalty is a mean of squares; "
        "empty if the penalty has no such constant"
    ),
    "param_count": "number of trained parameters",
    "official": (
        "True if the images are official files, by checksum: the files of the corruption if it was read from files, "
        "and otherwise the files of the data set"
    ),
    "backend": "library that computed the attack",
    "backend_version": "version of that library",
    "attack_version": "version of our definition of the attack; increased when the results may change",
    "corruption_version": (
        "version of our definition of the corruption; increased when the images may change; empty without a corruption "
        "and for official files"
    ),
    "corruption_seed": "seed of the corruption's random numbers; empty without a corruption and for official files",
    "files_sha": (
        "hash of the published files of the corruption: MD5 of an array, or hash of names and contents of image files; "
        "for generated `frost`, hash of the photographs; otherwise empty"
    ),
    "attack_precision": (
        "floating-point type of the backbone in the attack: `fp32` or `bf16`; final predictions are always float32"
    ),
    "flags": "names of the flags of the accuracy, separated by semicolons; empty without a flag",
    "notes": (
        "deviations from the published attack, evidence of flags, sampling of a limited number of images, `clean` no "
        "better than chance, and notes on the data: omitted files, class order, duplicate images, and the largest "
        "pixel of a split if it is at most 64 of 255"
    ),
    "max_distance": "largest perturbation among the adversarial images, in the norm of the row",
    "n_forwards": (
        "forward passes of the attack only, counted per image, including confirmation and discarded speculative queries"
    ),
    "n_backwards": "backward passes of the attack only, counted per image",
    "time_s": "wall-clock seconds of the cell: clean predictions, checks of model and gradients, attack, verification",
    "train_time_s": "wall-clock seconds of building and training the model, including interrupted parts",
    "created": "time at which the cell was computed, UTC",
    "batch_size": "number of images per batch in the evaluation",
    "device": "torch device",
    "hardware": "name of the processor or the accelerator",
    "dtype": "floating-point type of the attack; final predictions are always float32",
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

#: Columns of times and durations, which differ between two runs of one seed.
TIME_COLUMNS = ("time_s", "train_time_s", "created")

#: <cell_id>.samples.csv: one row per image.
SAMPLE_COLUMNS = {
    "sample_id": "name of the image, stable across runs",
    "label": "true class",
    "clean_pred": "predicted class of the clean image, or of the corrupted image in a corruption cell",
    "adv_pred": "predicted class of the attacked image, recomputed in float32; without an attack equal to clean_pred",
    "distance": (
        "norm of the perturbation of an image that is misclassified under the attack; 0 if it is also misclassified "
        "without the attack; empty if it stays correctly classified"
    ),
}
