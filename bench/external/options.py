"""Names of externally trained networks from the command line and TOML tables. Does not import torch."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config import NetworkConfig
from bench.core.errors import BenchError, unknown_name
from bench.core.names import allowed_name, check_name
from bench.core.sources import EXTERNAL

LOG = logging.getLogger(__name__)


FIELDS = tuple(field.name for field in dataclasses.fields(NetworkConfig))


def networks_of(
    checkpoints: Sequence[Path], modules: Sequence[str], shared: NetworkConfig, tables: Sequence[Mapping[str, Any]]
) -> list[NetworkConfig]:
    """Return the networks of one command: checkpoints and factories on the command line and in its TOML file.

    Networks on the command line that share a name are numbered as seeds, starting at ``shared.seed``. The name is
    ``shared.name``. Without ``shared.name``, it is the architecture if a variant is given, otherwise the name of the
    file. Raise BenchError if there is no network, if two networks have the same name, variant and seed, and for an
    unknown key.
    """
    sources = [{"checkpoint": path} for path in checkpoints] + [{"module": text} for text in modules]
    networks = []
    for number, source in enumerate(sources):
        declared = dataclasses.replace(shared, **source)
        name = _shared_name(declared)
        seed = shared.seed + number if name else shared.seed
        networks.append(_checked(dataclasses.replace(declared, name=name or _own_name(declared), seed=seed)))
    networks += [_from_table(table, shared) for table in tables]
    if not networks:
        raise BenchError("no network given; name a checkpoint, or a factory with --module file.py:factory.")
    titles = [network.title for network in networks]
    duplicate = next((title for title in titles if titles.count(title) > 1), None)
    if duplicate:
        raise BenchError(f"two networks are called {duplicate}; give each a different name, variant or seed.")
    return networks


def _from_table(table: Mapping[str, Any], shared: NetworkConfig) -> NetworkConfig:
    """Return the network of one ``[[networks]]`` table. Values of missing keys are taken from the command line."""
    renamed = {key.replace("-", "_"): value for key, value in table.items()}
    renamed = {{"as_variant": "variant"}.get(key, key): value for key, value in renamed.items()}
    for key in renamed:
        if key not in FIELDS:
            raise unknown_name("key", key, FIELDS, hint="The keys of a table are the options of one network.")
    network = dataclasses.replace(shared, **renamed)
    if (network.checkpoint is None) == (network.module is None):
        raise BenchError("a [[networks]] table needs either a checkpoint or a module, not both.")
    return _checked(dataclasses.replace(network, name=_shared_name(network) or _own_name(network)))


def _checked(network: NetworkConfig) -> NetworkConfig:
    check_name("model", network.name)
    check_name("variant", network.variant)
    return network


def _shared_name(network: NetworkConfig) -> str | None:
    """Return the given name. Without a name, return the architecture if a variant is given, otherwise None."""
    if network.name or network.variant == EXTERNAL or network.model is None:
        return network.name
    return network.model.rpartition(":")[2]


def _own_name(network: NetworkConfig) -> str:
    """Return the name of the factory, or an allowed name derived from the file name without its suffixes."""
    if network.checkpoint is None:
        return str(network.module).rpartition(":")[2]
    stem = network.checkpoint.name.split(".")[0] or network.checkpoint.name
    name = allowed_name(stem, "model")
    if name != stem:
        LOG.warning("%s: called %s in the tables, because %r is not an allowed name", network.checkpoint, name, stem)
    return name
