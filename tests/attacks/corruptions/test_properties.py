"""Properties of all corruptions: bytes in and out, images independent of each other, distance rising with severity."""

from __future__ import annotations

import itertools
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from pictures import Bytes, names, pictures

from bench.attacks.corruptions import apply
from bench.attacks.corruptions.apply import CORRUPTIONS, corrupt_bytes
from bench.attacks.corruptions.severities import PROFILE_SIZES, SEVERITY_LEVELS, Profile
from bench.core.errors import BenchError

KINDS = list(CORRUPTIONS)
SIZES = (8, 28, 32, 64, 96, 224)

#: Severities that are nearer to the clean image than the one before, because of the constants: an elastic jolt that
#: gives way to a finer one, a saturation that first falls and then rises, another kind of frost, glass and fog.
NEARER: dict[tuple[str, Profile], set[int]] = {
    ("elastic_transform", "cifar"): {2, 3, 4, 5},
    ("elastic_transform", "tiny_imagenet"): {2, 3, 4, 5},
    ("elastic_transform", "imagenet"): {3},
    ("fog", "imagenet"): {4},
    ("frost", "cifar"): {4},
    ("frost", "imagenet"): {4},
    ("glass_blur", "cifar"): {2, 3, 5},
    ("glass_blur", "tiny_imagenet"): {2, 4},
    ("glass_blur", "imagenet"): {2, 4},
    ("motion_blur", "cifar"): {4},
    ("saturate", "cifar"): {3},
    ("saturate", "tiny_imagenet"): {3},
    ("saturate", "imagenet"): {3},
}
#: Kinds of which the last severity is nearer to the clean image than the first, in pixels.
LESS_IN_THE_END = {"elastic_transform"}
COUNTS = {"cifar": 150, "tiny_imagenet": 100, "imagenet": 24}
#: A grey image has no saturation to change.
UNCHANGED_IN_GREY = {"saturate"}


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_in_and_bytes_out(kind: str) -> None:
    for side, channels, severity in itertools.product(SIZES, (1, 3), SEVERITY_LEVELS):
        where = f"{channels} channels of {side} px at severity {severity}"
        images = pictures(2, side, channels)
        before = images.copy()
        found = corrupt_bytes(images, names(2), kind, severity)
        assert found.dtype == np.uint8, where
        assert found.shape == images.shape, where
        changed = not np.array_equal(found, images)
        assert changed or side == 8 or (channels == 1 and kind in UNCHANGED_IN_GREY), where
        np.testing.assert_array_equal(images, before, where)


@pytest.mark.parametrize("kind", KINDS)
def test_an_oblong_image(kind: str) -> None:
    images = np.ascontiguousarray(pictures(2, 64)[:, :40])
    assert corrupt_bytes(images, names(2), kind, 5).shape == (2, 40, 64, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_the_same_in_any_company(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images, ids = pictures(9, 32), names(9)
    whole = corrupt_bytes(images, ids, kind, 3)
    order = [4, 2, 8, 0, 7]
    np.testing.assert_array_equal(corrupt_bytes(images[order], [ids[i] for i in order], kind, 3), whole[order])
    np.testing.assert_array_equal(corrupt_bytes(images[5:6], ids[5:6], kind, 3), whole[5:6])
    monkeypatch.setattr(apply, "CHUNK_VALUES", 2 * 32 * 32 * 3)
    np.testing.assert_array_equal(corrupt_bytes(images, ids, kind, 3), whole)


def digest_of_all_kinds() -> str:
    digest = sha256()
    for kind in KINDS:
        digest.update(corrupt_bytes(pictures(3, 32), names(3), kind, 4, seed=5).tobytes())
    return digest.hexdigest()


def test_another_process_makes_the_same_bytes() -> None:
    code = "import test_properties; print(test_properties.digest_of_all_kinds())"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == digest_of_all_kinds()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if CORRUPTIONS.get(kind).random])
def test_seed_severity_and_image_draw_anew(kind: str) -> None:
    twice = np.repeat(pictures(1, 32), 2, axis=0)
    first, second = corrupt_bytes(twice, names(2), kind, 3)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, corrupt_bytes(twice, names(2), kind, 3, seed=1)[0])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not CORRUPTIONS.get(kind).random])
def test_a_kind_without_chance_knows_no_seed(kind: str) -> None:
    images = pictures(2, 32)
    np.testing.assert_array_equal(
        corrupt_bytes(images, names(2), kind, 3), corrupt_bytes(images, ["other", "names"], kind, 3, seed=1)
    )


def distances(images: Bytes, kind: str, profile: Profile) -> list[float]:
    found = [corrupt_bytes(images, names(len(images)), kind, severity, profile=profile) for severity in SEVERITY_LEVELS]
    return [float(np.sqrt(np.mean((f.astype(float) - images) ** 2))) for f in found]


@pytest.mark.parametrize("profile", PROFILE_SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_more_severe_is_farther_away(kind: str, profile: Profile) -> None:
    found = distances(pictures(COUNTS[profile], PROFILE_SIZES[profile]), kind, profile)
    assert (found[4] > found[0]) != (kind in LESS_IN_THE_END), found
    for severity in SEVERITY_LEVELS[1:]:
        ratio = found[severity - 1] / found[severity - 2]
        nearer = severity in NEARER.get((kind, profile), ())
        assert ratio < 1.01 if nearer else ratio > 0.99, (severity, found)


def test_what_is_no_image_is_refused() -> None:
    images = pictures(2, 32)
    for wrong, says in (
        (images.astype(np.float32), "uint8"),
        (images[..., :2], "1 or 3"),
        (images[0], "shape"),
        (images[:, :7], "8 pixels"),
    ):
        with pytest.raises(BenchError, match=says):
            corrupt_bytes(wrong, names(2), "fog", 1)
    with pytest.raises(BenchError, match="1 sample ids for 2 images"):
        corrupt_bytes(images, names(1), "fog", 1)
    with pytest.raises(BenchError, match="severity 6"):
        corrupt_bytes(images, names(2), "fog", 6)
    with pytest.raises(BenchError, match="did you mean 'fog'"):
        corrupt_bytes(images, names(2), "frog", 1)


def test_no_images_give_no_images() -> None:
    assert corrupt_bytes(pictures(1, 64)[:0], [], "snow", 2).shape == (0, 64, 64, 3)


def test_the_large_sets_lie_in_jpeg_files() -> None:
    images = pictures(2, 64)
    bare = corrupt_bytes(images, names(2), "contrast", 1, stored=False)
    through = corrupt_bytes(images, names(2), "contrast", 1)
    assert 0 < np.abs(bare.astype(int) - through).mean() < 8
    small = pictures(2, 32)
    np.testing.assert_array_equal(
        corrupt_bytes(small, names(2), "contrast", 1), corrupt_bytes(small, names(2), "contrast", 1, stored=False)
    )
