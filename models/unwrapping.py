"""Find the state dict in a training checkpoint, and remove the key prefixes that wrappers add."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bench.core.errors import BenchError
from bench.core.limits import PICKLE_OPCODES
from bench.core.words import join

State = dict[str, Any]  # tensors and extra state of modules, by name

AVERAGED = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "model_ema_state_dict", "ema", "averaged",
    "averaged_model", "swa_model", "swa_state_dict", "model_swa", "swa", "params_ema",
)  # fmt: skip
PLAIN = (
    "state_dict", "model_state_dict", "model", "net", "network", "module", "model_state", "net_state_dict", "params",
    "weights", "shadow",
)  # fmt: skip
#: Keys of training state that may hold named tensors but are not weights of a network.
NOT_WEIGHTS = re.compile(r"optim|sched|scaler|callback|loop|hyper_param|criterion|loss|metric|rng|history|args|config")
#: First parts of the names of buffers that wrappers and Lightning modules add to a network's state.
BOOKKEEPING = re.compile(
    r"n_averaged|initted|step|num_updates|decay|(.*_)?(acc|accuracy|loss|criterion|metrics?|loss_fn|auroc|f1|confmat|"
    r"top1|top5)(_.*|\d*)"
)
#: Name parts that wrappers insert anywhere in a key; unwrapped networks never have them.
INNER = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
MAX_DEPTH = 6  # levels of nested mappings
MOST_KEYS = PICKLE_OPCODES // 2  # of mappings that occur once each: a key and its value are two opcodes
ONE = "save only the one to load, with torch.save(state_dict, path)"


@dataclass(frozen=True)
class Found:
    """A state dict, the mappings that contain it (outermost first), and notes on the choices that were made."""

    state: State
    levels: list[Mapping[str, Any]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """A state dict after the removal of wrapper prefixes from its keys."""

    state: State
    removed: str = ""  # the prefix that was removed
    dropped: tuple[str, ...] = ()  # keys of bookkeeping entries that were left out


def find_state(content: Any) -> Found | None:
    """Return the state dict in ``content``, preferring averaged weights; None if it contains none.

    Raises BenchError if it contains several and no rule selects one of them, or if mappings that contain each other, or
    themselves, have too many keys.
    """
    return _find(content, [], [MOST_KEYS])


def _find(content: Any, parents: list[Mapping[str, Any]], left: list[int]) -> Found | None:
    """Find the state dict in ``content``. ``left`` holds the number of keys that may still be read."""
    if not isinstance(content, Mapping) or len(parents) > MAX_DEPTH:
        return None
    left[0] -= len(content)
    if left[0] < 0:
        raise BenchError(f"its mappings contain each other, with more than {MOST_KEYS:,} keys in all; {ONE}.")
    if not all(isinstance(key, str) for key in content):
        return None
    parents = [*parents, content]
    inside: dict[str, Found] = {}
    for key, value in content.items():
        nested = _find(value, parents, left) if isinstance(value, Mapping) and not _is_extra(key) else None
        if nested is not None:
            inside[key] = nested
    averaged, plain = [k for k in AVERAGED if k in inside], [k for k in PLAIN if k in inside]
    others = [k for k in inside if k not in (*averaged, *plain) and not NOT_WEIGHTS.search(k)]
    if averaged:
        return _chosen(inside, averaged, [*plain, *others], "the averaged weights")
    if plain:
        # Some EMA libraries store a list of tensors without names.
        nameless = [repr(key) for key in AVERAGED if key in content]
        notes = [f"the averaged weights under {join(nameless)} have no names and were not used"] if nameless else []
        return _chosen(inside, plain, others, "the weights", *notes)
    state = {key: value for key, value in content.items() if isinstance(value, Tensor) or _is_extra(key)}
    if not _holds_weights(state):
        return _chosen(inside, others, [], "the weights") if others else None
    metadata = {key: value for key, value in content.items() if key not in state}
    return _averaged_part(Found(_renamed(state, str, content), [*parents[:-1], metadata]))


def _holds_weights(state: State) -> bool:
    """Return whether the tensors are weights of a network, rather than statistics or metrics."""
    return any("." in key or (isinstance(value, Tensor) and value.ndim > 1) for key, value in state.items())


def _chosen(inside: dict[str, Found], keys: list[str], unused: list[str], kind: str, *notes: str) -> Found:
    if len(keys) > 1:
        raise BenchError(f"it holds several state dicts, under {join([repr(k) for k in keys])}; {ONE}.")
    found = inside[keys[0]]
    if unused:
        notes = (f"{kind} under {keys[0]!r} were used, not those under {join([repr(k) for k in unused])}", *notes)
    elif keys[0] not in PLAIN:
        notes = (f"{kind} under {keys[0]!r} were used", *notes)
    return Found(found.state, found.levels, (*notes, *found.notes))


def _is_extra(key: str) -> bool:
    """Return whether the key is extra state or packed quantised weights. Their values may be other objects."""
    return key.rpartition(".")[2] in ("_extra_state", "_packed_params", "dtype")


def _averaged_part(found: Found) -> Found:
    """Return only the averaged copy if a module contains the network twice.

    Two copies have equal keys after the removal of their prefixes.
    """
    state = found.state
    for prefix in AVERAGED:
        part = {k.removeprefix(f"{prefix}."): v for k, v in state.items() if k.startswith(f"{prefix}.")}
        plain = {k: v for k, v in state.items() if not k.startswith(f"{prefix}.")}
        if part and plain and set(list(views(part))[-1].state) == set(list(views(plain))[-1].state):
            return Found(part, found.levels, (f"the averaged weights under {prefix!r} were used", *found.notes))
    return found


def views(state: State) -> Iterator[View]:
    """Yield the possible forms of the keys: unchanged, then with one more common prefix removed each time.

    Bookkeeping entries of wrappers are dropped before prefixes are removed, since they lack the common prefix.
    """
    yield View(state)
    state = _renamed(state, lambda key: INNER.sub("", key))
    removed = ""
    dropped: tuple[str, ...] = ()
    while True:
        bookkeeping = tuple(key for key in state if BOOKKEEPING.fullmatch(key.partition(".")[0]))
        state = _renamed({key: value for key, value in state.items() if key not in bookkeeping}, str, state)
        dropped = (*dropped, *(removed + key for key in bookkeeping))
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
    """Return ``state`` with renamed keys and with the version numbers that torch attached to ``origin``.

    Without ``origin``, the version numbers of ``state`` are used.
    """
    renamed: Any = OrderedDict((rename(key), value) for key, value in state.items())
    versions = getattr(state if origin is None else origin, "_metadata", None)
    if isinstance(versions, Mapping):
        renamed._metadata = OrderedDict((rename(f"{key}.").rstrip("."), value) for key, value in versions.items())
    result: State = renamed
    return result
