"""Whole networks from files, and functions that build them."""

from __future__ import annotations

import importlib.util
import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_networks import IMAGES, TinyNetwork, logits
from torch import nn

from bench.core.errors import BenchError
from bench.models.sources import call_factory, load_module

NETWORK = TinyNetwork(seed=1).eval()
BATCH = ({0: torch.export.Dim("batch")},)


@pytest.mark.parametrize("convert", [torch.jit.script, lambda net: torch.jit.trace(net, IMAGES)])
def test_torchscript_gives_the_same_logits(tmp_path: Path, convert: Any) -> None:
    convert(NETWORK).save(tmp_path / "net")
    module = load_module(tmp_path / "net")
    with torch.no_grad():
        assert torch.equal(module(IMAGES), logits(NETWORK))


def test_an_exported_program_gives_the_same_logits_for_any_batch(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(NETWORK, (IMAGES,), dynamic_shapes=BATCH), tmp_path / "net.pt2")
    module = load_module(tmp_path / "net.pt2")
    assert torch.equal(module(IMAGES).detach(), logits(NETWORK))
    assert module(torch.rand(5, 3, 6, 6)).shape == (5, 5)


def test_an_exported_program_for_one_batch_size_is_one_sentence(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(NETWORK, (IMAGES,)), tmp_path / "net.pt2")
    with pytest.raises(BenchError, match="takes batches of exactly 2 images; export it with dynamic_shapes"):
        load_module(tmp_path / "net.pt2")


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(4), nn.Dropout(0.5)])
def test_a_program_exported_in_training_mode_is_one_sentence(tmp_path: Path, layer: Any) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), layer, nn.Flatten())
    program = torch.export.export(network.train(), (IMAGES,), dynamic_shapes=BATCH)
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(BenchError, match=r"was exported in training mode .*call model\.eval\(\)"):
        load_module(tmp_path / "net.pt2")


class Payload:
    def __init__(self, trace: Any) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def test_a_pickle_in_an_exported_program_is_not_run(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(NETWORK, (IMAGES,), dynamic_shapes=BATCH), tmp_path / "net.pt2")
    torch.save({"x": Payload(tmp_path / "trace")}, tmp_path / "payload")
    with zipfile.ZipFile(tmp_path / "net.pt2") as old, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as new:
        for name in old.namelist():
            hidden = "sample_inputs" in name
            new.writestr(name, (tmp_path / "payload").read_bytes() if hidden else old.read(name))
    with pytest.raises(BenchError, match=r"cannot be loaded"):
        load_module(tmp_path / "bad.pt2")
    assert not (tmp_path / "trace").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.skipif(importlib.util.find_spec("onnx2torch") is not None, reason="onnx2torch is installed")
def test_onnx_without_its_package_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(BenchError, match=r"needs the package onnx2torch; run pip install 'collapse-bench\[onnx\]'"):
        load_module(tmp_path / "net.onnx")


def export_onnx(path: Path, opset: int) -> None:
    names = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    torch.onnx.export(NETWORK, (IMAGES,), str(path), dynamo=False, opset_version=opset, **names)


@pytest.mark.skipif(importlib.util.find_spec("onnx2torch") is None, reason="onnx2torch is not installed")
def test_onnx_gives_the_same_logits_and_gradients(tmp_path: Path) -> None:
    export_onnx(tmp_path / "net.onnx", 17)
    module, images = load_module(tmp_path / "net.onnx"), IMAGES.clone().requires_grad_()
    assert torch.allclose(module(images), logits(NETWORK), atol=1e-6)
    (gradient,) = torch.autograd.grad(module(images).square().sum(), images)
    (expected,) = torch.autograd.grad(NETWORK(images).square().sum(), images)
    assert torch.allclose(gradient, expected, atol=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("onnx2torch") is None, reason="onnx2torch is not installed")
def test_onnx_operators_that_are_too_new_are_one_sentence(tmp_path: Path) -> None:
    export_onnx(tmp_path / "net.onnx", 20)
    with pytest.raises(BenchError, match=r"Converter is not implemented .*such as opset_version=17"):
        load_module(tmp_path / "net.onnx")


def test_other_files_are_one_sentence(tmp_path: Path) -> None:
    torch.save(NETWORK.state_dict(), tmp_path / "weights")
    torch.save(NETWORK, tmp_path / "module")
    (tmp_path / "text").write_text("net")
    for name, sentence in {
        "weights": "holds weights without a network; give the model .* with --model",
        "module": "is a pickled module, which would run code",
        "text": "is not a TorchScript archive, a torch.export program or an ONNX file",
    }.items():
        with pytest.raises(BenchError, match=sentence):
            load_module(tmp_path / name)


@pytest.fixture
def imports() -> Any:
    """The interpreter's imports as they were before."""
    path, modules = list(sys.path), dict(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.modules.update(modules)


def project(folder: Path, width: int, package: bool) -> str:
    """A project with a models folder of its own, imported at the top of the file and inside of a function."""
    (folder / "models").mkdir(parents=True)
    if package:
        (folder / "models" / "__init__.py").write_text("")
    (folder / "models" / "net.py").write_text(f"WIDTH = {width}\n")
    (folder / "late.py").write_text(f"WIDTH = {width}\n")
    (folder / f"later_{width}.py").write_text("")
    (folder / "nets.py").write_text(
        "from dataclasses import dataclass\nfrom torch import nn\nfrom models.net import WIDTH\n"
        "@dataclass\nclass Options:\n    width: int = WIDTH\n"
        f"class Net(nn.Linear):\n    def forward(self, x):\n        import later_{width}\n"
        "        return super().forward(x)\n"
        "def make():\n    import late\n    assert late.WIDTH == WIDTH\n    return Net(2, Options().width)\n"
    )
    return f"{folder / 'nets.py'}:make"


@pytest.mark.parametrize("package", [False, True])
def test_a_function_imports_from_its_own_folder(tmp_path: Path, imports: Any, package: Any) -> None:
    sources = [project(tmp_path / name, width, package) for name, width in (("one", 3), ("two", 4), ("three", 5))]
    assert [call_factory(source).out_features for source in sources] == [3, 4, 5]
    assert call_factory(sources[0]).out_features == 3
    assert call_factory(sources[2])(torch.ones(1, 2)).shape == (1, 5)  # imports once more, in its forward pass


def test_modules_of_the_caller_come_back(tmp_path: Path, imports: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = project(tmp_path / "own", 7, True)
    del own
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    import models.net as mine

    call_factory(project(tmp_path / "other", 8, True))
    import models.net as again

    assert again is mine
    assert sys.modules["models.net"].WIDTH == 7


def test_a_relative_path_is_that_of_the_working_folder(
    tmp_path: Path, imports: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, 3, False)
    monkeypatch.chdir(tmp_path)
    assert call_factory("nets.py:make").out_features == 3


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nets.py", "does not name a function; write file.py:function"),
        ("nets.txt:make", "does not name a function"),
        ("nets.py:a b", "does not name a function"),
        ("gone.py:make", r"the file .*gone\.py does not exist"),
        ("nets.py:gone", "has no function 'gone'"),
        ("nets.py:number", "returned a int; it must return a torch.nn.Module"),
        ("nets.py:VALUE", "has no function 'VALUE'"),
        ("nets.py:needs", r"failed: TypeError: needs\(\) missing 1 required .*called without arguments"),
        ("broken.py:make", r"broken\.py failed: ModuleNotFoundError: No module named 'absent_package'"),
        ("syntax.py:make", r"syntax\.py failed: SyntaxError"),
    ],
)
def test_functions_that_cannot_be_called_are_one_sentence(
    tmp_path: Path, imports: Any, monkeypatch: pytest.MonkeyPatch, source: str, sentence: str
) -> None:
    (tmp_path / "nets.py").write_text("VALUE = 1\ndef number():\n    return 1\ndef needs(width):\n    return width\n")
    (tmp_path / "broken.py").write_text("import absent_package\n")
    (tmp_path / "syntax.py").write_text("def\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    with pytest.raises(BenchError, match=sentence):
        call_factory(source)
    assert [place for place in sys.path if place != str(tmp_path)] == before


def test_pickles_are_no_factories(tmp_path: Path) -> None:
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(Payload(tmp_path / "trace")))
    with pytest.raises(BenchError, match="is not a TorchScript archive"):
        load_module(tmp_path / "net.pkl")
    assert not (tmp_path / "trace").exists()
