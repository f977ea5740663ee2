"""The state dict inside a training file, and its keys without the prefixes that wrappers add."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bench.core.errors import BenchError
from bench.core.words import listed

State = dict[str, Any]  # tensors by name, and the extra state of modules that have one

AVERAGED = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "model_ema_state_dict", "ema", "averaged",
    "averaged_model", "swa_model", "swa_state_dict", "model_swa", "swa", "params_ema",
)  # fmt: skip
PLAIN = (
    "state_dict", "model_state_dict", "model", "net", "network", "module", "model_state", "net_state_dict", "params",
    "weights", "shadow",
)  # fmt: skip
#: Parts of a training that hold tensors by name and are no network.
NOT_WEIGHTS = re.compile(r"optim|sched|scaler|callback|loop|hyper_param|criterion|loss|metric|rng|history|args|config")
#: First names of buffers that wrappers and Lightning modules keep beside the network.
BOOKKEEPING = re.compile(
    r"n_averaged|initted|step|num_updates|decay|(.*_)?(acc|accuracy|loss|criterion|metrics?|loss_fn|auroc|f1|confmat|"
    r"top1|top5)(_.*|\d*)"
)
#: Names that wrappers put inside of a key; no network has them of itself.
INNER = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
MAX_DEPTH = 6  # of wrappers


@dataclass(frozen=True)
class Found:
    """A state dict, the mappings around it from the outermost to the innermost, and notes on choices."""

    state: State
    levels: list[Mapping[str, Any]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """A state dict with one of the possible forms of its keys."""

    state: State
    removed: str = ""  # prefix
    dropped: tuple[str, ...] = ()  # keys


def find_state(content: Any) -> Found | None:
    """Find the state dict in ``content``, averaged weights first; None where there is none.

    Raises BenchError where there are several and no rule says which one is meant.
    """
    return _find(content, [], 0)


def _find(content: Any, around: list[Mapping[str, Any]], depth: int) -> Found | None:
    if not isinstance(content, Mapping) or depth > MAX_DEPTH or not all(isinstance(key, str) for key in content):
        return None
    around = [*around, content]
    inside: dict[str, Found] = {}
    for key, value in content.items():
        found = _find(value, around, depth + 1) if isinstance(value, Mapping) and not _is_extra(key) else None
        if found is not None:
            inside[key] = found
    averaged, plain = [k for k in AVERAGED if k in inside], [k for k in PLAIN if k in inside]
    others = [k for k in inside if k not in (*averaged, *plain) and not NOT_WEIGHTS.search(k)]
    if averaged:
        return _chosen(inside, averaged, [*plain, *others], "the averaged weights")
    if plain:
        # EMA libraries that keep a list of tensors give them no names.
        nameless = [repr(key) for key in AVERAGED if key in content]
        notes = [f"the averaged weights under {listed(nameless)} have no names and were not used"] if nameless else []
        return _chosen(inside, plain, others, "the weights", *notes)
    state = {key: value for key, value in content.items() if isinstance(value, Tensor) or _is_extra(key)}
    if not _holds_weights(state):
        return _chosen(inside, others, [], "the weights") if others else None
    rest = {key: value for key, value in content.items() if key not in state}
    return _averaged_part(Found(_renamed(state, str, content), [*around[:-1], rest]))


def _holds_weights(state: State) -> bool:
    """Whether the tensors are those of a network, and no statistics or metrics."""
    return any("." in key or (isinstance(value, Tensor) and value.ndim > 1) for key, value in state.items())


def _chosen(inside: dict[str, Found], keys: list[str], unused: list[str], kind: str, *notes: str) -> Found:
    if len(keys) > 1:
        raise BenchError(
            f"it holds several state dicts, under {listed([repr(k) for k in keys])}; save the one that is "
            "meant alone, with torch.save(state_dict, path)."
        )
    found = inside[keys[0]]
    if unused:
        notes = (f"{kind} under {keys[0]!r} were taken, not those under {listed([repr(k) for k in unused])}", *notes)
    elif keys[0] not in PLAIN:
        notes = (f"{kind} under {keys[0]!r} were taken", *notes)
    return Found(found.state, found.levels, (*notes, *found.notes))


def _is_extra(key: str) -> bool:
    """Extra state of a module, or the packed weights of a quantised one: values that may be no tensors."""
    return key.rpartition(".")[2] in ("_extra_state", "_packed_params", "dtype")


def _averaged_part(found: Found) -> Found:
    """Of a module that holds the network twice, take the averaged copy.

    The copies have the same keys behind their prefixes.
    """
    state = found.state
    for prefix in AVERAGED:
        part = {k.removeprefix(f"{prefix}."): v for k, v in state.items() if k.startswith(f"{prefix}.")}
        rest = {k: v for k, v in state.items() if not k.startswith(f"{prefix}.")}
        if part and rest and set(list(views(part))[-1].state) == set(list(views(rest))[-1].state):
            return Found(part, found.levels, (f"the averaged weights under {prefix!r} were taken", *found.notes))
    return found


def views(state: State) -> Iterator[View]:
    """The forms that the keys may have in the network: as they are, then without one common prefix more each time.

    Bookkeeping of wrappers, which has no prefix, is dropped with the first.
    """
    yield View(state)
    state = _renamed(state, lambda key: INNER.sub("", key))
    removed = ""
    dropped: tuple[str, ...] = ()
    while True:
        beside = tuple(key for key in state if BOOKKEEPING.fullmatch(key.partition(".")[0]))
        state = _renamed({key: value for key, value in state.items() if key not in beside}, str, state)
        dropped = (*dropped, *(removed + key for key in beside))
        yield View(state, removed, dropped)
        firsts = {key.partition(".")[0] if "." in key else "" for key in state}
        if len(firsts) != 1 or "" in firsts:
            return
        prefix = f"{firsts.pop()}."
        removed += prefix
        state = _renamed(state, _without(len(prefix)))


def _without(length: int) -> Callable[[str], str]:
    return lambda key: key[length:]


def _renamed(state: Mapping[str, Any], rename: Callable[[str], str], origin: Any = None) -> State:
    """``state`` with other keys, and the version numbers that torch attached to it or to ``origin``."""
    other: Any = OrderedDict((rename(key), value) for key, value in state.items())
    versions = getattr(state if origin is None else origin, "_metadata", None)
    if isinstance(versions, Mapping):
        other._metadata = OrderedDict((rename(f"{key}.").rstrip("."), value) for key, value in versions.items())
    result: State = other
    return result
