"""Tells a run by all that its result depends on, so that no run goes on with the work of another.

Each part has a hash of its own, so that a refusal can say which part differs.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.data.runs.described import described, hash_tensor, untold
from tersor.data.walk.observe import Batch
from tersor.errors import InvalidInputError
from tersor.graph.network import Network

Fingerprint = Mapping[str, str]  # a part of a run → its hash

_OTHER = {
    "network": "another network",
    "options": "other options",
    "data": "other data",
    "loss": "another loss",
    "metric": "another metric",
    "name": "another name",
    "version": "another version of Tersor or PyTorch",
    "device": "another device",
}


def fingerprint(
    network: Network,
    batches: Iterable[Batch],
    options: Iterable[Any],
    name: str = "",
    **further: Any,
) -> dict[str, str]:
    """Compute hashes of everything that the result of a run depends on.

    Args:
        network: The network at the start of the run.
        batches: The data.
        options: Dataclasses, numbers, words, in any structure.
        name: The user's own name of the run, which tells what nothing else can.
        further: Further parts, such as the `loss`, a function of the user's.

    Raises:
        InvalidInputError: A part cannot be told from another one, and the run has no name.
    """
    for part, value in further.items():
        if not name and (what := untold(value)):
            raise InvalidInputError(
                f"folder= goes on with the same run only, and the {part} holds {what[0]!r}, which "
                "cannot be told from others; give the run a name that changes with it: name= of "
                "the options"
            )
    state = network.module.state_dict()
    devices = sorted({tensor.device.type for tensor in state.values()})
    return {
        "network": hash_tensors(state, str(network.graph)),
        "data": _data_digest(batches),
        "options": _hash(described(list(options))),
        "version": f"{own_version()}, {torch.__version__}",
        "device": ", ".join(devices),
        "name": name,
        **{part: _hash(described(value)) for part, value in further.items()},
    }


def differences(ours: Fingerprint, theirs: object) -> str:
    """Say in words what differs between two runs; empty if nothing does.

    Args:
        ours: This run.
        theirs: What was stored of the other one.
    """
    if not isinstance(theirs, Mapping):
        return _OTHER["version"]
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    words = [_OTHER.get(name, f"another {name}") for name in names]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def hash_tensors(tensors: Mapping[str, Tensor], *told: object) -> str:
    """Compute a hash of tensors with their names, in any order, and of what belongs to them.

    Args:
        tensors: The tensors by name.
        told: Plain data, ready for JSON.
    """
    return _hash_in_order(((name, tensors[name]) for name in sorted(tensors)), *told)


def _hash_in_order(tensors: Iterable[tuple[str, Tensor]], *told: object) -> str:
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, tensor in tensors:
        digest.update(name.encode())
        hash_tensor(digest, tensor)
    return digest.hexdigest()


def own_version() -> str:
    """The version of Tersor."""
    try:
        return version("tersor")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"


def _data_digest(batches: Iterable[Batch]) -> str:
    leaves = (leaf for batch in batches for leaf in pytree.tree_leaves(batch))
    return _hash_in_order((f"{n:09}", x) for n, x in enumerate(leaves) if isinstance(x, Tensor))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
