"""The global state of PyTorch that every number here is measured under, whatever the caller has set.

A caller's ``torch.no_grad()`` makes every gradient attack stand still. ``autocast`` rounds the verdicts to bfloat16, as
does a reduced precision of matrix products. :func:`harness_torch_state` sets what the measurement needs and puts the
caller's state back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import backends

#: Device types whose autocast is switched off.
AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def harness_torch_state() -> Iterator[None]:
    """Gradients on, no inference mode, no autocast, true float32 on the CPU by default, deterministic cuDNN.

    A context manager that is also a decorator; it may be nested. Sets: grad mode on, inference mode off, autocast off
    on every device type, default dtype float32, default device CPU, float32 matrix products and convolutions in full
    precision (no TF32, no bfloat16), cuDNN deterministic and without benchmarking, no anomaly detection, and
    ``use_deterministic_algorithms`` off, under which some operators raise. On exit the caller's values are back, also
    where the code inside has changed them.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_anomaly_detection_off())
        stack.enter_context(_full_precision())
        for set_value, value, wanted in _switches():
            stack.callback(set_value, value)
            if value != wanted:
                set_value(wanted)
        if torch.get_default_device().type != "cpu":  # the context slows every call down: only where it is needed
            stack.enter_context(torch.device("cpu"))
        yield


Switch = tuple[Callable[[Any], object], Any, Any]  # how to set it, its present value, the value that is needed


def _switches() -> Iterator[Switch]:
    yield torch.set_default_dtype, torch.get_default_dtype(), torch.float32
    for device in AUTOCAST_DEVICES:
        yield _autocast_setter(device), torch.is_autocast_enabled(device), False
    yield torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled(), False
    for name, wanted in (("deterministic", True), ("benchmark", False)):
        yield _setter(backends.cudnn, name), getattr(backends.cudnn, name), wanted


@contextmanager
def _full_precision() -> Iterator[None]:
    """Float32 products and convolutions in float32.

    torch 2.9 and later have a setting per backend and operator beside two older switches, which raise when they are
    read after a setting that they cannot express. So the older ones are used where they can be read, and the newer
    ones only where less than float32 is still asked for.
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
    places = [(backends, ""), (cuda, "matmul")]
    places += [(cudnn, ""), (cudnn, "conv"), (cudnn, "rnn")]
    places += [(mkldnn, ""), (mkldnn, "matmul"), (mkldnn, "conv"), (mkldnn, "rnn")]
    found = [getattr(owner, name, None) if name else owner for owner, name in places]
    return [backend for backend in found if hasattr(backend, "fp32_precision")]


def _setter(owner: Any, name: str) -> Callable[[Any], None]:
    return lambda value: setattr(owner, name, value)


def _autocast_setter(device: str) -> Callable[[bool], None]:
    def set_enabled(enabled: bool) -> None:
        torch.set_autocast_enabled(device, enabled)
        torch.clear_autocast_cache()

    return set_enabled


@contextmanager
def _anomaly_detection_off() -> Iterator[None]:
    enabled, checks = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    torch.set_anomaly_enabled(False, checks)
    try:
        yield
    finally:
        torch.set_anomaly_enabled(enabled, checks)
