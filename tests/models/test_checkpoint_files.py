"""Files that are no plain weights: told apart by their bytes, refused in one sentence, and never run."""

from __future__ import annotations

import enum
import io
import json
import os
import pickle
import re
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_networks import IMAGES, TinyNetwork
from torch import nn

from bench.core.errors import BenchError
from bench.models.file_kinds import kind_of
from bench.models.torch_files import ALLOWED
from bench.models.weights import load_weights, read_checkpoint

NETWORK = TinyNetwork().eval()


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Any, call: Any = None) -> None:
        self.trace, self.call = trace, call

    def __reduce__(self) -> Any:
        return self.call or (os.mkdir, (str(self.trace),))


class Level(enum.Enum):
    HIGH = 1


def places(payload: Any) -> Any:
    """Files in which an object may be hidden."""
    state = NETWORK.state_dict()
    return {
        "bare": payload,
        "beside": {"state_dict": state, "hook": payload},
        "in args": {"state_dict": state, "args": [{"x": payload}]},
        "in the state": {**state, "_extra_state": payload},
        "as a key": {"model": state, "callbacks": {"a": (payload,)}},
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("place", places(None))
def test_a_pickled_call_is_refused_by_name_and_not_run(tmp_path: Path, place: Any, legacy: Any) -> None:
    trace, path = tmp_path / "trace", tmp_path / "c.pth"
    torch.save(places(Payload(trace))[place], path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(
        BenchError, match=rf"holds a pickled {os.mkdir.__module__}\.mkdir, and .*save the tensors alone"
    ):
        read_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # the trap works


def test_allowed_names_do_not_lead_to_calls(tmp_path: Path) -> None:
    """Whatever the list allows is called with arguments of the file's choice; none of it may do more than hold them."""
    trace = tmp_path / "trace"
    attempts = [
        (getattr, ("text", "upper")),
        (eval, (f"__import__('os').mkdir({str(trace)!r})",)),
        (map, (os.mkdir, [str(trace)])),
        (print, ("ran",)),
    ]
    for call in attempts:
        torch.save({"model": NETWORK.state_dict(), "x": Payload(trace, call)}, tmp_path / "c.pth")
        with pytest.raises(BenchError):
            read_checkpoint(tmp_path / "c.pth")
    assert not trace.exists()


def test_the_list_holds_no_function_that_acts() -> None:
    """Classes of values, and stand-ins of this project."""
    modules = {value.__module__ for value in ALLOWED.values()}
    own = {"bench.models.torch_files", "bench.runtime.stored_arrays"}
    assert modules - own == {"argparse", "types", "_io", "datetime", "builtins"}
    assert {name for name in ALLOWED if name.startswith("builtins.")} == {
        f"builtins.{kind}" for kind in ("bool", "dict", "float", "frozenset", "int", "list", "str", "tuple")
    }


def test_what_a_user_allowed_before_stays_allowed(tmp_path: Path) -> None:
    torch.save({"model": NETWORK.state_dict(), "level": Level.HIGH}, tmp_path / "c.pth")
    with pytest.raises(BenchError, match=r"holds a pickled \S*test_checkpoint_files\.Level"):
        read_checkpoint(tmp_path / "c.pth")
    before = set(torch.serialization.get_safe_globals())
    with torch.serialization.safe_globals([Level]):
        read_checkpoint(tmp_path / "c.pth")
        assert Level in torch.serialization.get_safe_globals()
    assert set(torch.serialization.get_safe_globals()) == before


def write_all(folder: Path) -> None:
    """One file per kind; the names say nothing."""
    torch.save(NETWORK.state_dict(), folder / "a.bin")
    torch.save({"model": NETWORK.state_dict(), "epoch": 1}, folder / "b.bin", _use_new_zipfile_serialization=False)
    torch.jit.trace(NETWORK, IMAGES).save(folder / "c.bin")
    torch.jit.script(NETWORK).save(folder / "d.bin")
    torch.export.save(torch.export.export(NETWORK, (IMAGES,)), folder / "e.pt2")
    os.rename(folder / "e.pt2", folder / "e.bin")
    save_file(NETWORK.state_dict(), folder / "f.bin")
    torch.save(NETWORK, folder / "g.bin")
    torch.save({"model": NETWORK, "epoch": 1}, folder / "h.bin", _use_new_zipfile_serialization=False)
    (folder / "i.bin").write_bytes(pickle.dumps(NETWORK))
    (folder / "j.bin").write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.6.0:\x03\n\x01\x12")
    (folder / "k.bin").write_bytes(b"no model")
    (folder / "l.bin").write_bytes(pickle.dumps({"a": [1]}))
    with zipfile.ZipFile(folder / "m.bin", "w") as archive:
        archive.writestr("weights.pth", "x")
    (folder / "n.bin").write_bytes(b"")


KINDS = (
    "state_dict", "state_dict", "torchscript", "torchscript", "exported", "safetensors", "pickled_module",
    "pickled_module", "pickled_module", "onnx", "unknown", "unknown", "unknown", "unknown",
)  # fmt: skip


def test_kinds_are_told_from_the_bytes(tmp_path: Path) -> None:
    write_all(tmp_path)
    assert tuple(kind_of(path) for path in sorted(tmp_path.iterdir())) == KINDS


def test_whole_networks_given_as_weights_are_one_sentence(tmp_path: Path) -> None:
    write_all(tmp_path)
    expected = {
        "c": "is a TorchScript archive, a whole network rather than a state dict; pass it to --module",
        "e": "is a torch.export program, a whole network",
        "g": "is a pickled module, which would run code when it is loaded, .* --module file.py:function",
        "h": "is a pickled module",
        "j": "is an ONNX file",
        "k": "cannot be read: it is damaged, not a checkpoint",
        "m": "is an archive that torch.save did not write; unpack it",
    }
    for name, sentence in expected.items():
        with pytest.raises(BenchError, match=sentence):
            read_checkpoint(tmp_path / f"{name}.bin")


def test_a_truncated_file_is_one_sentence(tmp_path: Path) -> None:
    write_all(tmp_path)
    for name in "abcdefgh":
        content = (tmp_path / f"{name}.bin").read_bytes()
        for length in (4, 20, len(content) // 2, len(content) - 9):
            (tmp_path / "cut").write_bytes(content[:length])
            with pytest.raises(BenchError):
                read_checkpoint(tmp_path / "cut")


def test_the_tar_format_of_the_first_torch_is_one_sentence(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "c.pth", "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    with pytest.raises(BenchError, match=r"before version 0\.2|an archive that torch\.save did not write"):
        read_checkpoint(tmp_path / "c.pth")


def test_folders_and_shards_are_one_sentence(tmp_path: Path) -> None:
    save_file(NETWORK.state_dict(), tmp_path / "model-00001-of-00002.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {}}))
    with pytest.raises(BenchError, match=r"is a folder; give the file of weights in it, such as model-0"):
        read_checkpoint(tmp_path)
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        with pytest.raises(BenchError, match="is one of several shards"):
            read_checkpoint(tmp_path / name)


def test_weights_of_a_quantised_network_are_one_sentence(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    small = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    torch.save({"state_dict": small.state_dict()}, tmp_path / "c.pth")
    with pytest.raises(BenchError, match=r"weights of a quantised network \(1\._packed.*TorchScript"):
        read_checkpoint(tmp_path / "c.pth")


def test_weights_without_values_are_one_sentence(tmp_path: Path) -> None:
    torch.save(TinyNetwork().to("meta").state_dict(), tmp_path / "c.pth")
    with pytest.raises(BenchError, match="without values, on the meta device"):
        read_checkpoint(tmp_path / "c.pth")


def test_a_long_header_is_no_safetensors_file(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    assert kind_of(tmp_path / "c") == "unknown"


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"checkpoint .* does not exist"):
        kind_of(tmp_path / "gone")


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
def test_weights_that_are_no_floats_do_not_fit(tmp_path: Path, dtype: torch.dtype) -> None:
    """Torch would convert them without a word: int8 codes without their scale, complex numbers without their half."""
    network = TinyNetwork()
    name = next(name for name, _ in network.named_parameters())
    torch.save({**network.state_dict(), name: network.state_dict()[name].to(dtype)}, tmp_path / "c.pth")
    problem = load_weights(network, read_checkpoint(tmp_path / "c.pth").state)
    assert problem == f"1 is no floating-point tensor ({name} {str(dtype).removeprefix('torch.')})"


def test_a_sparse_tensor_is_one_sentence(tmp_path: Path) -> None:
    state = TinyNetwork().state_dict()
    name = next(name for name, value in state.items() if value.dim() == 2)
    torch.save({**state, name: state[name].to_sparse()}, tmp_path / "c.pth")
    with pytest.raises(BenchError, match=rf"holds {re.escape(name)} as a sparse tensor; call to_dense\(\)"):
        read_checkpoint(tmp_path / "c.pth")
