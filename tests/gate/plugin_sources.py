"""Test files of a project, in every style that pytest has; written into a folder and run there."""

from __future__ import annotations

HELPER = """
import functools, os
import model

def load():
    model.MEAN = -0.5 if os.environ.get("KIND") == "bad" else 0.306
    return model.load()

OPTIONS = dict(dataset="digits", attacks="fgsm", eps="0.1", corruptions="none", audit="none", limit=40)
"""

IMPORTS = "import pytest\nfrom helper import OPTIONS, load\n"

STYLES = """
import unittest
import pytest
from helper import OPTIONS, load

mark = pytest.mark.robustness

@mark("function.json")
def test_function(robustness):
    robustness(load(), **OPTIONS)

@mark("dynamic.json")
def test_dynamic(request):
    request.getfixturevalue("robustness")(load(), **OPTIONS)

@pytest.fixture
def handed_on(robustness):
    return lambda: robustness(load(), **OPTIONS)

@mark("handed_on.json")
def test_handed_on(handed_on):
    handed_on()

@mark("class.json")
class TestOfMarkedClass:
    @pytest.fixture(autouse=True)
    def take(self, robustness):
        self.robustness = robustness

    def test_it(self):
        self.robustness(load(), **OPTIONS)

class TestOverridden:
    @pytest.fixture
    def robustness(self, robustness):
        return lambda: robustness(load(), **OPTIONS)

    @mark("overridden.json")
    def test_it(self, robustness):
        robustness()

class OfUnittest(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def take(self, robustness):
        self.robustness = robustness

    @mark("unittest.json")
    def test_it(self):
        self.robustness(load(), **OPTIONS)

    @mark("subtest.json")
    def test_subtest(self):
        for name in "ab":
            with self.subTest(name):
                self.robustness(load(), name=name, **OPTIONS)

class Asynchronous(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def take(self, robustness):
        self.robustness = robustness

    @mark("asynchronous.json")
    async def test_it(self):
        self.robustness(load(), **OPTIONS)

@pytest.mark.parametrize("name", [pytest.param(n, marks=mark(f"parameter {n}.json")) for n in ("one", "two")])
def test_parameter(robustness, name):
    robustness(load(), name=name, **OPTIONS)
"""

NOTHING = """
import contextlib
import unittest
import pytest
from helper import OPTIONS, load

mark = pytest.mark.robustness

@mark("a.json")
def test_never_asks():
    pass

@mark
def test_bare_mark():
    pass

@mark("b.json")
def test_never_calls(robustness):
    pass

@mark("c.json")
@pytest.mark.usefixtures("robustness")
class OfUnittest(unittest.TestCase):
    def test_never_calls(self):
        pass

    @mark("d.json")
    async def test_never_awaited(self):
        pass

    @mark("e.json")
    @unittest.expectedFailure
    def test_expected_failure(self):
        raise ValueError

    @mark("f.json")
    def test_a_skipped_part(self):
        with self.subTest():
            pass

@mark("g.json")
async def test_asynchronous(robustness):
    robustness(load(), **OPTIONS)

@mark("h.json")
@pytest.mark.xfail
def test_expected_to_fail(robustness):
    raise ValueError

@mark("i.json")
@pytest.mark.xfail
def test_expected_and_silent(robustness):
    pass

@mark("j.json")
def test_imperative(robustness):
    pytest.xfail("not today")

@mark("robustness.json")
def test_swallows(robustness):
    with contextlib.suppress(BaseException):
        robustness(load(), attack="fgsm")

@mark("k.json")
def test_swallows_the_fixture(request):
    request.node.own_markers.clear()
    with contextlib.suppress(BaseException):
        request.getfixturevalue("robustness")

@pytest.mark.parametrize("number", [1, 2])
@mark("l.json")
def test_shared(robustness, number):
    robustness(load(), **OPTIONS)

@pytest.fixture
def late(robustness):
    yield
    robustness(load(), **OPTIONS)

@mark("m.json")
def test_late(late):
    pass

@mark
@pytest.mark.xfail
def test_expected_without_a_baseline(robustness):
    robustness(load(), **OPTIONS)

@pytest.fixture
def broken():
    raise OSError("weights.pt not found")

@mark("n.json")
@pytest.mark.xfail
def test_expected_and_broken(broken, robustness):
    robustness(load(), **OPTIONS)
"""

EARLY_END = """
import pytest

@pytest.mark.robustness("a.json")
def test_ends_the_session(robustness):
    pytest.exit("bye", returncode=0)
"""

PARTS = """
import dataclasses
import pytest
import torch
from helper import OPTIONS, load

mark = pytest.mark.robustness
WITHOUT = {**OPTIONS, "attacks": ATTACKS}

class NoGradient(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = load()

    def forward(self, images):
        with torch.no_grad():
            return self.model(images)

@mark("failed.json")
def test_failed(robustness):
    robustness(NoGradient(), **WITHOUT)

@mark("excused.json")
XFAIL
def test_excused(robustness):
    robustness(NoGradient(), **WITHOUT)

@mark("dropped.json")
def test_dropped(robustness, monkeypatch):
    import bench.gate.regression as regression
    whole = regression.take_snapshot

    def clean_alone(store):
        snapshot = whole(store)
        runs = [dataclasses.replace(run, cells={"clean": run.cells["clean"]}) for run in snapshot.runs]
        return dataclasses.replace(snapshot, runs=tuple(runs))

    monkeypatch.setattr(regression, "take_snapshot", clean_alone)
    robustness(load(), **WITHOUT)

@mark("replaced.json")
def test_replaced(robustness):
    model = load()
    robustness(model, **OPTIONS)
    if ATTACKS != 'none':
        robustness(model, attack_backend="reference", **OPTIONS)
"""
