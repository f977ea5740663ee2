"""FGSM, PGD and AutoAttack of both backends: batch invariance, step sizes, few classes, one beside the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.attacks.adapter import call_attack
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.ensemble import cost, notes
from bench.attacks.geometry.norms import length
from bench.attacks.pgd_attack import step_size
from bench.attacks.registry import resolve, resolve_all
from bench.core.errors import BenchError
from bench.core.specs import Backend
from bench.evaluation.pass_counter import CountingModel

EPS = {"linf": 0.1, "l2": 0.5}


def small_net(num_classes: int = 5, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(8 * 36, num_classes))
    return net.eval().requires_grad_(False)


def some_images(model: nn.Module, count: int = 12) -> tuple[Tensor, Tensor]:
    inputs = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    return inputs, model(inputs).argmax(1)


def run(
    name: str,
    norm: str,
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    ids: list[str],
    seed: int = 0,
    backend: Backend = "native",
    eps: float | None = None,
) -> Tensor:
    attack = resolve(name, backend)
    spec = attack.spec(norm, eps or EPS[norm], batch_size=64)  # type: ignore[arg-type]
    rng = SampleRng(seed, attack.name, ids)
    return call_attack(attack.entry, model, inputs, labels, spec=spec, rng=rng).adversarials


BACKENDS: tuple[Backend, ...] = ("native", "reference")


@pytest.mark.parametrize("backend", BACKENDS)
def test_fgsm_is_its_formula(backend: Backend) -> None:
    model = small_net()
    inputs, labels = some_images(model)
    leaf = inputs.clone().requires_grad_(True)
    nn.functional.cross_entropy(model(leaf), labels, reduction="sum").backward()
    expected = (inputs + EPS["linf"] * leaf.grad.sign()).clamp(0, 1)
    found = run("fgsm", "linf", model, inputs, labels, [""] * len(inputs), backend=backend)
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["fgsm", "pgd", "pgd-5-r3"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_images_adversarial_does_not_depend_on_its_batch(name: str, norm: str, backend: Backend) -> None:
    model = small_net().double()
    inputs, labels = some_images(model.float())
    model, inputs = model.double(), inputs.double()
    ids = [f"test/{i}" for i in range(len(inputs))]
    whole = run(name, norm, model, inputs, labels, ids, backend=backend)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(5))
    for size in (1, 5):
        for part in order.split(size):
            again = run(name, norm, model, inputs[part], labels[part], [ids[i] for i in part], backend=backend)
            assert torch.allclose(again, whole[part], atol=1e-9)


def test_pgd_reaches_the_edge_and_beats_fgsm() -> None:
    """The default step crosses the ball; a step of ε/30 would end inside it. Foolbox's walk goes to its end."""
    model = small_net()
    inputs, labels = some_images(model, 64)
    ids = [str(i) for i in range(64)]
    adversarials = run("pgd", "linf", model, inputs, labels, ids, backend="reference")
    assert length(adversarials - inputs, "linf").min() == pytest.approx(EPS["linf"], abs=1e-6)
    one_step = run("fgsm", "linf", model, inputs, labels, ids)
    loss = lambda x: nn.functional.cross_entropy(model(x), labels, reduction="none")  # noqa: E731
    assert (loss(adversarials) >= loss(one_step) - 1e-4).double().mean() > 0.95


def test_step_size_crosses_the_ball() -> None:
    assert step_size(0.1, 20) == pytest.approx(0.0125)
    assert step_size(0.1, 1) == 0.1


def test_pgd_starts_at_random_and_each_restart_elsewhere() -> None:
    model = small_net()
    inputs, labels = some_images(model)
    ids = [str(i) for i in range(len(inputs))]
    assert not torch.equal(
        run("pgd-1", "l2", model, inputs, labels, ids, 0), run("pgd-1", "l2", model, inputs, labels, ids, 1)
    )


def test_restarts_only_take_what_is_standing() -> None:
    model = small_net()
    inputs, labels = some_images(model)
    counting = CountingModel(model)
    run("pgd-10-r5", "linf", counting, inputs, labels, [str(i) for i in range(len(inputs))])
    all_broken = (
        model(run("pgd-10", "linf", model, inputs, labels, [str(i) for i in range(len(inputs))])).argmax(1) != labels
    )
    assert counting.backwards < 11 * 5 * len(inputs)
    assert all_broken.any()


def test_every_restart_is_run_on_what_survives() -> None:
    model = small_net()
    model[3].weight.mul_(1e-4)
    model[3].bias.copy_(torch.arange(5.0))
    inputs, labels = some_images(model)
    counting = CountingModel(model)
    run("pgd-4-r3", "linf", counting, inputs, labels, [str(i) for i in range(len(inputs))])
    assert counting.backwards == 5 * 3 * len(inputs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_randomness_comes_from_the_seed(backend: Backend) -> None:
    model = small_net(10)
    inputs, labels = some_images(model, 4)
    seeds = (0, 0, 1)
    found = [run("apgd-ce", "linf", model, inputs, labels, list("abcd"), seed=s, backend=backend) for s in seeds]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


ALL_STAGES = "autoattack-apgd-ce+apgd-dlr+fab+square+apgd-t+fab-t-i10-s40"


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *[(name, "native") for name in ("autoattack", "autoattack-plus", "autoattack-rand", "apgd-ce")],
        (ALL_STAGES, "reference"),
        *[pytest.param(name, "reference", marks=pytest.mark.slow) for name in ("autoattack", "autoattack-rand")],
    ],
)
@pytest.mark.parametrize("num_classes", [2, 3, 4, 12])
def test_autoattack_with_any_number_of_classes(
    name: str, num_classes: int, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With short stages, and a budget that leaves images for every one of them."""
    monkeypatch.setattr("bench.attacks.ensemble.ITERATIONS", 10)
    monkeypatch.setattr("bench.attacks.ensemble.SQUARE_QUERIES", 40)
    model = small_net(num_classes)
    inputs, labels = some_images(model, 3)
    state = torch.get_rng_state()
    adversarials = run(name, "linf", model, inputs, labels, ["a", "b", "c"], backend=backend, eps=0.001)
    assert torch.equal(state, torch.get_rng_state())
    assert adversarials.shape == inputs.shape
    assert length(adversarials - inputs, "linf").max() <= 0.001 + 1e-6
    assert (model(adversarials).argmax(1) == labels).any()


def test_the_row_says_what_few_classes_change() -> None:
    standard = {"version": "standard"}
    assert notes(standard, 10) == ()
    assert notes(standard, 9) == ("target classes: 8 in place of 9",)
    assert notes(standard, 3)[1] == "margin loss in place of DLR in apgd-t: 3 classes"
    assert notes({"version": "plus"}, 2)[1] == "margin loss in place of DLR in apgd-dlr, apgd-t: 2 classes"
    assert notes({"version": "apgd-ce"}, 2) == ()


@pytest.mark.parametrize("backend", ["native", pytest.param("reference", marks=pytest.mark.slow)])
def test_the_stated_cost_of_autoattack_is_what_a_survivor_costs(backend: Backend) -> None:
    """A model with wide margins, on which no stage succeeds; counted by the model itself."""
    model = small_net(10)
    model[3].weight.mul_(1e-4)  # features hardly matter …
    model[3].bias.copy_(torch.arange(10.0))  # … the bias decides
    inputs, labels = some_images(model, 2)
    counting = CountingModel(model)
    run("autoattack", "linf", counting, inputs, labels, ["a", "b"], backend=backend)
    stated = cost({"version": "standard"}, 10)
    # FAB's share of our own is smaller where it never crosses the boundary: it asks once a step, not twice.
    assert 0.85 * stated.forwards <= counting.forwards / 2 <= 1.05 * stated.forwards
    assert counting.backwards / 2 == pytest.approx(stated.backwards, rel=0.05)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [("pgd", "pgd-20"), ("pgd-20", "pgd-20"), ("pgd-20-r1", "pgd-20"), ("pgd-50-r5", "pgd-50-r5")],
)
def test_names_of_pgd(name: str, canonical: str) -> None:
    assert resolve(name).name == canonical


@pytest.mark.parametrize("name", ["pgd-0", "pgd-5-r0", "pgd-", "pgd20", "pgd-x", "pgd-5-5", "PGD"])
def test_names_that_mean_nothing(name: str) -> None:
    with pytest.raises(BenchError):
        resolve(name)


def test_one_attack_named_twice_is_one_attack() -> None:
    assert [attack.name for attack in resolve_all(["pgd", "pgd-20", "fgsm", "fg*"])] == ["pgd-20", "fgsm"]


def test_a_wildcard_stands_for_what_there_is_in_the_norm_and_through_the_backend() -> None:
    linf, l2 = ({attack.name for attack in resolve_all(["*"], norm=norm)} for norm in ("linf", "l2"))
    assert "ddn-100" in l2 - linf
    assert linf > {"fgsm", "pgd-20", "autoattack"}
    assert {attack.name for attack in resolve_all(["*"], "reference", "linf")} < linf
