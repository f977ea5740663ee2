"""Built-in data sets. Importing this module registers them in :data:`bench.data.registry.DATASETS`."""

from __future__ import annotations

from bench.core.specs import Recipe
from bench.data.cifar import load_cifar10, load_cifar100
from bench.data.digits import load_digits
from bench.data.imagefolder import load_imagefolder
from bench.data.mnist import load_fashion_mnist, load_mnist
from bench.data.registry import DATASETS, DatasetEntry
from bench.data.svhn import load_svhn

ORIGIN = "bench.data"

L2 = ("0.25", "0.5")
L1 = ("6", "12")  # 12 is the budget of the published L1 tables for CIFAR-10
NATURAL = {"linf": ("1/255", "2/255", "8/255"), "l2": L2, "l1": L1}

DATASETS.register(
    "digits",
    DatasetEntry(
        summary="8×8 handwritten digits that come with scikit-learn; 1297 for training, 500 for testing",
        source="Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits",
        load=load_digits,
        num_classes=10,
        image_size=8,
        eps={"linf": ("0.1", "0.15"), "l2": ("0.5", "1"), "l1": ("2", "4")},
        recipe=Recipe(epochs=8, batch_size=32, lr=6e-3, lr_schedule="one_cycle"),
        costly_limit=64,
    ),
    origin=ORIGIN,
)
DATASETS.register(
    "mnist",
    DatasetEntry(
        summary="28×28 handwritten digits; 60,000 for training, 10,000 for testing",
        source="LeCun et al. 1998, Gradient-based learning applied to document recognition",
        load=load_mnist,
        num_classes=10,
        image_size=28,
        eps={"linf": ("0.1", "0.2", "0.3"), "l2": ("1", "2"), "l1": ("5", "10")},
        recipe=Recipe(epochs=10),
        costly_limit=50,
        limit=1000,
    ),
    origin=ORIGIN,
)
DATASETS.register(
    "fashion_mnist",
    DatasetEntry(
        summary="28×28 articles of clothing; 60,000 for training, 10,000 for testing",
        source="Xiao et al. 2017, arXiv 1708.07747",
        load=load_fashion_mnist,
        num_classes=10,
        image_size=28,
        eps={"linf": ("2/255", "4/255", "8/255"), "l2": L2, "l1": L1},
        recipe=Recipe(epochs=15, horizontal_flip=True),
        costly_limit=50,
        limit=1000,
    ),
    origin=ORIGIN,
)
for _name, _classes, _load in (("cifar10", 10, load_cifar10), ("cifar100", 100, load_cifar100)):
    DATASETS.register(
        _name,
        DatasetEntry(
            summary=f"32×32 photographs in {_classes} classes; 50,000 for training, 10,000 for testing",
            source="Krizhevsky 2009, Learning multiple layers of features from tiny images",
            load=_load,
            num_classes=_classes,
            image_size=32,
            eps=NATURAL,
            recipe=Recipe(epochs=30, crop_padding=4, horizontal_flip=True),
            costly_limit=50,
            limit=1000,
        ),
        origin=ORIGIN,
    )
DATASETS.register(
    "svhn",
    DatasetEntry(
        summary="32×32 house numbers from photographs; 73,257 for training, 26,032 for testing",
        source="Netzer et al. 2011, Reading digits in natural images with unsupervised feature learning",
        load=load_svhn,
        num_classes=10,
        image_size=32,
        eps=NATURAL,
        recipe=Recipe(epochs=30, crop_padding=4),
        costly_limit=50,
        limit=1000,
    ),
    origin=ORIGIN,
)
DATASETS.register(
    "imagefolder",
    DatasetEntry(
        summary="your own images: --data-dir with train/<class>/ and test/<class>/ (or val/)",
        source="your own files; the folder's name is the data set's name in every row",
        load=load_imagefolder,
        num_classes=None,
        image_size=None,
        eps=NATURAL,
        recipe=Recipe(epochs=30, crop_padding=4, horizontal_flip=True),
        costly_limit=50,
        limit=1000,
    ),
    origin=ORIGIN,
)
