"""Structure of a model whose code is spread over several files: an edit of any code or value that it uses counts."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import textwrap
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from bench.core.specs import fingerprint
from bench.external.structure import structure_of, unchanged

NET = """
import torch, {imports}
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
        {attribute}
    def forward(self, x):
        return self.net(x) * ({factor})
"""
HELPERS = """
import abc, functools, logging, threading
import tuning
log, lock = logging.getLogger(__name__), threading.Lock()
def scale(x): return tuning.FACTOR
def inner(x): return [tuning.FACTOR for _ in range(2)][0]
def late(x):
    import tuning as t
    return t.FACTOR
def named(x):
    from tuning import FACTOR
    return FACTOR
def any_of(x, module=tuning): return getattr(module, "FACT" + "OR")
@functools.lru_cache(maxsize=None)
def cached(): return tuning.FACTOR
class Settings:
    factor = tuning.FACTOR
    limits = {"upper": [tuning.FACTOR]}
    @staticmethod
    def fixed(): return tuning.FACTOR
    @property
    def read(self): return tuning.FACTOR
    @functools.cached_property
    def once(self): return tuning.FACTOR
    def __call__(self): return tuning.FACTOR
class Derived(Settings): pass
class Slots:
    __slots__ = ("__dict__", "__own", "unset")
    def __init__(self): self.__own = tuning.FACTOR
    def get(self): return self.__own
"""

USES = {  # imports, an attribute of the model, the factor in its forward pass
    "attribute of a module": ("tuning", "", "tuning.FACTOR"),
    "function of a module": ("helpers", "", "helpers.scale(x)"),
    "module by way of a module": ("helpers", "", "helpers.tuning.FACTOR"),
    "function in a function": ("helpers", "", "helpers.inner(x)"),
    "import in a function": ("helpers", "", "helpers.late(x)"),
    "name imported in a function": ("helpers", "", "helpers.named(x)"),
    "getattr": ("tuning", "", "getattr(tuning, 'FACTOR')"),
    "module as a default": ("helpers", "", "helpers.any_of(x)"),
    "module as an attribute": ("tuning", "self.tuning = tuning", "self.tuning.FACTOR"),
    "cached function": ("helpers", "", "helpers.cached()"),
    "lambda in the forward pass": ("tuning", "", "(lambda: tuning.FACTOR)()"),
    "class attribute": ("helpers", "", "helpers.Settings.factor"),
    "container of a class": ("helpers", "", "helpers.Settings.limits['upper'][0]"),
    "inherited class attribute": ("helpers", "", "helpers.Derived.factor"),
    "static method": ("helpers", "", "helpers.Settings.fixed()"),
    "property": ("helpers", "self.settings = helpers.Settings()", "self.settings.read"),
    "cached property": ("helpers", "self.settings = helpers.Settings()", "self.settings.once"),
    "callable object": ("helpers", "self.settings = [[helpers.Derived()]]", "self.settings[0][0]()"),
    "bound method": ("helpers", "self.get = helpers.Slots().get", "self.get()"),
    "slot": ("helpers", "self.slots = helpers.Slots()", "self.slots.get()"),
    "package": ("pack.part", "", "pack.part.FACTOR"),
    "relative import": ("pack.near", "", "pack.near.factor()"),
}


def project(folder: Path, use: str, tuning: str = "FACTOR = 2.0") -> None:
    imports, attribute, factor = USES[use]
    files = {
        "net.py": NET.format(imports=imports, attribute=attribute, factor=factor),
        "helpers.py": HELPERS,
        "tuning.py": tuning,
        "pack/__init__.py": "",
        "pack/part.py": tuning,
        "pack/near.py": "def factor():\n    from .part import FACTOR\n    return FACTOR\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def structure(folder: Path, monkeypatch: pytest.MonkeyPatch, passes: int = 1) -> str:
    """Import the project anew, as another process would, and return the structure of its model after some passes."""
    with monkeypatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(sys, "dont_write_bytecode", True)
        for name in [*sys.modules]:
            if name.split(".")[0] in ("net", "helpers", "tuning", "pack"):
                patch.delitem(sys.modules, name)
        import net

        model, images = net.Net(), torch.rand(2, 3, 8, 8)
        for _ in range(passes):
            model(images)
        before = structure_of(model)
        model(images)
        kept = unchanged(before, structure_of(model))
        return fingerprint({repr(path): value for path, value in kept.items()})


def identity(model: nn.Module) -> str:
    return fingerprint({repr(path): value for path, value in structure_of(model).items()})


@pytest.mark.parametrize("use", USES)
def test_an_edit_of_another_file_is_another_model(tmp_path: Path, use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, tuning in {"one": "FACTOR = 2.0", "same": "FACTOR = 2.0  # tuned", "other": "FACTOR = 2.5"}.items():
        project(tmp_path / name, use, tuning)
    first, same, other = (structure(tmp_path / name, monkeypatch) for name in ("one", "same", "other"))
    assert first == same
    assert first != other


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def f(x): return x * 2", "def f(x): return x * 3"),
        ("def f(x): return x + 2", "def f(x): return x - 2"),
        ("def f(x, k=2): return x * k", "def f(x, k=3): return x * k"),
        ("def f(x, *, k=2): return x * k", "def f(x, *, k=3): return x * k"),
        ("def f(x): return min(x, 2)", "def f(x): return max(x, 2)"),
        ("def f(x): return 2 if x in {1, 2} else 3", "def f(x): return 2 if x in {1, 3} else 3"),
        ("import math\ndef f(x): return math.sin(x)", "import math\ndef f(x): return math.cos(x)"),
        ("from math import sin as f", "from math import cos as f"),
        ("class f:\n  def __new__(cls, x): return 2.0", "class f:\n  def __new__(cls, x): return 3.0"),
    ],
)  # fmt: skip
def test_an_edit_of_code_is_another_model(
    tmp_path: Path, before: str, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name, text in {"one": before, "same": f"# a comment\n\n{before}\n", "other": after}.items():
        project(tmp_path / name, "attribute of a module", f"{text}\nFACTOR = 1\n")
        net = NET.format(imports="tuning", attribute="", factor="tuning.f(1)")
        (tmp_path / name / "net.py").write_text(net, encoding="utf-8")
        found.append(structure(tmp_path / name, monkeypatch))
    assert found[0] == found[1] != found[2]


def test_unused_names_are_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path / "one", "attribute of a module")
    project(tmp_path / "other", "attribute of a module", "import time\nFACTOR = 2.0\nSTARTED = time.time()\n")
    assert structure(tmp_path / "one", monkeypatch) == structure(tmp_path / "other", monkeypatch)


@pytest.mark.parametrize(("version", "another"), [("1.0", False), ("1.1", True)])
def test_installed_packages_are_held_by_version(
    tmp_path: Path, version: str, another: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name, text in {"one": "__version__ = '1.0'", "other": f"__version__ = '{version}'\nFACTOR = 3"}.items():
        project(tmp_path / name, "function of a module")
        place = tmp_path / name / "site-packages"
        place.mkdir()
        (tmp_path / name / "helpers.py").unlink()
        (place / "helpers.py").write_text(f"FACTOR = 2\n{text}\ndef scale(x): return FACTOR", encoding="utf-8")
        monkeypatch.syspath_prepend(place)
        found.append(structure(tmp_path / name, monkeypatch))
    assert (found[0] != found[1]) == another


def test_the_package_of_the_model_is_followed_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name, factor in {"one": 1, "other": 2}.items():
        place = tmp_path / name / "site-packages"
        project(place, "relative import", f"FACTOR = {factor}")
        net = NET.format(imports="pack.near", attribute="", factor="pack.near.factor()")
        (place / "pack" / "model.py").write_text(net, encoding="utf-8")
        (place / "net.py").write_text("from pack.model import Net", encoding="utf-8")
        found.append(structure(place, monkeypatch))
    assert found[0] != found[1]


def test_a_counter_in_a_module_is_no_change_and_hides_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = "CALLS, SEEN, FACTOR = 0, [], 1\ndef f(x):\n    global CALLS\n    CALLS += 1\n    SEEN.append(1)\n"
    for name, text in {"one": "    return 2", "same": "    return 2", "other": "    return 3"}.items():
        project(tmp_path / name, "attribute of a module", counting + text)
        net = NET.format(imports="tuning", attribute="", factor="tuning.f(1)")
        (tmp_path / name / "net.py").write_text(net, encoding="utf-8")
    passes = {"one": 1, "same": 5, "other": 1}
    first, same, other = (structure(tmp_path / name, monkeypatch, passes[name]) for name in passes)
    assert first == same != other


def test_another_process_finds_the_same_structure(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import torch, net
        from bench.external.identity import model_identity
        torch.manual_seed(0)
        print(model_identity(net.Net().eval(), torch.rand(2, 3, 8, 8))["structure"])
    """)
    project(tmp_path, "callable object")
    outputs = []
    for seed in ("1", "2"):
        paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths}
        command = [sys.executable, "-c", script]
        outputs.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert outputs[0] == outputs[1] != ""


@dataclass(slots=True)
class Slotted:
    tau: Any


class Level(float):
    pass


class Mode(Enum):
    SOFT = 1
    HARD = 2


Pair = namedtuple("Pair", "tau")


def nested(value: Any, depth: int) -> Any:
    return value if depth == 0 else {"inner": [nested(value, depth - 1)]}


@pytest.mark.parametrize(
    "holder",
    [
        Slotted,
        Level,
        Pair,
        lambda value: list(Mode)[value > 1],
        lambda value: nested(value, 30),
        lambda value: SimpleNamespace(tau=value),
        lambda value: argparse.Namespace(tau=value),
        lambda value: OrderedDict(tau=value),
        lambda value: deque([value]),
        lambda value: {1: value, "1": 0.0},
        lambda value: torch.distributions.Normal(0.0, value),
        lambda value: {Mode.SOFT: value},
        lambda value: Slotted(Slotted([Slotted(value)])).tau,
        lambda value: torch.jit.script(torch.nn.Threshold(value, 0.0)),
    ],
)
def test_the_values_of_objects_are_part_of_it(holder: Any) -> None:
    def with_value(value: float) -> str:
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
        model.held = holder(value)
        return identity(model)

    assert with_value(0.5) == with_value(0.5)
    assert with_value(0.5) != with_value(1.5)


def test_a_cycle_ends() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    held: dict[str, Any] = {"model": model}
    held["self"] = [held, Slotted(held)]
    model.held = held
    assert structure_of(model) == structure_of(model)
