"""Import the libraries in a process of its own, which may crash or hang, and ask torch for its devices."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 300
#: Prints one line of JSON when an import begins and one when it ends, so that the last line names what crashed.
CODE = """
import importlib, json, sys
path, modules = json.loads(sys.argv[1])
sys.path[:] = path
def say(*line):
    print("\\n@" + json.dumps(line), flush=True)
for module in modules:
    say("begin", module, None)
    try:
        importlib.import_module(module)
        say("end", module, "")
    except BaseException as error:
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        say("end", module, f"{type(error).__name__}: {first.strip()}")
say("begin", "devices", None)
torch = sys.modules.get("torch")
if torch is not None and hasattr(torch, "get_num_threads"):
    devices = {"threads": torch.get_num_threads(), "built": torch.version.cuda, "cuda": [], "error": ""}
    try:
        devices["cuda"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if devices["cuda"]:
            (torch.ones(8, device="cuda") * 2).sum().item()
    except Exception as error:
        devices["error"] = str(error).splitlines()[0] if str(error) else type(error).__name__
    devices["mps"] = bool(torch.backends.mps.is_available())
    say("end", "devices", devices)
"""


@dataclass(frozen=True)
class Probe:
    """Outcome of the process: an error per module (empty if it was imported), and the devices of torch."""

    errors: Mapping[str, str]
    devices: Mapping[str, Any] | None = None
    ended: str = ""  # how the process ended, if it did not finish
    unfinished: str = ""  # module or step at which it ended
    untried: tuple[str, ...] = field(default=())


@functools.cache
def probe(modules: tuple[str, ...]) -> Probe:
    """Import ``modules`` one after the other, with the search path of this process."""
    command = [sys.executable, "-c", CODE, json.dumps([sys.path, modules])]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONWARNINGS": "ignore"}
    environment.setdefault("GIT_PYTHON_REFRESH", "quiet")  # as bench.attacks.reference does, for foolbox
    try:
        found = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, env=environment, check=False
        )
        output, ended = found.stdout, _how_it_ended(found.returncode)
    except subprocess.TimeoutExpired as error:
        output, ended = error.stdout or b"", f"it did not finish within {TIMEOUT_S} s"
    return _parsed(output.decode("utf-8", "replace"), modules, ended)


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}" if code else ""


def _parsed(output: str, modules: tuple[str, ...], ended: str) -> Probe:
    errors: dict[str, str] = {}
    devices, unfinished = None, ""
    for line in output.splitlines():
        if not line.startswith("@["):
            continue
        step, name, value = json.loads(line[1:])
        unfinished = name if step == "begin" else ""
        if step == "end" and name == "devices":
            devices = value
        elif step == "end":
            errors[name] = value
    if not ended:
        return Probe(errors, devices)
    untried = tuple(name for name in modules if name not in errors and name != unfinished)
    return Probe(errors, devices, ended, unfinished or modules[0], untried)
