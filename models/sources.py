"""Load whole networks from TorchScript archives, torch.export programs, ONNX files, or functions of users."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import site
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from bench.core.errors import BenchError, first_line
from bench.core.limits import MODULE
from bench.core.paths import shown
from bench.models.file_kinds import kind_of
from bench.runtime.foreign_code import foreign_code
from bench.runtime.input_files import exists, read_input, resolved
from bench.runtime.source_loader import SourceLoader, import_from_source

ONLY_TENSORS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # environment variable that makes torch refuse pickled objects
SAVE_AGAIN = {
    "torchscript": f"save it again with torch {torch.__version__}",
    "exported": f"export it again with torch {torch.__version__}",
    "onnx": "export it with an older set of operators that onnx2torch supports, such as opset_version=17",
}
ABOVE = Path(sys.modules["bench"].__file__ or "").resolve().parents[1]
CHECKOUT = ABOVE if (ABOVE / "pyproject.toml").is_file() else None  # None if the package is installed
TRAINING_OPERATORS = ("dropout", "batch_norm", "feature_dropout", "alpha_dropout")


def load_module(path: Path) -> nn.Module:
    """Load the network in a TorchScript archive, a torch.export program or an ONNX file, on the CPU.

    Only tensors are unpickled. Raises BenchError for other files, and if the package for ONNX files is not installed.
    Also raises BenchError for a program that was exported in training mode or for a fixed batch size.
    """
    kind = kind_of(path)
    loaders: dict[str, Callable[[Path], nn.Module]] = {
        "torchscript": _load_scripted,
        "exported": _load_exported,
        "onnx": _load_onnx,
    }
    if kind not in loaders:
        raise BenchError(_other_kind(path, kind))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = loaders[kind](path)
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(
            f"the network in {path} cannot be loaded ({type(error).__name__}: {first_line(error)}); "
            f"{SAVE_AGAIN[kind]}, or pass a function that builds it with --module file.py:function."
        ) from error
    return module


def _other_kind(path: Path, kind: str) -> str:
    if kind in ("state_dict", "safetensors"):
        return f"{path} holds weights without a network; give the model of these weights with --model."
    if kind == "pickled_module":
        return (
            f"{path} is a pickled module, which would run code when it is loaded; save its state dict or a TorchScript "
            "archive, or load it in a function of your own and pass the function with --module file.py:function."
        )
    return f"{path} is not a TorchScript archive, a torch.export program or an ONNX file; give one of these."


def _load_scripted(path: Path) -> nn.Module:
    """Load an archive. Raises BenchError for a trace in training mode: a trace cannot change its mode later."""
    module: nn.Module = torch.jit.load(str(path), map_location="cpu")
    graph: Any = module.inlined_graph
    for kind, index in (("aten::batch_norm", 5), ("aten::dropout", 2)):  # index of the argument for training mode
        if any(list(node.inputs())[index].toIValue() is True for node in graph.findAllNodes(kind)):
            raise BenchError(
                f"the network in {path} was traced in training mode ({kind}); call model.eval() before torch.jit.trace."
            )
    return module


def _load_exported(path: Path) -> nn.Module:
    with _only_tensors():
        program = torch.export.load(str(path))
    _check_program(program, path)
    module: nn.Module = program.module()
    return module


@contextmanager
def _only_tensors() -> Iterator[None]:
    original = os.environ.get(ONLY_TENSORS)
    os.environ[ONLY_TENSORS] = "1"
    try:
        yield
    finally:
        os.environ.pop(ONLY_TENSORS)
        if original is not None:
            os.environ[ONLY_TENSORS] = original


def _check_program(program: Any, path: Path) -> None:
    """Raise BenchError for a program that was exported in training mode or for a fixed batch size.

    An exported program cannot change its mode. Its batch size is fixed unless dynamic_shapes was given.
    """
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in inputs:
            size = node.meta["val"].shape[0] if getattr(node.meta.get("val"), "ndim", 0) else None
            if isinstance(size, int):
                raise BenchError(
                    f"the program in {path} takes batches of exactly {size} images; export it with "
                    "dynamic_shapes=({0: torch.export.Dim('batch')},)."
                )
        if _is_training(node):
            raise BenchError(
                f"the program in {path} was exported in training mode ({node.target}); call model.eval() before "
                "torch.export.export."
            )


def _is_training(node: Any) -> bool:
    """Return whether the node is a dropout or a batch norm in training mode."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not any(name in schema.name for name in TRAINING_OPERATORS):
        return False
    names = [argument.name for argument in schema.arguments]
    arguments = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    return arguments.get("train") is True or arguments.get("training") is True


def _refuse_external_data(path: Path) -> None:
    """Raise BenchError if the weights are in another file. The stored copy of the network would lack them."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise BenchError(f"the weights of {path} are in another file; save one file, with external_data=False.")


def _load_onnx(path: Path) -> nn.Module:
    try:
        import onnx2torch
    except ImportError as error:
        raise BenchError(
            f"{path} is an ONNX file, which needs the package onnx2torch; run pip install 'collapse-bench[onnx]'."
        ) from error
    _refuse_external_data(path)
    module: nn.Module = onnx2torch.convert(str(path))
    return module.eval()


def call_factory(source: str) -> nn.Module:
    """Call the function ``source``, "file.py:function", without arguments, and return the module that it builds.

    As for a script, modules in the folder of the file are imported first. Raises BenchError for a missing file or
    function, if the function fails, and if it does not return a module.
    """
    file, _, name = source.rpartition(":")
    path = resolved(Path(file), MODULE.name)
    if not file or not name.isidentifier() or path.suffix != ".py":
        raise BenchError(
            f"{shown(source)!r} does not name a function; write file.py:function, such as nets.py:make_net."
        )
    if not exists(path, MODULE.name):
        raise BenchError(
            f"{shown(source)!r}: the file {shown(path)} does not exist; give the path of an existing Python file."
        )
    read_input(path, MODULE)  # raises BenchError unless it is a regular file of a possible size
    with _folder_first(path.parent):
        factory = getattr(_run_file(path), name, None)
        if not callable(factory):
            raise BenchError(f"{path} has no function {name!r}; give the name of a function that returns the network.")
        try:
            with foreign_code():
                module = factory()
        except Exception as error:
            raise BenchError(
                f"{source!r} failed: {type(error).__name__}: {first_line(error)}. It is called without arguments and "
                "must return the network with its weights."
            ) from error
    if not isinstance(module, nn.Module):
        raise BenchError(f"{source!r} returned a {type(module).__name__}; it must return a torch.nn.Module.")
    return module


def _run_file(path: Path) -> ModuleType:
    """Import the file once, under a unique module name. Raises BenchError if the import fails."""
    name = f"bench_module_{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    import_from_source(path.parent)
    spec = importlib.util.spec_from_file_location(name, path, loader=SourceLoader(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look modules up here
    try:
        with foreign_code():
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise BenchError(f"{path} failed: {type(error).__name__}: {first_line(error)}.") from error
    return module


@contextmanager
def _folder_first(folder: Path) -> Iterator[None]:
    """Put ``folder`` first on sys.path, and temporarily remove modules that would hide its files from sys.modules.

    Afterwards, restore the removed modules and put the folder last on sys.path. Later imports inside functions then
    still find its modules, but the caller's own modules come first. The checkout of this project is removed from the
    path, since its folder ``models`` would hide a user's folder of this name.
    """
    removed = {name: module for name, module in sys.modules.items() if _hides(name, module, folder)}
    for name in removed:
        del sys.modules[name]
    original = list(sys.path)
    sys.path[:] = [str(folder), *(entry for entry in original if Path(entry).resolve() != CHECKOUT)]
    try:
        yield
    finally:
        added = [entry for entry in sys.path[1:] if entry not in original]
        sys.path[:] = [*original, *added, *([] if str(folder) in original else [str(folder)])]
        sys.modules.update(removed)


def _hides(name: str, module: ModuleType, folder: Path) -> bool:
    """Return whether ``module``, from another folder of the user, would hide a module in ``folder``."""
    top = name.partition(".")[0]
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    if top == "bench" or not file or not ((folder / f"{top}.py").is_file() or (folder / top).is_dir()):
        return False
    excluded = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *site.getsitepackages(), folder)
    return not any(Path(file).is_relative_to(str(entry)) for entry in excluded)
