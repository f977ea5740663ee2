"""Names and options of externally trained networks. This module does not import torch."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import BenchError, unknown_name
from bench.core.names import allowed_name, check_name
from bench.core.sources import EXTERNAL

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExternalOptions:
    """Options of ``bench evaluate`` for one network."""

    checkpoint: Path | None = None
    module: str | None = None  # file.py:factory
    model: str | None = None  # architecture of a checkpoint of weights
    name: str | None = None
    variant: str = EXTERNAL
    seed: int = 0
    normalize: str | None = None
    input_size: str = "auto"  # auto, native, from-config or a number of pixels
    stem: Literal["native", "small"] | None = None
    class_names: Path | None = None
    trust_normalization: bool = False

    @property
    def title(self) -> str:
        return f"{self.name}:{self.variant}:{self.seed}"

    @property
    def where(self) -> str:
        """The file or the factory of the network, for messages."""
        return str(self.checkpoint or self.module)


FIELDS = tuple(field.name for field in dataclasses.fields(ExternalOptions))


def networks_of(
    checkpoints: Sequence[Path], modules: Sequence[str], shared: ExternalOptions, tables: Sequence[Mapping[str, Any]]
) -> list[ExternalOptions]:
    """Return the networks of one command: the checkpoints and factories it names, and those in its TOML file.

    Networks on the command line that share a name are numbered as seeds, starting at ``shared.seed``. The name is
    ``shared.name``, or the architecture if a variant is given, or else the name of each file. Raises BenchError if
    there is no network, if two have the same name, variant and seed, and for an unknown key.
    """
    places = [{"checkpoint": path} for path in checkpoints] + [{"module": text} for text in modules]
    found = []
    for number, place in enumerate(places):
        own = dataclasses.replace(shared, **place)
        name = _shared_name(own)
        seed = shared.seed + number if name else shared.seed
        found.append(_checked(dataclasses.replace(own, name=name or _own_name(own), seed=seed)))
    found += [_from_table(table, shared) for table in tables]
    if not found:
        raise BenchError("no network given; name a checkpoint, or a factory with --module file.py:factory.")
    titles = [network.title for network in found]
    twice = next((title for title in titles if titles.count(title) > 1), None)
    if twice:
        raise BenchError(f"two networks are called {twice}; give each another name, variant or seed.")
    return found


def _from_table(table: Mapping[str, Any], shared: ExternalOptions) -> ExternalOptions:
    """Return the network of one ``[[networks]]`` table; missing keys are taken from the command line."""
    renamed = {key.replace("-", "_"): value for key, value in table.items()}
    renamed = {{"as_variant": "variant"}.get(key, key): value for key, value in renamed.items()}
    for key in renamed:
        if key not in FIELDS:
            raise unknown_name("key", key, FIELDS, hint="The keys of a table are the options of one network.")
    for key in ("checkpoint", "class_names"):
        if key in renamed:
            renamed[key] = Path(str(renamed[key]))
    for key, kind in (("seed", int), ("trust_normalization", bool)):
        if key in renamed and not (isinstance(renamed[key], kind) and isinstance(renamed[key], bool) == (kind is bool)):
            raise BenchError(f"{key} = {renamed[key]!r} in a [[networks]] table must be of type {kind.__name__}.")
    if renamed.get("stem") not in (None, "native", "small"):
        raise BenchError(f"stem = {renamed['stem']!r} in a [[networks]] table is neither 'native' nor 'small'.")
    own = dataclasses.replace(shared, **{key: _text(key, value) for key, value in renamed.items()})
    if (own.checkpoint is None) == (own.module is None):
        raise BenchError("a [[networks]] table needs either a checkpoint or a module, not both.")
    return _checked(dataclasses.replace(own, name=_shared_name(own) or _own_name(own)))


def _checked(network: ExternalOptions) -> ExternalOptions:
    check_name("model", network.name)
    check_name("variant", network.variant)
    return network


def _shared_name(network: ExternalOptions) -> str | None:
    """Return the given name; without a name, the architecture if a variant is given."""
    if network.name or network.variant == EXTERNAL or network.model is None:
        return network.name
    return network.model.rpartition(":")[2]


def _text(key: str, value: Any) -> Any:
    return str(value) if key in ("normalize", "input_size", "name", "model", "module", "variant", "stem") else value


def _own_name(network: ExternalOptions) -> str:
    """Return the name of the factory, or an allowed name made of the file name without its suffixes."""
    if network.checkpoint is None:
        return str(network.module).rpartition(":")[2]
    own = network.checkpoint.name.split(".")[0] or network.checkpoint.name
    name = allowed_name(own, "model")
    if name != own:
        LOG.warning("%s: called %s in the tables, as %r is not allowed there", network.checkpoint, name, own)
    return name
