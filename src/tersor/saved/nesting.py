"""How inputs and outputs are nested, as JSON; and nested example inputs.

Classes that a library registers for its outputs stand as their names. A file never imports them.
"""

from collections import OrderedDict
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.errors import UnsupportedError
from tersor.saved.tensor_pool import Pool, Store, Stored

_PLAIN: dict[type, str] = {tuple: "tuple", list: "list", dict: "dict", OrderedDict: "OrderedDict"}
_TYPES = {name: kind for kind, name in _PLAIN.items()}
_KEYS = (str, int, bool)


def write_spec(spec: pytree.TreeSpec) -> Any:
    """Convert a nesting to JSON; a leaf is null.

    Args:
        spec: The nesting.

    Raises:
        UnsupportedError: It holds a class that a file cannot name.
    """
    if spec.is_leaf():
        return None
    name, keys = _PLAIN.get(spec.type) or _registered_name(spec.type), spec.context
    is_named = keys is None or (
        isinstance(keys, list) and all(isinstance(key, _KEYS) for key in keys)
    )
    if name is None or not is_named:
        raise UnsupportedError(
            f"the network takes or returns a {spec.type.__name__}, which a file cannot name; keep "
            "the float model and the calls that made this result"
        )
    return {"type": name, "keys": keys, "children": list(map(write_spec, spec.children()))}


def read_spec(content: Any) -> pytree.TreeSpec:
    """Convert JSON back to a nesting.

    Args:
        content: What `write_spec` returned.

    Raises:
        ValueError: It is no nesting.
        UnsupportedError: A class is not known here; says what to import.
    """
    if content is None:
        return pytree.tree_structure(0)
    if not isinstance(content, dict) or content.keys() != {"type", "keys", "children"}:
        raise ValueError(f"a nesting is {repr(content)[:80]}")
    name, keys, children = content["type"], content["keys"], content["children"]
    kind = _TYPES.get(name) or _registered(name)
    is_sequence = kind in (tuple, list)
    if not isinstance(children, list) or not _fits(keys, None if is_sequence else len(children)):
        raise ValueError(f"the keys of a {name} are {repr(keys)[:80]}")
    return pytree.TreeSpec(kind, keys, list(map(read_spec, children)))


def _fits(keys: Any, count: int | None) -> bool:
    if count is None:
        return keys is None
    is_list = isinstance(keys, list) and all(isinstance(key, _KEYS) for key in keys)
    return is_list and len(keys) == len({*keys}) == count


def _registered_name(kind: Any) -> str | None:
    known = pytree.SUPPORTED_SERIALIZED_TYPES.get(kind)
    is_dictionary = isinstance(kind, type) and issubclass(kind, dict)
    return str(known.serialized_type_name) if known is not None and is_dictionary else None


def _registered(name: object) -> type:
    """A kind of dictionary that somebody registered in this process, such as `transformers`."""
    kind = pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE.get(name) if isinstance(name, str) else None
    if not isinstance(kind, type) or not issubclass(kind, dict):
        module = str(name)[:80].rpartition(".")[0] or "its module"
        raise UnsupportedError(
            f"it takes or returns a {repr(name)[:80]}, which is not known here: if you trust it, "
            f"import {module} first"
        )
    return kind


def write_example(value: Any, store: Store, name: str) -> Any:
    """Convert example inputs to JSON, with the tensors elsewhere.

    Args:
        value: Tensors and plain values, nested.
        store: Where the tensors go.
        name: What they are called there.

    Raises:
        UnsupportedError: There is something else in it.
    """
    leaves, spec = pytree.tree_flatten(value)
    found = []
    for number, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            stored = store.add(f"{name}.{number}", leaf)
            found.append({"key": stored.key, "order": stored.order})
        elif leaf is None or isinstance(leaf, bool | int | float | str):
            found.append(leaf)
        else:
            raise UnsupportedError(
                f"the example holds a {type(leaf).__name__}, which a file cannot hold; pass tensors"
            )
    return {"leaves": found, "nesting": write_spec(spec)}


def read_example(content: Any, pool: Pool) -> Any:
    """Convert JSON back to example inputs.

    Args:
        content: What `write_example` returned.
        pool: The tensors.

    Raises:
        ValueError: It is something else.
    """
    spec = read_spec(content["nesting"])
    leaves = [
        pool.take(Stored(**leaf)) if isinstance(leaf, dict) else leaf for leaf in content["leaves"]
    ]
    return pytree.tree_unflatten(leaves, spec)
