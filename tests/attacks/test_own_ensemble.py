"""One's own AutoAttack: its names, what its rows say, what it costs, and the same list in both backends."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
import torch
from nets import correct, trained
from pyautoattack import AutoAttack
from torch import Tensor, nn

from bench.attacks.adapter import call_attack
from bench.attacks.builtin import ORIGIN
from bench.attacks.engine.batching import NO_SPECULATION
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.registry import ATTACKS, resolve, resolve_all
from bench.core.errors import BenchError
from bench.core.specs import Backend
from bench.core.vocabulary import metric_column
from bench.evaluation.pass_counter import CountingModel

OWN = "autoattack-apgd-ce+fab-t+square-i10-s30"


def run(name: str, model: nn.Module, inputs: Tensor, labels: Tensor, eps: float, backend: Backend = "native") -> Tensor:
    attack = resolve(name, backend)
    rng = SampleRng(0, attack.name, [str(i) for i in range(len(inputs))])
    spec = attack.spec("linf", eps, batch_size=64)
    return call_attack(attack.entry, model, inputs, labels, spec=spec, rng=rng).adversarials


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        (OWN, OWN),
        ("autoattack-apgd-ce+square", "autoattack-apgd-ce+square"),
        ("autoattack-apgd-ce+square-i100-s5000", "autoattack-apgd-ce+square"),
        ("autoattack-fab+apgd-dlr-s7", "autoattack-fab+apgd-dlr"),
        ("autoattack", "autoattack"),
        ("autoattack-plus", "autoattack-plus"),
    ],
)
def test_names(name: str, canonical: str) -> None:
    found = resolve(name)
    assert found.name == canonical
    assert resolve(canonical) == found


def test_parameters_are_in_the_spec_and_the_published_ones_are_what_they_were() -> None:
    own = resolve(OWN).spec("linf", 0.1, batch_size=8)
    assert dict(own.params) == {"version": "apgd-ce+fab-t+square", "iterations": 10, "queries": 30}
    assert dict(resolve("autoattack").params) == {"version": "standard"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("autoattack-square+square", "occurs twice"),
        ("autoattack-apgd-ce+square-i0", "iterations must be at least 1"),
        ("autoattack-apgd-ce", "unknown attack.*'apgd-ce' alone is an attack by this name"),
        ("autoattack-fab", "'fab' alone is no attack"),
        ("autoattack-apgd-ce+pgd", "unknown attack.*No stage is called 'pgd'.*: apgd-ce, .*, fab-t and square"),
        ("autoattack-foo+square+bar-i7", "No stage is called 'foo' or 'bar'"),
        ("autoattack-square-i0", "'square' alone is an attack by this name; -i0 is less than 1.*two stages or more"),
        ("autoattack-foo+square-i3-s0", "No stage is called 'foo'; -s0 is less than 1"),
        ("autoattack-plu", "did you mean 'autoattack-plus'"),
        ("autoattack+square", "unknown attack"),
    ],
)
def test_names_that_mean_nothing(name: str, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        resolve(name)


def test_the_readme_has_the_norms_that_there_are() -> None:
    readme = " ".join((Path(__file__).parents[2] / "README.md").read_text().split())
    names = sorted(name for name in ATTACKS if ATTACKS.origin(name) == ORIGIN)
    l2_only = [name for name in names if ATTACKS.get(name).norms == ("l2",)]
    both = [name for name in names if name not in l2_only]
    stated = re.search(r"`(\w+)` and `(\w+)` are `--norm l2` only; all others have linf and l2,", readme)
    assert sorted(stated.groups()) == l2_only
    assert all({"linf", "l2"} <= set(ATTACKS.get(name).norms) for name in both)
    lacking = re.search(r"all of these but ([^.]*?) have l1\.", readme)[1]
    assert sorted(re.findall(r"`([\w-]+)`", lacking)) == sorted(n for n in both if "l1" not in ATTACKS.get(n).norms)


def test_a_name_survives_lists_and_columns() -> None:
    """Commas separate names on the command line, a colon a protocol in a column."""
    assert [attack.name for attack in resolve_all(f"fgsm,{OWN}".split(","))] == ["fgsm", OWN]
    column = metric_column(OWN, "linf", "8/255")
    assert ":" not in column
    table = io.StringIO()
    csv.writer(table).writerow([column])
    assert table.getvalue().strip() == column  # not quoted


def test_the_row_says_that_it_is_not_the_published_attack() -> None:
    attack = resolve(OWN)
    assert attack.entry.notes(attack.params, 10) == (
        "custom ensemble, not the published one",
        "iterations: 10 in place of 100",
        "queries: 30 in place of 5000",
    )
    assert attack.entry.notes(attack.params, 5)[-1] == "target classes: 4 in place of 9"


class Deaf(nn.Module):
    """Whatever it is shown, the first class; but not without a slope."""

    def forward(self, inputs: Tensor) -> Tensor:
        faint = 1e-3 * inputs.flatten(1)[:, :10]
        return faint + torch.tensor([100.0, *(0.0 for _ in range(9))])


@pytest.mark.parametrize(
    ("name", "forwards", "backwards"),
    [
        ("autoattack-apgd-ce+square-i10-s30", 11 + 31, 11),
        ("autoattack-square+apgd-t-i10-s30", 31 + 11 * 9, 11 * 9),
        ("autoattack-apgd-dlr+fab-t-i5", 6 + 9 * 6, 6 + 9 * 6),
        ("autoattack-fab+apgd-ce-i5", 5 * 9 + 6 + 1, 5 * 9 + 6 + 1),
    ],
)
def test_the_stated_cost_is_what_a_survivor_costs(
    name: str, forwards: int, backwards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question after the other."""
    monkeypatch.setattr("bench.attacks.engine.run_search.batch_budget", lambda _: NO_SPECULATION)
    inputs, labels = torch.full((2, 3, 8, 8), 0.5), torch.zeros(2, dtype=torch.int64)
    counting = CountingModel(Deaf())
    run(name, counting, inputs, labels, 0.1)
    assert counting.forwards == 2 * (forwards + 1)  # the ranking of the classes
    assert counting.backwards == 2 * backwards
    attack = resolve(name)
    stated = attack.entry.cost(attack.params, 10)
    # FAB is stated with a trial that is judged and a point that is linearised in every step.
    assert 0.85 * forwards <= stated.forwards <= 2 * forwards
    assert 0.8 * backwards <= stated.backwards <= 1.25 * backwards


def test_the_stages_are_run_in_the_order_given() -> None:
    """Square differentiates nothing: what it has broken costs no backward pass."""
    model = trained("strided")
    inputs, labels = correct(model, 20)
    passes = {}
    for stages in ("square+apgd-ce", "apgd-ce+square"):
        counting = CountingModel(model)
        run(f"autoattack-{stages}-i10-s200", counting, inputs, labels, 0.3)
        passes[stages] = counting.backwards
    assert 2 * passes["square+apgd-ce"] < passes["apgd-ce+square"]


def test_the_library_gets_the_same_stages_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def caught(self: AutoAttack, inputs: Tensor, labels: Tensor, *, batch_size: int) -> tuple[Tensor, Tensor]:
        seen.append(self)
        return inputs, labels

    monkeypatch.setattr(AutoAttack, "run_standard_evaluation", caught)
    model = trained("strided")
    for name in (OWN, "autoattack-fab+apgd-t"):
        run(name, model, *correct(model, 4), 0.1, backend="reference")
    own, other = seen
    assert own.attacks_to_run == ["apgd-ce", "fab-t", "square"]
    assert (own.apgd.n_iter, own.apgd_targeted.n_iter, own.fab.n_iter, own.square.n_queries) == (10, 10, 10, 30)
    assert (own.apgd.n_iter_2, own.apgd.n_iter_min, own.apgd.size_decr) == (2, 1, 1)
    assert own.apgd_targeted.loss == "dlr-targeted"
    assert (own.apgd.n_restarts, own.fab.n_restarts) == (1, 1)
    assert other.attacks_to_run == ["fab", "apgd-t"]
    assert (other.apgd_targeted.n_iter, other.fab.n_iter, other.square.n_queries) == (100, 100, 5000)


def test_in_l1_autopgd_has_its_own_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five starts, five targets and three radii: in the spec, in the stated cost, in what is spent, in the library."""
    attack = resolve("autoattack-apgd-ce+apgd-t-i10")
    spec = attack.spec("l1", 2.0, batch_size=8)
    assert spec.params == {
        "version": "apgd-ce+apgd-t",
        "iterations": 10,
        "apgd_starts": 5,
        "apgd_targets": 5,
        "apgd_phases": 3,
    }
    assert attack.entry.cost(spec.params, 10)[:2] == (2 * 5 * 13, 2 * 5 * 13)
    assert attack.entry.notes(spec.params, 5)[-1] == "target classes: 4 in place of 5"
    inputs, labels = torch.full((2, 3, 8, 8), 0.5), torch.zeros(2, dtype=torch.int64)
    counting = CountingModel(Deaf())
    rng = SampleRng(0, attack.name, ["a", "b"])
    call_attack(attack.entry, counting, inputs, labels, spec=spec, rng=rng)
    assert counting.backwards == 2 * 2 * 5 * 13
    seen = []
    monkeypatch.setattr(
        AutoAttack, "run_standard_evaluation", lambda self, x, y, batch_size: (seen.append(self), (x, y))[1]
    )
    theirs = resolve("autoattack-apgd-ce+apgd-t-i10", "reference")
    call_attack(theirs.entry, Deaf(), inputs, labels, spec=theirs.spec("l1", 2.0, batch_size=8), rng=rng)
    assert (seen[0].norm, seen[0].apgd.n_restarts, seen[0].apgd_targeted.n_target_classes) == ("L1", 5, 5)
    assert seen[0].apgd.use_largereps
    assert seen[0].apgd_targeted.use_largereps
    assert "apgd_starts" not in attack.spec("linf", 0.1, batch_size=8).params


@pytest.mark.parametrize(
    ("name", "backend", "sentence"),
    [
        ("mim", "native", "'mim-10' does not support l1; it supports linf and l2"),
        ("fgsm", "reference", "'fgsm' does not support l1 through foolbox; it supports linf and l2"),
        ("autoattack-plus", "native", "does not support l1"),
    ],
)
def test_an_unsupported_norm_is_an_error(name: str, backend: Backend, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        resolve(name, backend).spec("l1", 1.0, batch_size=8)


def test_both_backends_break_the_same_images() -> None:
    model = trained("strided")
    inputs, labels = correct(model, 60)
    name = "autoattack-apgd-ce+apgd-t+fab-t-i20"
    broken = [model(run(name, model, inputs, labels, 0.09, b)).argmax(1) != labels for b in ("native", "reference")]
    assert 15 < int(broken[0].sum()) < 45
    assert int((broken[0] != broken[1]).sum()) <= 1


def test_the_library_is_repeatable_and_the_callers_generator_stays() -> None:
    model, name = trained("strided"), "autoattack-square+apgd-ce-i10-s100"
    inputs, labels = correct(model, 8)
    torch.manual_seed(1)
    first = run(name, model, inputs, labels, 0.3, backend="reference")
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(first, run(name, model, inputs, labels, 0.3, backend="reference"))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, inputs)
