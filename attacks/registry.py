"""The table of attacks: a name or a family of names, its source, its cost, and where its function lies."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from bench.core.errors import BenchError, unknown_name
from bench.core.names import as_text, check_name
from bench.core.registry import Registry, is_none, is_pattern
from bench.core.specs import AttackSpec, Backend, Norm, Precision, Scalar
from bench.core.vocabulary import NATIVE, REFERENCE

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.attacks.engine.counter_rng import SampleRng


class Attack(Protocol):
    """Signature and contract of an attack function.

    ``inputs`` is (N, C, H, W), float32 or float64, in [0, 1]; ``labels`` is (N,), int64; ``eps`` is in units of [0, 1]
    pixels. The result has the shape of ``inputs``. ``params`` are the attack's own: those of its entry and its name.
    An attack that batches itself gets ``batch_size``, too, and one that is ``bounded`` may get a ``query_budget``
    (:class:`bench.attacks.engine.query_budget.QueryBudget`). It does not measure or print; the caller checks budget,
    box and verdict.
    """

    def __call__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        *,
        norm: Norm,
        eps: float,
        rng: SampleRng,
        **params: Any,
    ) -> Tensor: ...


class Cost(NamedTuple):
    """Passes an image costs: when it survives to the end, and when it breaks at once."""

    forwards: int
    backwards: int
    least_forwards: int
    least_backwards: int


class Library(NamedTuple):
    """The same attack computed by an independent library."""

    function: str  # "module:function", imported when first used
    distribution: str  # that computes it
    batches_itself: bool = False
    draws_by_batch: bool = False
    norms: tuple[Norm, ...] | None = None  # those it has of the attack's; None: all


STRONGEST = 4  # the last place among the columns of the leaderboard, of attacks that are in no order


@dataclass(frozen=True, kw_only=True)
class AttackEntry:
    """A declaration. ``grammar`` describes the names after the registered one, such as ``-50-r5`` of ``pgd-50-r5``.

    The traits decide how the harness treats the attack; no other list of attack names does.
    """

    summary: str
    source: str
    function: str | Attack  # "module:function", imported when first used, or the function itself
    norms: tuple[Norm, ...] = ("linf", "l2")
    version: int = 1  # changes when the attack's numbers may
    backend: str = "collapse-bench"  # distribution that computes it
    # Traits
    uses_gradient: bool  # finds each adversarial image along gradients; False for ensembles with a random search, too
    minimal_norm: bool = False  # searches for the nearest adversarial image, not for any in the ball
    targeted: bool = False  # its function has a targeted form, with the keyword ``targets``
    family: str = ""  # attacks on one loss that differ in steps: the audit expects more steps to break no less
    filters: bool = False  # images that it broke are not attacked again under the protocol ``prefiltered``
    strength: int = STRONGEST  # place among the columns of the leaderboard, from 0
    # Parameters
    params: Mapping[str, Scalar] = field(default_factory=dict)
    norm_params: Mapping[Norm, Mapping[str, Scalar]] = field(default_factory=dict)  # beside ``params`` in these norms
    arguments: Callable[[Mapping[str, Scalar]], Mapping[str, Scalar]] | None = None  # parameters to other keywords
    grammar: str = ""  # regular expression with one named group per parameter
    spell: Callable[[Mapping[str, Scalar]], str] | None = None  # parameters to the canonical name
    explain: Callable[[str], str] | None = None  # what is wrong with a name "<family>-…" that the grammar does not take
    # Cost and calls
    cost: Callable[[Mapping[str, Scalar], int], Cost] = lambda params, num_classes: Cost(1, 1, 1, 1)
    notes: Callable[[Mapping[str, Scalar], int], tuple[str, ...]] = lambda params, num_classes: ()
    batches_itself: bool = False  # takes all images at once, with the keyword ``batch_size``
    draws_by_batch: bool = False  # its randomness is that of a library: the batch size is part of what is asked for
    bounded: bool = False  # takes the keyword ``query_budget``, and reports which searches that ended
    precisions: tuple[Precision, ...] = ("fp32",)  # it can search in
    reference: Library | None = None

    def __post_init__(self) -> None:
        """Raise BenchError for a backend whose name is not allowed."""
        check_name("backend", self.backend)

    @property
    def takes_fast_model(self) -> bool:
        """Whether it takes a :class:`~bench.attacks.engine.fast_model.FastModel`: all that search in bfloat16 do."""
        return "bf16" in self.precisions


ATTACKS: Registry[AttackEntry] = Registry("attack")

BUILTIN = "bench.attacks.builtin"  # the origin of the attacks that come with the project

#: From here on an attack gets the data set's ``costly_limit`` of images unless the user says otherwise.
COSTLY_FORWARDS = 1000


class ResolvedAttack(NamedTuple):
    """A name the user wrote, understood: the canonical name, its entry and its parameters."""

    name: str
    entry: AttackEntry
    params: Mapping[str, Scalar]
    origin: str  # who registered it
    backend: Backend = NATIVE
    precision: Precision = "fp32"

    def spec(
        self, norm: Norm, eps: float, *, batch_size: int, code_sha: str = "", max_queries: int | None = None
    ) -> AttackSpec:
        """The attack at one budget. Raises BenchError for a norm or a bound that the attack does not have."""
        if norm not in self.entry.norms:
            through = f" through {self.entry.backend}" if self.backend == REFERENCE else ""
            known = " and ".join(self.entry.norms)
            raise BenchError(f"attack {self.name!r} has no {norm} form{through}; it has {known}.")
        params = {**self.params, **self.entry.norm_params.get(norm, {})}
        if self.entry.draws_by_batch:
            params["batch_size"] = batch_size
        if max_queries is not None:
            self._check_bounded(max_queries)
            params["max_queries"] = max_queries
        return AttackSpec(
            name=self.name,
            norm=norm,
            eps=eps,
            version=self.entry.version,
            params=params,
            code_sha=code_sha,
            backend=self.backend,
            precision=self.precision,
        )

    def _check_bounded(self, max_queries: int) -> None:
        if max_queries < 1:
            raise BenchError(f"max_queries {max_queries} is less than 1.")
        if not self.entry.bounded:
            raise BenchError(
                f"attack {self.name!r} of {self.entry.backend} cannot be stopped after {max_queries} forward passes an "
                "image; leave out --max-queries, or take another attack with --attack-backend native."
            )

    def at(self, precision: Precision) -> ResolvedAttack:
        """The attack searching in ``precision``. Raises BenchError when it does not know it."""
        if precision not in self.entry.precisions:
            known = " and ".join(self.entry.precisions)
            raise BenchError(
                f"attack {self.name!r}, computed by {self.entry.backend}, searches in {known}, not in {precision}; "
                "use --attack-precision auto, which takes for every attack what it can."
            )
        return self._replace(precision=precision)

    def costly(self, num_classes: int) -> bool:
        return self.entry.cost(self.params, num_classes).forwards >= COSTLY_FORWARDS


def resolve(name: str, backend: Backend = NATIVE) -> ResolvedAttack:
    """Understand one attack name. Raises BenchError with the nearest names when there is none.

    With ``backend`` "reference" an independent library computes it; BenchError when the attack has none.

    >>> resolve("pgd").name, dict(resolve("pgd-50-r5").params)
    ('pgd-20', {'steps': 50, 'restarts': 5})
    """
    if name in ATTACKS:
        return _resolved(name, {}, backend)
    for family in ATTACKS:
        entry = ATTACKS.get(family)
        match = re.fullmatch(re.escape(family) + entry.grammar, name) if entry.grammar else None
        if match:
            texts = {key: text for key, text in match.groupdict().items() if text is not None}
            given: dict[str, Scalar] = {key: int(t) if t.isdecimal() else t for key, t in texts.items()}
            if 0 in given.values():
                raise BenchError(
                    f"attack {name!r}: {' and '.join(k for k in given if not given[k])} must be at least 1."
                )
            found = _resolved(family, given, backend)
            return found if found.name == name else resolve(found.name, backend)
    known = [*ATTACKS, *(resolve(family).name for family in ATTACKS)]
    explained = [f"{explain(name)} " for explain in _explanations(name)]
    raise unknown_name("attack", name, sorted(set(known)), hint=f"{''.join(explained)}See 'bench list attacks'.")


def _explanations(name: str) -> list[Callable[[str], str]]:
    entries = {family: ATTACKS.get(family) for family in ATTACKS}
    return [entry.explain for family, entry in entries.items() if entry.explain and name.startswith(f"{family}-")]


def resolve_all(patterns: list[str], backend: Backend = NATIVE, norm: Norm | None = None) -> list[ResolvedAttack]:
    """Names and wildcards to attacks, each once, in the order given.

    The one word ``none`` stands for no attack. A wildcard stands for what there is in ``norm`` through ``backend``; a
    name that is not is an error, here or later.
    """
    if is_none("attack", patterns):
        return []
    found = [attack for pattern in patterns for attack in _matching(pattern, backend, norm)]
    return list({attack.name: attack for attack in found}.values())


def _matching(pattern: str, backend: Backend, norm: Norm | None) -> list[ResolvedAttack]:
    if not is_pattern(pattern):
        return [resolve(pattern, backend)]
    able = [name for name in ATTACKS.expand(pattern) if backend == NATIVE or ATTACKS.get(name).reference]
    found = [attack for attack in (resolve(name, backend) for name in able) if norm in (None, *attack.entry.norms)]
    if not found:
        raise BenchError(f"no attack that matches {pattern!r} is there for {norm or 'any norm'}, {backend}.")
    return found


def _resolved(family: str, given: Mapping[str, Scalar], backend: Backend) -> ResolvedAttack:
    entry = ATTACKS.get(family)
    params = {**entry.params, **given}
    name = check_name("attack", entry.spell(params) if entry.spell else family, origin=ATTACKS.origin(family))
    if backend == REFERENCE:
        entry = _through_library(name, entry)
    return ResolvedAttack(name, entry, params, ATTACKS.origin(family), backend)


def _through_library(name: str, entry: AttackEntry) -> AttackEntry:
    if entry.reference is None:
        raise BenchError(f"no independent library computes attack {name!r} here; use --attack-backend native.")
    function, distribution, batches_itself, draws_by_batch, norms = entry.reference
    return dataclasses.replace(
        entry,
        function=function,
        arguments=None,
        backend=distribution,
        batches_itself=batches_itself,
        draws_by_batch=draws_by_batch,
        bounded=False,
        precisions=("fp32",),
        norms=norms or entry.norms,
    )


def entry_of(spec: AttackSpec) -> AttackEntry | None:
    """Return the entry of the attack of a stored cell; None if the plug-in that registered it is not loaded."""
    try:
        attack = resolve(spec.name)
    except BenchError:
        return None
    by_plugin = attack.origin != BUILTIN
    return attack.entry if by_plugin == bool(spec.code_sha) else None


def cost_of(entry: AttackEntry, params: Mapping[str, Scalar], num_classes: int) -> Cost:
    """Return the most and the fewest passes per image, each capped at ``params["max_queries"]`` if that is given."""
    cost, bound = entry.cost(params, num_classes), params.get("max_queries")
    return cost if bound is None else Cost(*(min(passes, int(bound)) for passes in cost))


def load_function(entry: AttackEntry) -> Attack:
    """The attack's function, imported now if it was declared by its address."""
    if not isinstance(entry.function, str):
        return entry.function
    module, _, attribute = entry.function.partition(":")
    function: Attack = getattr(importlib.import_module(module), attribute)
    return function


def backend_version(entry: AttackEntry) -> str:
    """The installed version of the library that computes the attack; empty when it is no distribution."""
    try:
        return as_text(metadata.version(entry.backend))
    except metadata.PackageNotFoundError:
        return ""
