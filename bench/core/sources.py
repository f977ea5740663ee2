"""Source of a network that was trained elsewhere, from which the results folder can build it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.core.specs import Fitting, Preprocessing, Strict

Kind = Literal["checkpoint", "torchscript", "exported", "onnx", "factory"]
EXTERNAL = "external"  # variant of a network that is not part of a comparison

#: File in the run's folder that holds the network. A factory's network is not stored.
STORED_AS: dict[Kind, str] = {
    "checkpoint": "weights.safetensors",
    "torchscript": "network.pt",
    "exported": "network.pt2",
    "onnx": "network.onnx",
}


@dataclass(frozen=True, kw_only=True)
class SourceSpec(Strict):
    """A network that was trained elsewhere: its file, its construction, and the preprocessing of its images."""

    kind: Kind
    origin: str  # architecture of a checkpoint; file.py:factory of a factory; else empty
    file: str  # name of the file without its folder
    file_sha: str  # content hash of the file
    num_classes: int
    image_size: int  # side of the data set's images
    fitting: Fitting | None = None  # resize and crop of an image folder's images when they are read
    stem: Literal["native", "small"] | None = None  # stem that the user chose; None: by the weights
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()  # remarks on reading the file, such as the set of weights that was chosen

    @property
    def normalization(self) -> str:
        """Mean and std as in results.csv.

        >>> from bench.core.specs import Preprocessing
        >>> SourceSpec(kind="onnx", origin="", file="a.onnx", file_sha="", num_classes=2, image_size=8,
        ...     preprocessing=Preprocessing(normalization="given", mean=(0.5,), std=(0.25,))).normalization
        'given: mean (0.5), std (0.25)'
        """
        chosen = self.preprocessing
        if chosen.mean is None or chosen.std is None:
            return chosen.normalization
        mean, std = (", ".join(f"{value:g}" for value in self._fed(values)) for values in (chosen.mean, chosen.std))
        return f"{chosen.normalization}: mean ({mean}), std ({std})"

    def _fed(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """Return the values per input channel; for a network with one input channel, their average."""
        return (sum(values) / len(values),) if self.preprocessing.channels == 1 else values
