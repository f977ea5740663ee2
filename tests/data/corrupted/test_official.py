"""Published sets: small ones in both layouts, and everything that may be wrong with them."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.attacks.corruptions import builtin as builtin  # fills the registry
from bench.attacks.corruptions.registry import CORRUPTIONS
from bench.config import MeasureConfig
from bench.context import RunContext
from bench.core.errors import BenchError, CellFailure
from bench.core.specs import CorruptionSpec
from bench.data.corrupted import official
from bench.data.corrupted.arrays import map_array
from bench.data.corrupted.checksums import PUBLISHED, Published
from bench.data.corrupted.official import OfficialSet
from bench.data.corrupted.open import check_unchanged
from bench.data.corrupted.sets import CorruptedSet
from bench.data.split import Dataset, array_split
from bench.runtime.progress import Progress

COUNT, SIDE = 8, 32
STACKED = np.random.default_rng(0).integers(0, 256, (5 * COUNT, SIDE, SIDE, 3), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9, 2, 6])
ARRAY_IDS = [f"test/{i:05d}" for i in range(COUNT)]
ALL = np.arange(COUNT)


def arrays_in(folder: Path, labels: Any = None) -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / "labels.npy", np.tile(LABELS, 5).astype(np.uint8) if labels is None else labels)
    np.save(folder / "fog.npy", STACKED)
    np.save(folder / "snow.npy", STACKED[::-1])
    return folder


def from_arrays(folder: Path, dataset: str = "other", indices: Any = ALL) -> OfficialSet:
    return OfficialSet(folder, dataset, ARRAY_IDS, LABELS, indices, SIDE)


def test_arrays_are_served_as_they_are(tmp_path: Path) -> None:
    found: CorruptedSet = from_arrays(arrays_in(tmp_path))
    for severity in range(1, 6):
        rows = slice(COUNT * (severity - 1), COUNT * severity)
        assert np.array_equal(found.images("fog", severity), STACKED[rows])
        assert np.array_equal(found.images("snow", severity), STACKED[::-1][rows])
    assert (found.source, found.official) == ("official", False)
    assert from_arrays(tmp_path).kinds == ["fog", "snow"]


def test_some_rows_of_the_split(tmp_path: Path) -> None:
    indices = np.array([1, 4, 7])
    found = from_arrays(arrays_in(tmp_path), indices=indices).images("fog", 2)
    assert np.array_equal(found, STACKED[COUNT + indices])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
@pytest.mark.parametrize("repeats", [1, 5])
def test_labels_once_or_for_every_severity(tmp_path: Path, repeats: int, dtype: Any) -> None:
    from_arrays(arrays_in(tmp_path, np.tile(LABELS, repeats).astype(dtype)))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (
            np.array([*LABELS[:3], 7, *LABELS[4:]]),
            r"labels\.npy has label 7 at index 3, but the test split has",
        ),
        (np.array([*np.tile(LABELS, 5)[:-1], 0]), "has label 0 at index 39, but the test split has label 6"),
        (LABELS[:-1], r"holds int64 of shape \(7,\); 8 or 40 integers are needed"),
        (LABELS.astype(float), "holds float64"),
        (np.array(list("abcdefgh"), dtype=object), "damaged or not an array of numbers: it holds Python objects"),
    ],
)
def test_other_labels(tmp_path: Path, labels: Any, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        from_arrays(arrays_in(tmp_path, labels))


def test_no_labels(tmp_path: Path) -> None:
    (arrays_in(tmp_path) / "labels.npy").unlink()
    with pytest.raises(BenchError, match=r"has no labels\.npy"):
        from_arrays(tmp_path)


def test_a_kind_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"has no frost\.npy; it has fog, snow\."):
        from_arrays(arrays_in(tmp_path)).images("frost", 1)


def test_a_severity_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="severity 0"):
        from_arrays(arrays_in(tmp_path)).images("fog", 0)


@pytest.mark.parametrize("length", [0, 5, 100, 128, 5000, -1])
def test_a_truncated_file(tmp_path: Path, length: int) -> None:
    path = arrays_in(tmp_path) / "fog.npy"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(BenchError, match=r"fog\.npy is damaged .* download or unpack it again"):
        from_arrays(tmp_path).images("fog", 1)


def test_a_header_of_four_gigabytes(tmp_path: Path) -> None:
    """Memory for the whole header would be allocated before it is read."""
    sizes = []

    class Recorded(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            sizes.append(size)
            return super().read(size if size is not None and 0 <= size < 10**6 else 10**6)

    path = tmp_path / "labels.npy"
    path.write_bytes(b"\x93NUMPY\x02\x00" + b"\xff" * 4 + b"{'descr': '|u1'}")
    with Recorded(io.FileIO(path)) as file, pytest.raises(ValueError, match="header"):
        map_array(file)
    assert max(sizes) < 10**6


@pytest.mark.parametrize("shape", ["(10000000000000000000000,)", "(-3,)", "(4000000000, 4000000000, 4000000000)"])
def test_a_header_with_an_impossible_shape(tmp_path: Path, shape: str) -> None:
    """NumPy raises OverflowError for the first."""
    folder = arrays_in(tmp_path)
    file = io.BytesIO()
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 50)
    (folder / "labels.npy").write_bytes(file.getvalue())
    with pytest.raises(BenchError, match="is damaged or not an array of numbers"):
        from_arrays(folder)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (STACKED.astype(np.float32), r"fog\.npy holds float32 of shape \(40, 32, 32, 3\); uint8 of shape"),
        (STACKED[:-1], r"shape \(39, 32, 32, 3\); uint8 of shape \(40, 32, 32, 3\) is needed, 8 test images"),
        (STACKED.transpose(0, 3, 1, 2), r"shape \(40, 3, 32, 32\)"),
    ],
)
def test_arrays_of_another_type_or_shape(tmp_path: Path, images: Any, sentence: str) -> None:
    np.save(arrays_in(tmp_path) / "fog.npy", images)
    with pytest.raises(BenchError, match=sentence):
        from_arrays(tmp_path).images("fog", 1)


@pytest.mark.parametrize(("dataset", "record"), [("cifar10", 2535967), ("cifar100", 3555552)])
def test_files_that_are_not_the_published_ones(tmp_path: Path, dataset: str, record: int) -> None:
    sentence = (
        rf"labels\.npy is not the published file: its MD5 is \w{{32}}, .* download it again \(Zenodo .* {record}\)"
    )
    with pytest.raises(BenchError, match=sentence):
        from_arrays(arrays_in(tmp_path), dataset)


def test_every_file_is_held_to_its_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays_in(tmp_path)
    md5 = {f"{k}.npy": hashlib.md5((tmp_path / f"{k}.npy").read_bytes()).hexdigest() for k in ("fog", "labels")}
    monkeypatch.setattr(official, "PUBLISHED", {"cifar10": Published("CIFAR-10-C", 1, md5 | {"frost.npy": "0" * 32})})
    np.save(tmp_path / "frost.npy", STACKED)
    found = from_arrays(tmp_path, "cifar10")
    assert found.official
    assert np.array_equal(found.images("fog", 1), STACKED[:COUNT])
    with pytest.raises(BenchError, match=r"frost\.npy is not the published file"):
        found.images("frost", 1)
    with pytest.raises(BenchError, match=r"snow\.npy is not a file of the published CIFAR-10-C"):
        found.images("snow", 1)


def entry(path: Path, of: str = "a") -> dict[str, str]:
    return {"set": of, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def manifest_in(folder: Path, **of: str) -> None:
    """As 'bench corrupt' writes it, of files that are as they are now; ``of`` names the set of each."""
    files = {f"{name}.npy": entry(folder / f"{name}.npy", one) for name, one in of.items()}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))


@pytest.mark.parametrize("name", ["fog", "labels"])
def test_files_are_held_to_a_manifest_of_ours(tmp_path: Path, name: str) -> None:
    manifest_in(arrays_in(tmp_path), fog="a", labels="a")
    assert np.array_equal(from_arrays(tmp_path).images("fog", 1), STACKED[:COUNT])
    path = tmp_path / f"{name}.npy"
    np.save(path, np.load(path).astype(np.int32) if name == "labels" else 255 - STACKED)
    with pytest.raises(BenchError, match=rf"{name}\.npy does not have the SHA-256 listed for it in manifest\.json"):
        from_arrays(tmp_path).images("fog", 1)


def test_a_file_that_the_manifest_does_not_name_is_read(tmp_path: Path) -> None:
    manifest_in(arrays_in(tmp_path), fog="a", labels="a")
    assert np.array_equal(from_arrays(tmp_path).images("snow", 1), STACKED[::-1][:COUNT])


def test_a_manifest_of_two_sets(tmp_path: Path) -> None:
    manifest_in(arrays_in(tmp_path), fog="a", snow="b", labels="a")
    with pytest.raises(BenchError, match=r"labels\.npy and snow\.npy in the same folder belong to different sets"):
        from_arrays(tmp_path)
    (tmp_path / "snow.npy").unlink()
    from_arrays(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{", '{"files": ["fog.npy"]}', '{"files": {"fog.npy": {"sha256": "0"}}}'])
def test_a_manifest_of_somebody_else_is_left_alone(tmp_path: Path, content: str) -> None:
    (arrays_in(tmp_path) / "manifest.json").write_text(content)
    assert np.array_equal(from_arrays(tmp_path).images("fog", 1), STACKED[:COUNT])


def test_published_checksums_go_before_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest_in(arrays_in(tmp_path), fog="a", snow="b", labels="a")
    md5 = {f"{k}.npy": hashlib.md5((tmp_path / f"{k}.npy").read_bytes()).hexdigest() for k in ("fog", "labels")}
    monkeypatch.setattr(official, "PUBLISHED", {"cifar10": Published("CIFAR-10-C", 1, md5)})
    assert np.array_equal(from_arrays(tmp_path, "cifar10").images("fog", 1), STACKED[:COUNT])


@pytest.mark.parametrize("name", ["fog", "labels"])
def test_a_part_of_the_test_images(tmp_path: Path, name: str) -> None:
    path = arrays_in(tmp_path) / f"{name}.npy"
    np.save(path, np.load(path)[:15])
    with pytest.raises(BenchError, match="all test images are needed, and 'bench corrupt --limit' writes only some"):
        from_arrays(tmp_path).images("fog", 1)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_the_table_has_every_file_once(dataset: str) -> None:
    md5 = PUBLISHED[dataset].md5
    assert set(md5) == {"labels.npy", *(f"{kind}.npy" for kind in CORRUPTIONS)}
    assert len(set(md5.values())) == 20
    assert all(len(value) == 32 and set(value) <= set("0123456789abcdef") for value in md5.values())


FOLDER_IDS = ["val/cat/01.jpeg", "val/cat/02.JPEG", "val/dog/01.png", "val/dog/sub/03.png"]


def picture(index: int, severity: int) -> Any:
    return np.full((SIDE, SIDE, 3), [40 * index, 20 * severity, 200], np.uint8)


def folders_in(folder: Path, family: str = "") -> Path:
    for kind in ("fog", "snow"):
        for severity in range(1, 6):
            for index, sample_id in enumerate(FOLDER_IDS):
                _, class_name, *_, name = sample_id.split("/")
                path = folder / family / kind / str(severity) / class_name / f"{name.partition('.')[0]}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture(index, severity)).save(path)
    return folder


def from_folders(folder: Path, ids: Any = FOLDER_IDS, indices: Any = None, side: int = SIDE) -> OfficialSet:
    chosen = np.arange(len(ids)) if indices is None else np.array(indices)
    return OfficialSet(folder, "pets", ids, np.zeros(len(ids), np.int64), chosen, side)


@pytest.mark.parametrize("family", ["", "weather"])
def test_image_files_are_matched_by_class_and_stem(tmp_path: Path, family: str) -> None:
    found = from_folders(folders_in(tmp_path, family), indices=[3, 0, 2])
    assert np.array_equal(found.images("snow", 4), np.stack([picture(i, 4) for i in (3, 0, 2)]))
    assert (found.source, found.official, found.kinds) == ("official", False, ["fog", "snow"])


def spec_of(found: OfficialSet, kind: str = "fog") -> CorruptionSpec:
    return CorruptionSpec(kind=kind, severity=1, source="official", profile="cifar", files_sha=found.identity(kind))


@pytest.mark.parametrize("linked", [False, True])
def test_image_files_are_known_by_content(tmp_path: Path, linked: bool) -> None:
    """Swap two images of equal size. A folder of a class may be a link."""
    folder = folders_in(tmp_path / "files")
    if linked:
        (folder / "fog/1/dog").rename(tmp_path / "dog")
        (folder / "fog/1/dog").symlink_to(tmp_path / "dog")
    found, files = from_folders(folder), sorted((folder / "fog/1/dog").iterdir())[:2]
    before, snow = spec_of(found), spec_of(found, "snow")
    assert len({file.stat().st_size for file in files}) == 1
    for name in ("Thumbs.db", ".DS_Store"):
        (folder / "fog" / name).write_text("of the system")
    check_unchanged(before, found)
    assert spec_of(from_folders(folder)) == before
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, reversed(contents), strict=True):
        file.write_bytes(content)
    with pytest.raises(BenchError, match="the files of fog in --corruptions-dir changed after the run began"):
        check_unchanged(before, found)
    assert spec_of(from_folders(folder)) != before
    assert spec_of(from_folders(folder), "snow") == snow
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    assert spec_of(from_folders(folder)) == before


def test_arrays_are_known_by_content(tmp_path: Path) -> None:
    found = from_arrays(arrays_in(tmp_path))
    before = spec_of(found)
    found.images("fog", 1)
    np.save(tmp_path / "fog.npy", STACKED[::-1])
    with pytest.raises(BenchError, match="the files of fog in --corruptions-dir changed after the run began"):
        check_unchanged(before, found)
    assert spec_of(from_arrays(tmp_path)) != before


def test_a_folder_that_changes_during_a_run_fails_the_cell(tmp_path: Path) -> None:
    """The network may have been trained for hours after the folder was hashed."""
    images = np.zeros((COUNT, 3, SIDE, SIDE), np.uint8)
    split = array_split("test", images, LABELS)
    data = Dataset("other", split, split, 10, SIDE, official=False)
    config = MeasureConfig(corruptions_dir=arrays_in(tmp_path / "files"), results=tmp_path, device="cpu")
    context = RunContext.of(config, data, eps_texts={}, progress=Progress())
    spec = spec_of(from_arrays(tmp_path / "files"))
    assert np.array_equal(context.corrupted(spec, None).pixels.permute(0, 2, 3, 1).numpy(), STACKED[:COUNT])
    np.save(tmp_path / "files/fog.npy", STACKED[::-1])
    with pytest.raises(CellFailure, match="changed after the run began") as failed:
        context.corrupted(spec, None)
    assert failed.value.reason == "corruption_error"


def test_an_image_that_is_missing(tmp_path: Path) -> None:
    (folders_in(tmp_path) / "fog/2/dog/01.png").unlink()
    with pytest.raises(
        BenchError, match=r"fog/2/dog/01\.\* is missing: it is the corruption of the test image val/dog/01\.png"
    ):
        from_folders(tmp_path).images("fog", 2)
    assert len(from_folders(tmp_path, indices=[0, 1]).images("fog", 2)) == 2, "nobody asked for it"


def test_a_kind_that_is_there_twice(tmp_path: Path) -> None:
    folders_in(folders_in(tmp_path, "weather"), "old")
    with pytest.raises(BenchError, match=r"old/fog and .*weather/fog are both called fog; remove one of them"):
        from_folders(tmp_path)


def test_a_severity_that_is_missing(tmp_path: Path) -> None:
    (folders_in(tmp_path) / "fog/2").rename(tmp_path / "elsewhere")
    with pytest.raises(BenchError, match=r"fog/2 is missing"):
        from_folders(tmp_path).images("fog", 2)
    with pytest.raises(BenchError, match="severity 6"):
        from_folders(tmp_path).images("fog", 6)


@pytest.mark.parametrize("missing", ["fog/2/dog/01.png", "fog/2"])
def test_what_is_missing_is_seen_without_reading_images(tmp_path: Path, missing: str) -> None:
    (folders_in(tmp_path) / missing).rename(tmp_path / "elsewhere")
    found = from_folders(tmp_path)
    found.check("fog", 1)
    with pytest.raises(BenchError, match=rf"{missing.partition('.')[0]}\S* is missing"):
        found.check("fog", 2)


def test_the_size_is_seen_in_the_first_image(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"cat/01\.png is 32×32 but the data set's images are 16×16"):
        from_folders(folders_in(tmp_path), side=16).check("fog", 1)


def test_a_kind_of_images_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"has no corruption frost; it has fog, snow\."):
        from_folders(folders_in(tmp_path)).images("frost", 1)


@pytest.mark.parametrize("side", [16, 33])
def test_images_of_another_size(tmp_path: Path, side: int) -> None:
    with pytest.raises(BenchError, match=rf"01\.png is 32×32 but .* {side}×{side}; .* never res"):
        from_folders(folders_in(tmp_path), side=side).images("fog", 1)


def test_an_image_that_is_damaged(tmp_path: Path) -> None:
    (folders_in(tmp_path) / "fog/1/cat/01.png").write_bytes(b"no image")
    with pytest.raises(BenchError, match=r"01\.png is damaged"):
        from_folders(tmp_path).images("fog", 1)


def test_images_that_cannot_be_told_apart(tmp_path: Path) -> None:
    folders_in(tmp_path)
    with pytest.raises(BenchError, match=r"val/cat/1\.png and val/cat/1\.jpg differ by folder or extension only"):
        from_folders(tmp_path, ["val/cat/1.png", "val/cat/1.jpg"])
    Image.fromarray(picture(0, 1)).save(tmp_path / "fog/1/cat/01.bmp")
    with pytest.raises(BenchError, match="match the same test image"):
        from_folders(tmp_path).images("fog", 1)


def test_image_files_for_a_set_of_arrays(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"fit an imagefolder only; pets needs <kind>\.npy files"):
        from_folders(folders_in(tmp_path), ARRAY_IDS)


def test_folders_that_hold_no_corruptions(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"neither <kind>\.npy files nor"):
        from_arrays(tmp_path)
    with pytest.raises(BenchError, match="is not a folder"):
        from_arrays(tmp_path / "absent")
