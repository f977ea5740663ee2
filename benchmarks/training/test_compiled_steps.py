"""Steps of training compiled by ``torch.compile``, beside eager ones: whether compiling pays, and after how long.

    python -m pytest benchmarks/training/test_compiled_steps.py --training-size full

Our training does not compile. On a CPU with bfloat16 instructions, the compiled step of a resnet10t at 28 px was 2 %
faster and took 41 s to compile. This case shows when that changes, for example on a GPU.
"""

from __future__ import annotations

import time

import pytest
import torch
from loops import bare, chosen_subject, faster_precision, rates
from measure import Bench

MODES = ("default", "reduce-overhead")  # the second one uses CUDA graphs


@pytest.mark.parametrize("number", range(3))
def test_compiled_steps(number: int, engine: Bench, request: pytest.FixtureRequest) -> None:
    """Report the ratio, and the training time after which compiling has paid for itself."""
    subject = chosen_subject(number, request)
    precision = faster_precision(subject, engine)
    if request.config.getoption("--training-size") == "small":
        pytest.skip("compiling takes longer than the rest of the small size")
    for mode in MODES if engine.device.type == "cuda" else MODES[:1]:
        torch._dynamo.reset()
        compiled = bare(subject, precision, engine.device, compile_mode=mode)
        start = time.perf_counter()
        compiled()
        compile_s = time.perf_counter() - start
        eager_rate, compiled_rate = rates(subject, engine, bare(subject, precision, engine.device), compiled)
        saved = 1 - eager_rate / compiled_rate  # seconds saved per second of eager training
        pays = f"pays after {compile_s / saved:.0f} s of training" if saved > 0 else "never pays"
        engine.note(
            f"{subject.title}: torch.compile, mode {mode}",
            f"{compiled_rate:.1f} images/s, eager {eager_rate:.1f}: {compiled_rate / eager_rate:.2f}×, {pays}",
            "none",
            True,
        )
