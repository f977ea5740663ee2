"""Attacks of other libraries against models whose margin is known, against our own, and the tables of their traits.

Libraries that are not installed are skipped by name. foolbox is a dependency of the project.
"""

from __future__ import annotations

import inspect

import pytest
import torch
from nets import correct, trained
from test_analytic import MARGIN, robust_count
from torch import Tensor, nn

from bench.attacks.adapter import call_attack
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.libraries.installed import adapter_of, library_module, parameters_of
from bench.attacks.libraries.names import LIBRARIES
from bench.attacks.registry import resolve
from bench.core.errors import CellFailure
from bench.core.specs import Norm
from bench.evaluation.pass_counter import CountingModel
from bench.evaluation.verify import verified

#: Attacks of every library that reach the boundary of a linear model at 1.2 times the distance.
REACHING: list[tuple[str, Norm]] = [
    ("foolbox:FGSM", "linf"),
    ("foolbox:LinfBasicIterativeAttack(steps=5)", "linf"),
    ("foolbox:PGD(steps=20, rel_stepsize=0.25)", "linf"),
    ("foolbox:MIFGSM(steps=5)", "linf"),
    ("foolbox:LinfDeepFoolAttack", "linf"),
    ("foolbox:LInfFMNAttack(steps=100)", "linf"),
    ("foolbox:FGM", "l2"),
    ("foolbox:L2PGD(steps=20, rel_stepsize=0.25)", "l2"),
    ("foolbox:L2DeepFoolAttack", "l2"),
    ("foolbox:DDNAttack(steps=100)", "l2"),
    ("torchattacks:FGSM", "linf"),
    ("torchattacks:PGD(steps=20)", "linf"),
    ("torchattacks:APGD(steps=20)", "linf"),
    ("torchattacks:APGD(steps=20)", "l2"),
    ("torchattacks:PGDL2(steps=20)", "l2"),
    ("torchattacks:DeepFool", "l2"),
    ("art:FastGradientMethod", "linf"),
    ("art:FastGradientMethod", "l2"),
    ("art:ProjectedGradientDescent(max_iter=20, eps_step=0.01)", "linf"),
    ("art:DeepFool", "l2"),
    ("advlib:pgd_linf(steps=20, relative_step_size=0.25)", "linf"),
    ("advlib:apgd(n_iter=20, loss_function='ce')", "linf"),
    ("advlib:apgd(n_iter=20, loss_function='ce')", "l2"),
    ("advlib:ddn(steps=100, levels=4096)", "l2"),
    ("advlib:fmn(steps=100)", "l2"),
    ("advlib:fmn(steps=100)", "linf"),
]


def need(prefix: str) -> None:
    """Skip the test if a library is not installed, or if what it needs is not."""
    pytest.importorskip(LIBRARIES[prefix].module)
    if prefix == "advlib":
        pytest.importorskip("visdom")


@pytest.mark.parametrize(("name", "norm"), REACHING)
def test_the_exact_margin_decides_which_images_break(name: str, norm: Norm) -> None:
    """No image breaks below its distance to the boundary, and every image breaks a little above it."""
    need(name.partition(":")[0])
    found, n = robust_count(name, norm, 0.98 * MARGIN[norm], MARGIN[norm])
    assert found == n
    assert robust_count(name, norm, 1.2 * MARGIN[norm], MARGIN[norm]) == (0, n)


ONE_STEP = ["foolbox:FGSM", "torchattacks:FGSM", "art:FastGradientMethod"]


@pytest.mark.parametrize("eps", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("name", ONE_STEP)
def test_one_step_has_the_verdicts_of_our_own(name: str, eps: float) -> None:
    need(name.partition(":")[0])
    net = trained("strided")
    inputs, labels = correct(net, 100)
    with torch.no_grad():
        verdicts = [net(attacked(n, net, inputs, labels, "linf", eps)).argmax(1) == labels for n in (name, "fgsm")]
    assert torch.equal(*verdicts)
    assert 0 < verdicts[0].sum() < len(labels)


def attacked(name: str, model: nn.Module, inputs: Tensor, labels: Tensor, norm: Norm, eps: float) -> Tensor:
    attack = resolve(name)
    spec = attack.spec(norm, eps, batch_size=len(inputs))
    rng = SampleRng(0, attack.name, [str(i) for i in range(len(inputs))])
    result = call_attack(attack.entry, model, inputs.clone(), labels.clone(), spec=spec, rng=rng)
    return verified(inputs, result.adversarials, norm, eps)


#: Number of steps that makes any attack short, by the parameter that has it.
SHORT = {
    "steps": 3, "repeats": 2, "binary_search_steps": 1, "directions": 5, "initial_gradient_eval_steps": 5,
    "max_gradient_eval_steps": 10,
}  # fmt: skip
LEFT_OUT = {"NewtonFoolAttack", "PointwiseAttack"}  # returns NaN for confident networks; is slow
FOOLBOX = [(n, norm) for n, d in LIBRARIES["foolbox"].attacks.items() for norm in d.norms if n not in LEFT_OUT]


@pytest.mark.parametrize(("attack", "norm"), FOOLBOX)
def test_every_attack_of_foolbox_runs_with_its_traits(attack: str, norm: Norm) -> None:
    """It stays in the ball, is repeatable, leaves the model alone, and uses gradients as its table says."""
    known = parameters_of(adapter_of("foolbox").find(attack))
    name = f"foolbox:{attack}({', '.join(f'{key}={value}' for key, value in SHORT.items() if key in known)})"
    net = trained("strided")
    inputs, labels = correct(net, 4)
    eps = {"linf": 0.2, "l2": 1.5, "l1": 6.0}[norm]
    gradients = [parameter.grad for parameter in net.parameters()]
    models = [CountingModel(net).eval() for _ in range(2)]
    first, second = (attacked(name, model, inputs, labels, norm, eps) for model in models)
    assert torch.equal(first, second)
    described = LIBRARIES["foolbox"].attacks[attack]
    assert (models[0].backwards > 0) == described.uses_gradient
    assert all(parameter.grad is old for parameter, old in zip(net.parameters(), gradients, strict=True))


def test_the_table_of_foolbox_is_complete_and_has_its_norms_and_kinds() -> None:
    attacks, base = library_module("foolbox", "attacks"), library_module("foolbox", "attacks.base")
    library = LIBRARIES["foolbox"]
    classes = {
        name: kind
        for name, kind in vars(attacks).items()
        if inspect.isclass(kind) and issubclass(kind, base.Attack) and not inspect.isabstract(kind)
    }
    assert {name: kind.__name__ for name, kind in classes.items() if kind.__name__ != name} == library.aliases
    assert set(classes) == set(library.attacks) | set(library.excluded) | set(library.aliases)
    norms = {"Linf distance": "linf", "L2 distance": "l2", "L1 distance": "l1"}
    for name, described in library.attacks.items():
        kind = classes[name]
        assert described.minimal_norm == issubclass(kind, base.MinimizationAttack), name
        assert described.minimal_norm != issubclass(kind, base.FixedEpsilonAttack), name
        distance = getattr(kind, "distance", None)
        if not described.norm and distance is not None and not isinstance(distance, property):
            assert described.norms == (norms[str(distance)],), name
        assert (described.norm or "steps") in {*parameters_of(kind), "steps"}, name


def test_an_attack_that_divides_by_zero_is_no_robustness() -> None:
    """NewtonFool divides by the gradient of a probability, which vanishes for a confident network."""
    net = trained("strided")
    inputs, labels = correct(net, 4)
    with pytest.raises(CellFailure, match="NaN or infinite pixels"):
        attacked("foolbox:NewtonFoolAttack(steps=3)", net, inputs, labels, "l2", 1.5)


@pytest.mark.parametrize("prefix", ["torchattacks", "art", "advlib"])
def test_the_tables_of_other_libraries_name_what_exists(prefix: str) -> None:
    need(prefix)
    library = LIBRARIES[prefix]
    for name, described in library.attacks.items():
        found = adapter_of(prefix).find(name)
        assert found is not None, name
        known = parameters_of(found)
        assert {described.eps, described.norm} - {""} <= set(known), name
        assert bool(described.eps) or described.minimal_norm, name
        assert (len(described.norms) == 1) or described.norm, name
