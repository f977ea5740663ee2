"""Check the devices: processor threads, CUDA and MPS."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.doctor.check import Check, judged, passed
from bench.doctor.libraries import probe_of_libraries
from bench.runtime.versions import torch_cuda

CGROUP = Path("/sys/fs/cgroup/cpu.max")


def device_checks() -> Iterator[Check]:
    """Yield the checks of the devices. Without torch, only the processor is checked."""
    devices = probe_of_libraries().devices
    cores = available_cores()
    if devices is None:
        found = f"{cores} cores; torch cannot be imported, so that no other device is known"
        yield judged("devices", found, fail="repair torch first, see above.")
        return
    threads = int(devices["threads"])
    many = f"set OMP_NUM_THREADS={cores}, or give --threads {cores}: more threads than cores slow the run down."
    yield judged(
        "processor", f"{threads} torch threads on {cores} available cores", warn=many if threads > cores else ""
    )
    names = ", ".join(devices["cuda"])
    if devices["error"]:
        advice = "install a build of torch for this driver and GPU, or give --device cpu."
        yield Check("CUDA", "fail" if names else "warn", f"{names or 'no device'}: {devices['error']}", advice)
    elif names:
        yield passed("CUDA", names)
    else:
        yield judged("CUDA", "no device", warn=_why_no_device())
    if devices["mps"]:
        yield passed("MPS", "available")


def _why_no_device() -> str:
    """Return what to do if the machine has a driver of NVIDIA that torch does not use."""
    if not (Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")):
        return ""
    if not torch_cuda():
        return "there is a driver of NVIDIA, but torch is built without CUDA; install a CUDA build of torch."
    return "there is a driver of NVIDIA that torch cannot use; check nvidia-smi and CUDA_VISIBLE_DEVICES."


def available_cores() -> int:
    """Return the number of cores that this process may use, also within a limit of the container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CGROUP.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))
