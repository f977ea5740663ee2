"""Environment of a computation: device, hardware, library versions and git revision."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from bench import __version__
from bench.core.errors import BenchError
from bench.core.names import as_text
from bench.core.records import Environment


def choose_device(name: str) -> torch.device:
    """Return the device ``name``. ``auto`` selects CUDA, then MPS, then the CPU. Raises BenchError if unavailable."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if available[d]))
    if not available.get(name, False):
        usable = ", ".join(d for d, usable in available.items() if usable)
        raise BenchError(f"device {name!r} is not available on this machine; available: {usable}.")
    return torch.device(name)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware supports bfloat16: a CPU with AMX or AVX512-BF16, or a GPU according to CUDA."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not Path("/proc/cpuinfo").exists():
        return False
    words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    return not words.isdisjoint({"avx512_bf16", "amx_bf16"})


@functools.cache
def describe(device: torch.device) -> Environment:
    """Return the hardware, library versions and git revision, for records of computations on ``device``."""
    return Environment(
        device=device.type,
        hardware=as_text(torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()),
        python=platform.python_version(),
        torch=torch.__version__,
        torchvision=metadata.version("torchvision"),
        timm=metadata.version("timm"),
        bench=__version__,
        git_sha=as_text(_git_revision()),
    )


def _processor() -> str:
    """Return the name of the processor and the number of torch threads."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
        name = names[0] if names else name
    return f"{name} ({torch.get_num_threads()} threads)"


def _git_revision() -> str:
    """Return the git revision, with ``-dirty`` for local changes; empty for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            encoding="utf-8",
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return described.stdout.strip()
