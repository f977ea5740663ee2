"""Checksums of the official files. A data set is ``official`` if its files have these checksums.

torchvision verifies the same MD5 checksums. MNIST and Fashion-MNIST are hashed after decompression, because users store
the files compressed or decompressed, and because the gzip header contains a time stamp. The hashes of Fashion-MNIST
were computed from files whose archives have the published MD5, after the original gzip header was restored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from bench.core.limits import DATA
from bench.runtime.input_files import open_input

#: SHA-256 of the decompressed IDX files.
IDX_SHA256: Mapping[str, Mapping[str, str]] = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}

CIFAR10_MD5: Mapping[str, str] = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}

CIFAR100_MD5: Mapping[str, str] = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}

SVHN_MD5: Mapping[str, str] = {
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}


def matches_md5(paths: Mapping[str, Path], published: Mapping[str, str]) -> bool:
    """Return whether the files at ``paths`` have the MD5 checksums in ``published``. All keys are file names."""
    return all(_md5(paths[name]) == md5 for name, md5 in published.items())


def matches_sha256(contents: Mapping[str, bytes], published: Mapping[str, str]) -> bool:
    """Return whether ``contents`` have the SHA-256 checksums in ``published``. All keys are file names.

    Smaller files are hashed first, and the first mismatch ends the check.
    """
    names = sorted(published, key=lambda name: len(contents[name]))
    return all(hashlib.sha256(contents[name]).hexdigest() == published[name] for name in names)


def _md5(path: Path) -> str:
    with open_input(path, DATA) as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
