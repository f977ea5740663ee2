"""Find the files of a data set under ``--data-dir``, download them if all are missing, and report missing files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.data import download
from bench.data.registry import DataRequest
from bench.runtime.input_files import exists, is_file, is_folder


@dataclass(frozen=True)
class Layout:
    """File names of one data set, and folders under ``--data-dir`` that may contain them."""

    dataset: str
    torchvision: str  # class in torchvision.datasets that downloads them
    folders: tuple[str, ...]  # searched in this order; the folder of torchvision is first
    files: tuple[str, ...]
    suffixes: tuple[str, ...] = ("",)  # allowed suffixes of a file's name, in order of preference

    @property
    def wanted(self) -> str:
        """File names and suffixes as text for messages."""
        plain_or = "".join(f" or {suffix}" for suffix in self.suffixes if suffix)
        return ", ".join(self.files) + (f" (plain{plain_or})" if plain_or else "")


def require_folder(dataset: str, data_dir: Path | None, *, holding: str) -> Path:
    """Return ``data_dir``. Raise BenchError unless it is a folder. ``holding`` describes the required content."""
    if data_dir is None:
        raise BenchError(f"{dataset} is read from files; give --data-dir DIR, a folder that holds {holding}.")
    if not exists(data_dir, "--data-dir"):
        raise BenchError(f"--data-dir {data_dir} does not exist; {dataset} needs a folder that holds {holding}.")
    if not is_folder(data_dir, "--data-dir"):
        raise BenchError(f"--data-dir {data_dir} is a file; {dataset} needs a folder that holds {holding}.")
    return data_dir


def refuse_options(dataset: str, side: int, request: DataRequest) -> None:
    """Raise BenchError if the request has options for image folders only: another size, name or class order."""
    if request.image_size not in (None, side):
        raise BenchError(
            f"--image-size {request.image_size} does not fit {dataset}, whose images are {side}×{side}; "
            "only an imagefolder can be resized."
        )
    if request.name not in (None, dataset):
        raise BenchError(f"{dataset} cannot be renamed to {request.name!r}; only an imagefolder can be given a name.")
    if request.class_order is not None:
        raise BenchError(f"--class-order is for an imagefolder; the labels of {dataset} are in its files. Omit it.")


def find_files(layout: Layout, data_dir: Path | None) -> Mapping[str, Path]:
    """Return the path of every file of ``layout``, by name. Download the files if all are missing.

    Raises BenchError if only some files are missing, or if the download fails. The message names the files and the
    folder in which to put them.
    """
    root = require_folder(layout.dataset, data_dir, holding=f"{layout.folders[0]}/ with {layout.wanted}")
    paths = _present(layout, root)
    if not paths:
        _download(layout, root)
        paths = _present(layout, root)
    missing = [name for name in layout.files if name not in paths]
    if missing:
        folder = next(iter(paths.values())).parent if paths else root / layout.folders[0]
        raise BenchError(
            f"{layout.dataset}: {folder} lacks {', '.join(missing)}; put {layout.wanted} there, all from one source."
        )
    return paths


def _present(layout: Layout, root: Path) -> dict[str, Path]:
    """Return the existing files of the first folder that has any. Files of several folders are never combined."""
    for folder in layout.folders:
        paths = {}
        for name in layout.files:
            candidates = (root / folder / f"{name}{suffix}" for suffix in layout.suffixes)
            path = next((c for c in candidates if is_file(c)), None)
            if path is not None:
                paths[name] = path
        if paths:
            return paths
    return {}


def _download(layout: Layout, root: Path) -> None:
    try:
        download.download(layout.torchvision, root)
    except download.FAILURES as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise BenchError(
            f"{layout.dataset}: {root} has none of its files and the download failed ({reason}); "
            f"put {layout.wanted} into {root / layout.folders[0]}."
        ) from None
