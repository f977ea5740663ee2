"""Published corruptions in folders of image files, which are read while the cell is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import BenchError
from bench.data.corrupted.folder_layout import FolderLayout


def test_an_image_that_changes_after_the_identity_was_compared(tmp_path: Path) -> None:
    """Streamed images are read after the comparison, again and again."""
    for severity in range(1, 6):
        path = tmp_path / "fog" / str(severity) / "cat" / "a.png"
        path.parent.mkdir(parents=True)
        Image.new("L", (16, 16)).save(path)
    layout = FolderLayout(tmp_path, "pets", ["val/cat/a.png"], np.arange(1), 16)
    layout.identity("fog")
    reader = layout.reader("fog", 5)
    assert reader(np.arange(1)).shape == (1, 3, 16, 16)
    Image.new("RGB", (16, 16), "red").save(path)
    with pytest.raises(BenchError, match=r"a\.png changed after the run began"):
        reader(np.arange(1))
