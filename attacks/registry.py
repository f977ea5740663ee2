"""The registry of attacks: the name or family of names, source, cost, traits and function of each."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from bench.attacks.libraries.names import is_of_library, parse
from bench.core.errors import BenchError, unknown_name
from bench.core.names import as_text, check_name
from bench.core.number_text import is_whole, quoted
from bench.core.registry import Registry, is_none, is_pattern
from bench.core.specs import AttackSpec, Backend, Norm, Precision, Scalar
from bench.core.vocabulary import NATIVE, REFERENCE

if TYPE_CHECKING:
    from torch import Tensor, nn


class Attack(Protocol):
    """Contract of an attack function, ``f(model, inputs, labels, *, norm, eps, rng, **params)``.

    ``inputs`` is (N, C, H, W), float32 or float64, in [0, 1]; ``labels`` is (N,), int64; ``eps`` is in units of [0, 1]
    pixels. The result has the shape of ``inputs``. ``params`` are the parameters given by the registry entry and the
    name of the attack. An attack with ``batches_itself`` also gets ``batch_size``. A ``bounded`` attack may get a
    ``query_budget`` (:class:`bench.attacks.engine.query_budget.QueryBudget`). An attack does not measure or print. The
    caller checks the budget and the box, and verifies the prediction.
    """

    def __call__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        /,
        *args: Any,
        **params: Any,
    ) -> Tensor:
        """Return the attacked images, (N, C, H, W)."""


class Cost(NamedTuple):
    """Passes per image: for an image without an adversarial point, and the minimum of any image."""

    forwards: int
    backwards: int
    least_forwards: int
    least_backwards: int


class Library(NamedTuple):
    """The same attack computed by an independent library."""

    function: str  # "module:function", imported when first used
    distribution: str  # name of the installed distribution
    batches_itself: bool = False
    draws_by_batch: bool = False
    norms: tuple[Norm, ...] | None = None  # norms of the attack that the library supports; None for all


STRONGEST = 4  # position after all ordered attacks among the columns of the leaderboard


@dataclass(frozen=True, kw_only=True)
class AttackEntry:
    """Declaration of an attack.

    ``grammar`` describes the part of a name after the registered name, such as ``-50-r5`` in ``pgd-50-r5``. Only the
    traits determine how the harness treats the attack. No other list of attack names exists.
    """

    summary: str
    source: str
    function: str | Attack  # "module:function", imported when first used, or the function itself
    norms: tuple[Norm, ...] = ("linf", "l2")
    version: int = 1  # incremented when the results of the attack may change
    backend: str = "collapse-bench"  # distribution that computes the attack
    # Traits
    uses_gradient: bool  # every adversarial image is found along gradients; False for ensembles with a random search
    minimal_norm: bool = False  # searches for the nearest adversarial image, not for any image in the ball
    targeted: bool = False  # the function has a targeted form, with the keyword ``targets``
    family: str = ""  # attacks on the same loss with other steps: more steps must not give a higher robust accuracy
    filters: bool = False  # under the protocol ``prefiltered``, later attacks skip the images that it makes adversarial
    strength: int = STRONGEST  # position among the columns of the leaderboard, from 0
    # Parameters
    params: Mapping[str, Scalar] = field(default_factory=dict)
    norm_params: Mapping[Norm, Mapping[str, Scalar]] = field(default_factory=dict)  # added to ``params`` in these norms
    arguments: Callable[[Mapping[str, Scalar]], Mapping[str, Scalar]] | None = None  # parameters to keyword arguments
    grammar: str = ""  # regular expression with one named group per parameter
    spell: Callable[[Mapping[str, Scalar]], str] | None = None  # parameters to the canonical name
    explain: Callable[[str], str] | None = None  # a name "<family>-…" that does not match the grammar to its error
    # Cost and calls
    cost: Callable[[Mapping[str, Scalar], int], Cost] = lambda params, num_classes: Cost(1, 1, 1, 1)
    notes: Callable[[Mapping[str, Scalar], int], tuple[str, ...]] = lambda params, num_classes: ()
    batches_itself: bool = False  # takes all images at once, with the keyword ``batch_size``
    draws_by_batch: bool = False  # a library whose random draws depend on the batch size, which becomes a parameter
    bounded: bool = False  # takes the keyword ``query_budget``, and reports which searches the budget ended
    precisions: tuple[Precision, ...] = ("fp32",)  # precisions of the search
    reference: Library | None = None

    def __post_init__(self) -> None:
        """Raise BenchError for an invalid name of the backend."""
        check_name("backend", self.backend)

    @property
    def takes_fast_model(self) -> bool:
        """True if it accepts a :class:`~bench.attacks.engine.fast_model.FastModel`: if it can search in bfloat16."""
        return "bf16" in self.precisions


ATTACKS: Registry[AttackEntry] = Registry("attack")

BUILTIN = "bench.attacks.builtin"  # the origin of the attacks that come with the project

#: By default, an attack with this many forward passes per image or more attacks only ``costly_limit`` images.
COSTLY_FORWARDS = 1000


class ResolvedAttack(NamedTuple):
    """An attack name given by the user, resolved to its canonical name, entry and parameters."""

    name: str
    entry: AttackEntry
    params: Mapping[str, Scalar]
    origin: str  # the module or plug-in that registered it
    backend: Backend = NATIVE
    precision: Precision = "fp32"

    def spec(
        self, norm: Norm, eps: float, *, batch_size: int, code_sha: str = "", max_queries: int | None = None
    ) -> AttackSpec:
        """Return the spec of the attack for one budget.

        Raises BenchError for a norm that the attack does not support, and for ``max_queries`` unless it is ``bounded``.
        """
        if norm not in self.entry.norms:
            through = f" through {self.entry.backend}" if self.backend == REFERENCE else ""
            known = " and ".join(self.entry.norms)
            raise BenchError(f"attack {self.name!r} does not support {norm}{through}; it supports {known}.")
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
            raise BenchError(f"max_queries is {max_queries}; it must be 1 or more.")
        if not self.entry.bounded:
            raise BenchError(
                f"attack {self.name!r} of {self.entry.backend} cannot be stopped after {max_queries} forward passes "
                "per image; leave out --max-queries, or use another attack with --attack-backend native."
            )

    def at(self, precision: Precision) -> ResolvedAttack:
        """Return the attack with a search in ``precision``. Raises BenchError if the attack does not support it."""
        if precision not in self.entry.precisions:
            known = " and ".join(self.entry.precisions)
            raise BenchError(
                f"attack {self.name!r}, computed by {self.entry.backend}, searches in {known}, not in {precision}; "
                "use --attack-precision auto, which chooses a supported precision for every attack."
            )
        return self._replace(precision=precision)

    def costly(self, num_classes: int) -> bool:
        """Return whether the attack makes ``COSTLY_FORWARDS`` forward passes per image or more."""
        return self.entry.cost(self.params, num_classes).forwards >= COSTLY_FORWARDS


def resolve(name: str, backend: Backend = NATIVE) -> ResolvedAttack:
    """Resolve one attack name, such as ``pgd-50`` or ``foolbox:LinfPGD(steps=50)``.

    With ``backend`` "reference", an independent library computes the attack. Raises BenchError, with the nearest names,
    for an unknown name. Also raises BenchError if no library computes the attack.

    >>> resolve("pgd").name, dict(resolve("pgd-50-r5").params)
    ('pgd-20', {'steps': 50, 'restarts': 5})
    """
    if name in ATTACKS:
        return _resolved(name, {}, backend)
    if is_of_library(name):
        return _of_library(name, backend)
    for family in ATTACKS:
        entry = ATTACKS.get(family)
        match = re.fullmatch(re.escape(family) + entry.grammar, name, re.ASCII) if entry.grammar else None
        if match:
            texts = {key: text for key, text in match.groupdict().items() if text is not None}
            if any(text.isdecimal() and not is_whole(text) for text in texts.values()):
                raise BenchError(f"attack {quoted(name)} has a number of more than 64 bits; write a smaller one.")
            params: dict[str, Scalar] = {key: int(t) if t.isdecimal() else t for key, t in texts.items()}
            if 0 in params.values():
                raise BenchError(
                    f"attack {name!r}: {' and '.join(k for k in params if not params[k])} must be at least 1."
                )
            attack = _resolved(family, params, backend)
            return attack if attack.name == name else resolve(attack.name, backend)
    known = [*ATTACKS, *(resolve(family).name for family in ATTACKS)]
    explained = [f"{explain(name)} " for explain in _explanations(name)]
    raise unknown_name("attack", name, sorted(set(known)), hint=f"{''.join(explained)}See 'bench list attacks'.")


def _of_library(name: str, backend: Backend) -> ResolvedAttack:
    """Resolve an attack of another library, see :mod:`bench.attacks.libraries`, without importing the library.

    The installed version of the library is one of the parameters, so that it is part of the id of the cell.
    """
    from bench.attacks.libraries.entry import library_entry  # needs this module

    parsed, entry = library_entry(name)
    if backend == REFERENCE:
        entry = _through_library(parsed.canonical, entry)
    params = {**parsed.params, "library_version": backend_version(entry)}
    return ResolvedAttack(parsed.canonical, entry, params, BUILTIN, backend)


def check_library(name: str) -> None:
    """Check an attack of another library against the installed version. Imports it. Does nothing for other attacks.

    Raises BenchError as :func:`bench.attacks.libraries.installed.check_installed`.
    """
    if name not in ATTACKS and is_of_library(name):
        from bench.attacks.libraries.installed import check_installed

        check_installed(parse(name))


def _explanations(name: str) -> list[Callable[[str], str]]:
    entries = {family: ATTACKS.get(family) for family in ATTACKS}
    return [entry.explain for family, entry in entries.items() if entry.explain and name.startswith(f"{family}-")]


def resolve_all(patterns: list[str], backend: Backend = NATIVE, norm: Norm | None = None) -> list[ResolvedAttack]:
    """Resolve names and wildcards to attacks without duplicates, in the order of ``patterns``.

    The single word ``none`` means no attack. A wildcard expands to the attacks available in ``norm`` through
    ``backend``. Raises BenchError for a wildcard without matches, for an unknown name, and for a name that is not
    available through ``backend``.
    """
    if is_none("attack", patterns):
        return []
    attacks = [attack for pattern in patterns for attack in _matching(pattern, backend, norm)]
    return list({attack.name: attack for attack in attacks}.values())


def _matching(pattern: str, backend: Backend, norm: Norm | None) -> list[ResolvedAttack]:
    if is_of_library(pattern) or not is_pattern(pattern):
        attack = resolve(pattern, backend)
        check_library(attack.name)
        return [attack]
    names = [name for name in ATTACKS.expand(pattern) if backend == NATIVE or ATTACKS.get(name).reference]
    attacks = [attack for attack in (resolve(name, backend) for name in names) if norm in (None, *attack.entry.norms)]
    if not attacks:
        raise BenchError(
            f"no attack matches {pattern!r} in {norm or 'any norm'} with --attack-backend {backend}; "
            "see 'bench list attacks'."
        )
    return attacks


def _resolved(family: str, named: Mapping[str, Scalar], backend: Backend) -> ResolvedAttack:
    """Resolve an attack of ``family``, with the parameters ``named`` in its name."""
    entry = ATTACKS.get(family)
    params = {**entry.params, **named}
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
    """Return the cost of the attack, with all numbers limited to ``params["max_queries"]`` if it is given."""
    cost, bound = entry.cost(params, num_classes), params.get("max_queries")
    return cost if bound is None else Cost(*(min(passes, int(bound)) for passes in cost))


def load_function(entry: AttackEntry) -> Attack:
    """Return the function of the attack; import it if it is declared as "module:function"."""
    if not isinstance(entry.function, str):
        return entry.function
    module, _, attribute = entry.function.partition(":")
    function: Attack = getattr(importlib.import_module(module), attribute)
    return function


def backend_version(entry: AttackEntry) -> str:
    """Return the installed version of the distribution that computes the attack; empty if it is not installed."""
    try:
        return as_text(metadata.version(entry.backend))
    except metadata.PackageNotFoundError:
        return ""
