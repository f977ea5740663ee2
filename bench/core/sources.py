"""Source of a network that was trained elsewhere, for building the network again from the results folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.core.specs import Fitting, Preprocessing, Strict

Kind = Literal["checkpoint", "torchscript", "exported", "onnx", "factory"]
EXTERNAL = "external"  # variant of a network that is not part of a comparison

#: Name of the network file in the folder of the run. A network that was built by a factory is not stored.
STORED_AS: dict[Kind, str] = {
    "checkpoint": "weights.safetensors",
    "torchscript": "network.pt",
    "exported": "network.pt2",
    "onnx": "network.onnx",
}


@dataclass(frozen=True, kw_only=True)
class SourceSpec(Strict):
    """File, construction and preprocessing of a network that was trained elsewhere."""

    kind: Kind
    origin: str  # architecture of a checkpoint, or FILE.py:FACTORY of a factory; otherwise empty
    file: str  # name of the file without its folder
    file_sha: str  # content hash of the file
    num_classes: int
    image_size: int  # side of the data set's images
    fitting: Fitting | None = None  # resize and crop of an image folder's images when they are read
    stem: Literal["native", "small"] | None = None  # stem chosen by the user; None: determined by the weights
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()  # notes on loading the file, such as the selected set of weights

    @property
    def normalization(self) -> str:
        """Description of mean and std, as in results.csv.

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
        """Return the values per input channel. For a network with one input channel, return their average."""
        return (sum(values) / len(values),) if self.preprocessing.channels == 1 else values
