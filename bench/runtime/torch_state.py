"""Set the global state of PyTorch for an evaluation, and restore the state of the caller afterwards.

If the caller uses ``torch.no_grad()``, gradient attacks fail. Autocast and reduced-precision matrix products change
float32 predictions. :func:`harness_torch_state` sets every switch that affects an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import backends, overrides
from torch.utils import _python_dispatch
from torch.utils._device import DeviceContext

from bench.core.errors import BenchError, CellFailure
from bench.runtime.turns import own_turn

#: Device types whose autocast is switched off.
AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def harness_torch_state() -> Iterator[None]:
    """Enable gradients and full float32 precision, disable autocast, make cuDNN deterministic; restore on exit.

    Usable as a context manager and as a decorator. May be nested. Sets: grad mode on, inference mode off, autocast off
    on every device type, default dtype float32, default device CPU, float32 matrix products and convolutions in full
    precision (no TF32, no bfloat16), cuDNN deterministic and without benchmarking, no anomaly detection, and
    ``use_deterministic_algorithms`` off (some operators raise when it is on). On exit, the values of the caller are
    restored, even if the block has changed them. The state belongs to all threads, so that they compute one after the
    other, see :mod:`bench.runtime.turns`.
    """
    with ExitStack() as stack:
        stack.enter_context(own_turn())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_anomaly_detection_off())
        stack.enter_context(_plain_saved_tensors())
        _refuse_modes()
        stack.enter_context(_full_precision())
        for set_value, value, required in _switches():
            stack.callback(set_value, value)
            if value != required:
                set_value(required)
        if _other_default_device():  # only if needed, because it slows down every call
            stack.enter_context(torch.device("cpu"))
        yield


@contextmanager
def torch_threads(number: int | None) -> Iterator[None]:
    """Use ``number`` torch threads on the CPU, and restore the number on exit. None does not change the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def own_generators(device: torch.device) -> Iterator[None]:
    """Restore the global random generators of torch on the CPU and on ``device`` on exit."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


Switch = tuple[Callable[[Any], object], Any, Any]  # setter, current value, required value


def _switches() -> Iterator[Switch]:
    yield torch.set_default_dtype, torch.get_default_dtype(), torch.float32
    for device in AUTOCAST_DEVICES:
        yield _autocast_setter(device), torch.is_autocast_enabled(device), False
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    yield _set_deterministic, deterministic, (False, False)
    for name, required in (("deterministic", True), ("benchmark", False)):
        yield _setter(backends.cudnn, name), getattr(backends.cudnn, name), required


@contextmanager
def _full_precision() -> Iterator[None]:
    """Compute float32 matrix products and convolutions in full precision.

    torch 2.9 and later have one setting per backend and operator, and two older switches. Reading an older switch
    raises if the newer settings have values that it cannot express. Therefore the older switches are set only if they
    can be read. The newer settings are set only if their precision is still below float32.
    """
    newer = [(backend, backend.fp32_precision) for backend in _backends_with_precision()]
    with ExitStack() as stack:
        for backend, value in newer:
            stack.callback(setattr, backend, "fp32_precision", value)
        with suppress(RuntimeError):
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
        with suppress(RuntimeError):
            stack.callback(setattr, backends.cudnn, "allow_tf32", backends.cudnn.allow_tf32)
            backends.cudnn.allow_tf32 = False
        for backend, _ in newer:
            if backend.fp32_precision not in ("none", "ieee"):
                backend.fp32_precision = "ieee"
        yield


def _backends_with_precision() -> list[Any]:
    cuda, cudnn, mkldnn = backends.cuda, backends.cudnn, backends.mkldnn
    candidates = [(backends, ""), (cuda, "matmul")]
    candidates += [(cudnn, ""), (cudnn, "conv"), (cudnn, "rnn")]
    candidates += [(mkldnn, ""), (mkldnn, "matmul"), (mkldnn, "conv"), (mkldnn, "rnn")]
    settings = [getattr(owner, name, None) if name else owner for owner, name in candidates]
    return [backend for backend in settings if hasattr(backend, "fp32_precision")]


def _set_deterministic(value: tuple[bool, bool]) -> None:
    enabled, warn_only = value
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def _setter(owner: Any, name: str) -> Callable[[Any], None]:
    return lambda value: setattr(owner, name, value)


def _autocast_setter(device: str) -> Callable[[bool], None]:
    def set_enabled(enabled: bool) -> None:
        torch.set_autocast_enabled(device, enabled)
        torch.clear_autocast_cache()

    return set_enabled


def _other_default_device() -> bool:
    """Return whether new tensors are created on another device than the CPU.

    Before torch 2.7, ``torch.get_default_device`` does not know the device of ``with torch.device(…)``.
    """
    contexts = [mode.device.type for mode in _function_modes() if isinstance(mode, DeviceContext)]
    return any(kind != "cpu" for kind in (torch.get_default_device().type, *contexts))


def _function_modes() -> list[Any]:
    modes: list[Any] = getattr(overrides, "_get_current_function_mode_stack", list)()
    return modes


def _dispatch_modes() -> list[Any]:
    modes: list[Any] = getattr(_python_dispatch, "_get_current_dispatch_mode_stack", list)()
    return modes


def _refuse_modes() -> None:
    """Raise BenchError if a torch function or dispatch mode is active, because it may change any operation."""
    for mode in (*_function_modes(), *_dispatch_modes()):
        if not isinstance(mode, DeviceContext):  # torch.device(…) is overridden above
            name = type(mode).__qualname__
            raise BenchError(
                f"the torch mode {name} is active and may change every operation; exit it before the evaluation."
            )


@contextmanager
def no_modes_left(attack: str) -> Iterator[None]:
    """Leave the torch function and dispatch modes that are still active after the block.

    Raise CellFailure("attack_error") if there are some: they may change every later operation.
    """
    before = len(_function_modes()), len(_dispatch_modes())
    left: list[str] = []
    try:
        yield
    finally:
        pops: tuple[Any, Any] = overrides._pop_mode, _python_dispatch._pop_mode
        for modes, pop, number in zip((_function_modes, _dispatch_modes), pops, before, strict=True):
            while len(modes()) > number:
                left.append(type(pop()).__qualname__)
    if left:
        raise CellFailure("attack_error", f"{attack} left the torch mode {left[0]} active; use it in a with statement.")


@contextmanager
def _plain_saved_tensors() -> Iterator[None]:
    """Disable saved-tensor hooks of the caller, such as hooks that compress the tensors saved for backward.

    torch 2.6 does not tell whether there are hooks. There they are always disabled.
    """
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    if top is not None and top(False) is None:
        yield
        return
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
        yield


@contextmanager
def _anomaly_detection_off() -> Iterator[None]:
    enabled, checks = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    torch.set_anomaly_enabled(False, checks)
    try:
        yield
    finally:
        torch.set_anomaly_enabled(enabled, checks)
