"""Speed and memory of our training loop: beside a plain loop, beside bare steps, and adversarial beside its passes.

    python -m pytest benchmarks/training --training-size full

Each case runs in one process and alternates between the loops, so that only ratios matter. Goals: at least 1.5 times
the images per second of the plain float32 loop with a DataLoader of PIL transforms (3 times with AMX or on a GPU), at
least 92 % of bare steps of the same precision and layout (90 % on a GPU), at least 90 % of the passes of ``pgd_at``,
and not more memory than the plain loop.
"""

from __future__ import annotations

import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from loops import Subject, bare, bare_passes, chosen_subject, faster_precision, ours, plain, rates
from measure import Bench

from bench.core.specs import AdversarySpec, Precision, VariantSpec


def has_matrix_units(device: torch.device) -> bool:
    """Return whether the device multiplies matrices of bfloat16 in hardware: a GPU, or a CPU with AMX."""
    cpuinfo = Path("/proc/cpuinfo")
    return device.type == "cuda" or (cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text(encoding="utf-8"))


@pytest.mark.parametrize("number", range(3))
def test_images_per_second(number: int, engine: Bench, request: pytest.FixtureRequest) -> None:
    """Compare with the plain loop and with bare steps."""
    subject = chosen_subject(number, request)
    precision = faster_precision(subject, engine)
    device = engine.device
    own, simple, steps = rates(
        subject, engine, ours(subject, precision, device), plain(subject, device), bare(subject, precision, device)
    )
    goal = 3.0 if has_matrix_units(device) else 1.5
    rate = f"{own:.1f} images/s in {precision}"
    engine.note(
        f"{subject.title}: plain loop",
        f"{rate}, plain {simple:.1f}: {own / simple:.2f}×",
        f"≥ {goal:g}×",
        own >= goal * simple,
    )
    share = 0.90 if device.type == "cuda" else 0.92
    engine.note(
        f"{subject.title}: bare steps",
        f"{rate}, bare {steps:.1f}: {own / steps:.0%}",
        f"≥ {share:.0%}",
        own >= share * steps,
    )


@pytest.mark.parametrize("number", range(3))
def test_adversarial_training(number: int, engine: Bench, request: pytest.FixtureRequest) -> None:
    """Compare ``pgd_at`` with its count of bare passes."""
    subject = chosen_subject(number, request)
    precision = faster_precision(subject, engine)
    if subject.side > 64:
        pytest.skip("adversarial training is measured on small images")
    adversary = AdversarySpec(eps=8 / 255)
    variant = VariantSpec(adversary=adversary)
    own, passes = rates(
        subject,
        engine,
        ours(subject, precision, engine.device, variant),
        bare_passes(subject, precision, engine.device, adversary.steps),
    )
    engine.note(
        f"{subject.title}: pgd_at",
        f"{own:.2f} images/s, bare passes {passes:.2f}: {own / passes:.0%}",
        "≥ 90 %",
        own >= 0.9 * passes,
    )


@pytest.mark.parametrize("number", range(3))
def test_peak_memory(number: int, engine: Bench, request: pytest.FixtureRequest) -> None:
    """Compare the peak memory with that of the plain loop, each in a process of its own."""
    subject = chosen_subject(number, request)
    precision = faster_precision(subject, engine)
    own, simple = (_peak_memory(engine, name, subject, precision) for name in ("ours", "plain"))
    engine.note(f"{subject.title}: memory", f"{own:.0f} MiB, plain loop {simple:.0f} MiB", "not above", own <= simple)


def _peak_memory(engine: Bench, name: str, subject: Subject, precision: Precision) -> float:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:  # the workers of a Pool cannot start a DataLoader's
        return pool.submit(_peak, name, subject, precision, engine.device.type, torch.get_num_threads()).result()


def _peak(name: str, subject: Subject, precision: Precision, device_name: str, threads: int) -> float:
    torch.set_num_threads(threads)
    device = torch.device(device_name)
    small = replace(subject, batch_size=2, steps=1)
    warm_up = ours(small, precision, device) if name == "ours" else plain(small, device)
    warm_up()
    function = ours(subject, precision, device) if name == "ours" else plain(subject, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    before_mib = _status("VmRSS")
    function()
    return _status("VmHWM") - before_mib


def _status(name: str) -> float:
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8", errors="replace"))
    assert match is not None
    return int(match[1]) / 1024
