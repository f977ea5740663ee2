"""Names of attacks of other libraries: parsed without evaluation, one sentence per error, safe as names of files."""

from __future__ import annotations

import dataclasses
import importlib
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from bench.attacks.libraries.names import LIBRARIES, parse
from bench.attacks.registry import backend_version, check_library, resolve, resolve_all
from bench.cli.config_options import Names
from bench.config import RunConfig
from bench.core.errors import BenchError
from bench.core.names import check_name, file_name_problem
from bench.core.options import split_list
from bench.core.specs import EvalSpec
from bench.planning.request import _attack_limits

PGD = "foolbox.LinfProjectedGradientDescentAttack"

CANONICAL = {
    "foolbox:PGD": PGD,
    "foolbox:PGD()": PGD,
    "foolbox:LinfPGD(steps=50)": f"{PGD}(steps=50)",
    "foolbox:PGD(steps=5, rel_stepsize=1/4)": f"{PGD}(rel_stepsize=0.25;steps=5)",
    "foolbox:PGD( rel_stepsize = 0.25 , steps = 5 )": f"{PGD}(rel_stepsize=0.25;steps=5)",
    f"{PGD}(rel_stepsize=0.25;steps=5)": f"{PGD}(rel_stepsize=0.25;steps=5)",
    "foolbox:PGD(random_start=False)": f"{PGD}(random_start=False)",
    "foolbox:PGD(rel_stepsize=-0.0)": f"{PGD}(rel_stepsize=0.0)",
    "foolbox:PGD(rel_stepsize=1e-5)": f"{PGD}(rel_stepsize=1e-05)",
    "torchattacks:UPGD(loss='ce')": "torchattacks.UPGD(loss='ce')",
    "advlib:fmn(γ_init=0.1)": "advlib.fmn(γ_init=0.1)",
}
#: Names that cannot be used, and a part of the sentence that says why.
REFUSED = {
    "cleverhans:PGD": "unknown library of attacks 'cleverhans'. Available: advlib, art, foolbox and torchattacks",
    "fooolbox:PGD": "did you mean 'foolbox'?",
    ":PGD": "unknown library",
    "foolbox:LinfPDG": "unknown attack of foolbox 'LinfPDG'; did you mean 'LinfPGD'",
    "foolbox:*": "See 'bench list attacks foolbox'",
    "foolbox": "is not of the form <library>:<attack>(<parameter>=<value>, …)",
    "foolbox:PGD(steps=5": "parentheses must be closed",
    "foolbox:PGD(5)": "a parameter without a name",
    "foolbox:PGD(*[5])": "a parameter without a name",
    "foolbox:PGD(**{'steps': 5})": "a parameter without a name",
    "foolbox:PGD(steps=5)(6)": "text after its parameters",
    "foolbox:PGD(steps=5).x(a=1)": "text after its parameters",
    "foolbox:PGD(steps=5, steps=6)": "a parameter twice",
    "foolbox:PGD(steps=)": "no list of name=value",
    "foolbox:PGD(steps=n)": "the value of steps is not allowed; write a number",
    "foolbox:PGD(steps=__import__('os').getpid())": "the value of steps is not allowed",
    "foolbox:PGD(steps=[1])": "the value of steps is not allowed",
    "foolbox:PGD(steps=None)": "the value of steps is not allowed",
    "foolbox:PGD(steps=2**9999999)": "the value of steps is not allowed",
    "foolbox:PGD(steps=1/0)": "the value of steps is not allowed",
    "foolbox:PGD(steps=1e999)": "the value of steps is not allowed",
    "foolbox:PGD(steps=1j)": "the value of steps is not allowed",
    "foolbox:PGD(steps=99999999999999999999)": "the value of steps is not allowed",
    "foolbox:PGD(loss='../x')": "characters other than letters, digits and _ . + -",
    "foolbox:PGD(loss='a b')": "characters other than",
    "foolbox:PGD(a" + "a" * 90 + "=1)": "at most 100 are allowed",
    "foolbox:PGD(" + "(" * 400: "at most 300 are allowed",
    "foolbox:SpatialAttack": "cannot be a row: it rotates and moves images",
    "foolbox:LinfAdditiveUniformNoiseAttack": "leaves the ball",
    "torchattacks:GN": "cannot be a row",
}
#: Names that parse, but not with the parameters of the installed library.
NOT_ACCEPTED = {
    "foolbox:PGD(stps=5)": f"'{PGD.replace('.', ':')}' has no parameter 'stps'; did you mean 'steps'?",
    "foolbox:FGSM(steps=5)": "It has random_start.",
    "foolbox:InversionAttack(steps=5)": "It has none.",
    "foolbox:PGD(eps=0.1)": "'eps' of 'foolbox:LinfProjectedGradientDescentAttack' is given by --eps; leave it out.",
    "foolbox:PGD(norm='l2')": "is given by --norm",
    "foolbox:HopSkipJumpAttack(constraint='l2')": "is given by --norm",
    "foolbox:BoundaryAttack(tensorboard=False)": "is set by this program",
    "foolbox:VirtualAdversarialAttack": "needs the parameter 'steps'; write foolbox:VirtualAdversarialAttack(steps=…)",
}


@pytest.mark.parametrize("name", CANONICAL)
def test_a_name_has_one_canonical_form(name: str) -> None:
    attack = resolve(name)
    assert attack.name == CANONICAL[name]
    assert resolve(attack.name) == attack
    assert file_name_problem(check_name("attack", attack.name)) == ""


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_cannot_be_used_is_one_sentence(name: str) -> None:
    with pytest.raises(BenchError, match=re.escape(REFUSED[name])) as caught:
        resolve_all([name])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NOT_ACCEPTED)
def test_parameters_are_compared_with_the_library(name: str) -> None:
    resolve(name)  # stored cells are read without the library
    with pytest.raises(BenchError, match=re.escape(NOT_ACCEPTED[name])):
        resolve_all([name])


def test_a_library_that_is_missing_is_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import_module = importlib.import_module

    def missing(name: str) -> ModuleType:
        if name == "torchattacks":
            raise ModuleNotFoundError("No module named 'torchattacks'", name=name)
        return import_module(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(BenchError, match=r"not installed; run: python -m pip install 'torchattacks>=3.5.1'$"):
        check_library("torchattacks:PGD")
    assert resolve("torchattacks:PGD(steps=3)").params["steps"] == 3


def test_another_norm_is_refused() -> None:
    with pytest.raises(BenchError, match="does not support l2; it supports linf"):
        resolve("foolbox:PGD").spec("l2", 0.5, batch_size=8)


def cell_id(name: str, batch_size: int = 8) -> str:
    attack = resolve(name).spec("linf", 0.1, batch_size=batch_size)
    spec = EvalSpec(
        run_id="r", data_sha="d", attack=attack, protocol="standard", limit=None, batch_size=8, seed=0,
    )  # fmt: skip
    return spec.cell_id


def test_the_identity_has_library_version_attack_and_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    first = cell_id("foolbox:PGD(steps=5, rel_stepsize=0.25)")
    assert cell_id("foolbox:LinfPGD(rel_stepsize=1/4, steps=5)") == first
    others = ["foolbox:PGD(steps=5, rel_stepsize=0.5)", "foolbox:PGD(steps=5)", "foolbox:AdamPGD(steps=5)"]
    ids = {first, *map(cell_id, others), cell_id("foolbox:PGD(steps=5, rel_stepsize=0.25)", batch_size=4)}
    installed = backend_version(resolve("foolbox:PGD").entry)
    assert resolve("foolbox:PGD").params == {"library_version": installed} != {"library_version": ""}
    monkeypatch.setattr("bench.attacks.registry.metadata.version", lambda name: "9.9")
    assert len({*ids, cell_id("foolbox:PGD(steps=5, rel_stepsize=0.25)")}) == 6


def test_lists_are_split_outside_parentheses() -> None:
    text = "fgsm, foolbox:PGD(steps=5, rel_stepsize=1/4),pgd-5"
    parts = ["fgsm", "foolbox:PGD(steps=5, rel_stepsize=1/4)", "pgd-5"]
    assert split_list(text) == parts == Names().convert(text, None, None)
    assert RunConfig(attacks=text).attacks == tuple(parts)  # type: ignore[arg-type]
    assert split_list("a(b,c") == ["a(b", "c"]
    assert split_list("a)b,c(") == ["a)b", "c("]
    assert split_list(" , ") == []


def test_the_limit_of_an_attack_with_parameters() -> None:
    assert _attack_limits(["foolbox:PGD(steps=5)=100", "pgd-5=7"]) == {f"{PGD}(steps=5)": 100, "pgd-5": 7}


def test_the_reference_backend_and_bfloat16_are_refused() -> None:
    with pytest.raises(BenchError, match="use --attack-backend native"):
        resolve("foolbox:PGD", "reference")
    with pytest.raises(BenchError, match="searches in fp32"):
        resolve("foolbox:PGD").at("bf16")
    with pytest.raises(BenchError, match="leave out --max-queries"):
        resolve("foolbox:PGD").spec("linf", 0.1, batch_size=8, max_queries=5)


def test_requirements_are_those_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for prefix, library in LIBRARIES.items():
        declared = extras.get(prefix, project["dependencies"])
        assert library.requirement in declared
        assert Requirement(library.requirement).name == library.distribution


@pytest.mark.parametrize("prefix", LIBRARIES)
def test_tables_are_consistent(prefix: str) -> None:
    library = LIBRARIES[prefix]
    assert not set(library.attacks) & set(library.excluded)
    assert set(library.aliases.values()) <= set(library.attacks)
    for name, described in library.attacks.items():
        attack = resolve(f"{prefix}:{name}")
        assert dataclasses.astuple(parse(attack.name))[:2] == (prefix, name)
        assert described.norms
        cost = attack.entry.cost(attack.params, 10)
        assert cost.forwards >= 1
        assert bool(cost.backwards) == (described.uses_gradient or described.mixed)


def test_costs_follow_the_parameters() -> None:
    def forwards(name: str) -> int:
        attack = resolve(name)
        return attack.entry.cost(attack.params, 10).forwards

    assert forwards("torchattacks:EOTPGD(steps=50, eot_iter=4)") - forwards("torchattacks:EOTPGD(steps=1)") == 198
    assert forwards("foolbox:PGD(steps='many')") == forwards("foolbox:PGD")
    assert resolve("foolbox:BoundaryAttack").costly(10)
    assert not resolve("foolbox:PGD").costly(10)
