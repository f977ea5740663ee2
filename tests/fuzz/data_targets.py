"""Fuzz targets: arrays, batches, weights and images. Accepted values must be those that other libraries read."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import pickletools
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import SKIP, Target
from mutations import BINARY, Mutation, any_bytes, numbers
from PIL import Image, ImageOps, features
from safetensors.torch import save

from bench.core.specs import Fitting
from bench.data.cifar import _read_batch
from bench.data.corrupted.array_layout import ArrayLayout
from bench.data.corrupted.arrays import entries
from bench.data.image_files import read_image
from bench.data.mnist import parse_idx, read_idx_bytes
from bench.evaluation.adversarials import Adversarials, dump_adversarials, parse_adversarials
from bench.models.weights import read_checkpoint

RNG = np.random.default_rng(0)
HEADERS: Sequence[Mutation] = (any_bytes, numbers)
COUNT, SIDE = 3, 4
LABELS = np.arange(COUNT)
FOG = RNG.integers(0, 256, (5 * COUNT, SIDE, SIDE, 3), np.uint8)


def _at_start(rng: Any, content: bytes) -> bytes:
    """Mutate the header, which is at the start of most formats."""
    return any_bytes(rng, content[:130]) + content[130:]


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _layout(folder: Path, labels: bytes, fog: bytes) -> ArrayLayout:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.npy").write_bytes(labels)
    (folder / "fog.npy").write_bytes(fog)
    return ArrayLayout(folder, None, LABELS, LABELS, SIDE)


def _read_fog(content: bytes, folder: Path) -> Any:
    return np.array(_layout(folder / "arrays", _npy(LABELS), content).images("fog", 2))


def _expected_fog(content: bytes) -> Any:
    return np.load(io.BytesIO(content), allow_pickle=False)[COUNT : 2 * COUNT]


def _read_sealed_fog(content: bytes, folder: Path) -> Any:
    """As before, with the manifest of the original file."""
    import hashlib

    place = folder / "listed"
    place.mkdir(exist_ok=True)
    listed = {"fog.npy": {"set": "s", "sha256": hashlib.sha256(_npy(FOG)).hexdigest()}}
    (place / "manifest.json").write_text(json.dumps({"files": listed}))
    found = np.array(_layout(place, _npy(LABELS), content).images("fog", 2))
    assert entries(place)
    return found


def _read_labels(content: bytes, folder: Path) -> Any:
    _layout(folder / "labelled", content, _npy(FOG))
    return True


def _expected_labels(content: bytes) -> Any:
    stored = np.load(io.BytesIO(content), allow_pickle=False)
    return stored.tolist() in (LABELS.tolist(), np.tile(LABELS, 5).tolist())


PIXELS = RNG.integers(0, 256, (5, 6, 6), np.uint8)


def _idx() -> Sequence[bytes]:
    plain = struct.pack(">4B3I", 0, 0, 8, 3, *PIXELS.shape) + PIXELS.tobytes()
    return [plain, gzip.compress(plain, mtime=0)]


def _read_idx(content: bytes, folder: Path) -> Any:
    path = folder / "images-idx3-ubyte"
    path.write_bytes(content)
    return parse_idx(read_idx_bytes(path), path, rank=3)


def _expected_idx(content: bytes) -> Any:
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    assert content[:4] == b"\0\0\x08\x03"
    shape = np.frombuffer(content[4:16], ">u4").astype(int)
    return np.frombuffer(content[16:], np.uint8).reshape(shape)


def _batches() -> Sequence[bytes]:
    """CIFAR batches as Python 2 and 3 wrote them."""
    rows = RNG.integers(0, 256, (3, 3072), np.uint8)
    batch = {
        "data": rows,
        "labels": [3, 1, 2],
        "batch_label": "testing batch",
        "filenames": ["a.png", "b.png", "c.png"],
    }
    old = {key.encode(): value for key, value in batch.items()}
    return [pickle.dumps(batch, 2), pickle.dumps(batch, 4), pickle.dumps(old, 2), pickle.dumps(batch, 0)]


def _read_cifar(content: bytes, folder: Path) -> Any:
    path = folder / "batch"
    path.write_bytes(content)
    return _read_batch(path, "labels")


class _Restricted(pickle.Unpickler):
    """Python's unpickler, for numeric arrays of NumPy only."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"), ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.numeric", "_frombuffer"), ("_codecs", "encode"), ("__builtin__", "bytes"),
            ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
        }  # fmt: skip
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return _numeric_dtype if name == "dtype" else super().find_class(module, name)


def _numeric_dtype(code: Any, *arguments: Any) -> Any:
    made = np.dtype(str(code))
    if made.kind not in "biuf":
        raise pickle.UnpicklingError(f"type {code}")
    return made


def _expected_cifar(content: bytes) -> Any:
    for _, argument, _ in pickletools.genops(content):
        if isinstance(argument, int) and argument > 10**6:  # the memo of the unpickler in C would take gigabytes
            return SKIP
    batch = _Restricted(io.BytesIO(content), encoding="latin1").load()
    batch = {key if isinstance(key, str) else key.decode("latin1"): value for key, value in batch.items()}
    return np.asarray(batch["data"]), np.asarray(batch["labels"]).astype(np.int64)


TENSORS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.tensor([0.5, -1.0]), "n": torch.tensor([7])}


def _safetensors() -> Sequence[bytes]:
    return [save(TENSORS, {"arch": "tiny", "class_names": '["a", "b"]'}), save(TENSORS)]


def _read_safetensors(content: bytes, folder: Path) -> Any:
    path = folder / "weights.safetensors"
    path.write_bytes(content)
    return {name: value.numpy() for name, value in read_checkpoint(path).state.items()}


TYPES = {
    "F32": "<f4",
    "I64": "<i8",
    "F16": "<f2",
    "F64": "<f8",
    "I32": "<i4",
    "U8": "u1",
    "I8": "i1",
    "BOOL": "?",
    "I16": "<i2",
}


def _expected_safetensors(content: bytes) -> Any:
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        array = np.frombuffer(data[first:last], TYPES[entry["dtype"]]).reshape(entry["shape"])
        found[name] = array.astype(np.float32) if array.dtype.kind == "f" else array
    return found


STORED = Adversarials(
    ["a", "b"], torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2])
)


def _read_adversarials(content: bytes, folder: Path) -> Any:
    found = parse_adversarials(content, "cell", "weights", where="file")
    return list(found.ids), found.images.numpy(), found.predictions.numpy()


def _expected_adversarials(content: bytes) -> Any:
    found = _expected_safetensors(content)
    length = int.from_bytes(content[:8], "little")
    facts = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["facts"])
    return facts["ids"], found["images"], found["predictions"]


def _images() -> Sequence[bytes]:
    pixels = RNG.integers(0, 256, (8, 8, 3), np.uint8)
    files = []
    for form, mode in (("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("BMP", "RGB"),
                       ("GIF", "P"), ("TIFF", "RGB"), ("WEBP", "RGB"), ("PPM", "RGB"), ("ICO", "RGB"),
                       ("DDS", "RGBA"), *([("AVIF", "RGB")] if features.check("avif") else [])):  # fmt: skip
        file = io.BytesIO()
        options = {"sizes": [(8, 8)]} if form == "ICO" else {}
        Image.fromarray(pixels).convert(mode).save(file, form, **options)
        files.append(file.getvalue())
    return files


def _read_image(content: bytes, folder: Path) -> Any:
    path = folder / "image"
    path.write_bytes(content)
    return read_image(path, Fitting(size=8), fit=False)


def _expected_image(content: bytes) -> Any:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        if image.mode.startswith(("I", "F")):
            return SKIP  # of more than 8 bits: the scaling is ours
        upright = image if image.format == "TIFF" else ImageOps.exif_transpose(image)
        if upright.mode == "P" and "transparency" in upright.info:
            upright = upright.convert("RGBA")
        return np.asarray(upright.convert("RGB")).transpose(2, 0, 1)


def _read_fitted(content: bytes, folder: Path) -> Any:
    """Read an image of any size: only its shape is checked."""
    path = folder / "fitted"
    path.write_bytes(content)
    return read_image(path, Fitting(size=8), fit=True).shape


def _expected_shape(content: bytes) -> Any:
    return (3, 8, 8)


TARGETS = (
    Target("npy images", lambda: [_npy(FOG), _npy(np.asfortranarray(FOG))], _read_fog, (*HEADERS, _at_start),
           _expected_fog),
    Target("npy images in a manifest", lambda: [_npy(FOG)], _read_sealed_fog, (*HEADERS, _at_start)),
    Target("npy labels", lambda: [_npy(LABELS), _npy(np.tile(LABELS, 5))], _read_labels, HEADERS, _expected_labels),
    Target("IDX", _idx, _read_idx, (*BINARY, _at_start), _expected_idx),
    Target("CIFAR batch", _batches, _read_cifar, (*BINARY, _at_start), _expected_cifar),
    Target("safetensors weights", _safetensors, _read_safetensors, (*HEADERS, _at_start), _expected_safetensors),
    Target("adversarial images", lambda: [dump_adversarials(STORED, "cell", "weights")], _read_adversarials,
           (*HEADERS, _at_start), _expected_adversarials),
    Target("image file", _images, _read_image, (*BINARY, _at_start), _expected_image),
    Target("image file, resized", _images, _read_fitted, (*BINARY, _at_start), _expected_shape),
)  # fmt: skip
