"""Refuses options that change nothing in the file that a scheme is for.

Where each row that a layer reads has a range of its own, no range is chosen beforehand; where
layers compute in floating point, nothing is rounded but the weights that they store.
"""

from collections.abc import Iterator
from typing import Any

from torch import fx

from tersor.distributions.op_rules import GIVEN
from tersor.errors import InvalidInputError
from tersor.graph.layers import layers
from tersor.graph.network import Network
from tersor.graph.norms import NORMS
from tersor.quant.levels import DataFree, WithData
from tersor.quant.scheme import Scheme

_BITS = 8
_BY_ROW = "each row that a layer reads has a range of its own"
_IN_FLOAT = f"layers compute in float, and store their weights as the nearest {_BITS}-bit integers"
#: Option → its name on the command line, if it has one.
_RANGES = {"activation_range": "--ranges", "smooth": "--no-smooth"}
_ROUNDING = {"sigmas": "", "correct_bias": "", "rounding": "--rounding", "held_back": "--held-back"}
_GIVEN = GIVEN | NORMS  # what they return is known, whatever they read


def check_options(scheme: Scheme, options: DataFree | WithData, folder: object = None) -> None:
    """Refuse options of a level that change nothing.

    Args:
        scheme: The target.
        options: The options of the level.
        folder: Where rounded layers are saved, if the user gave a folder.

    Raises:
        InvalidInputError: One of them has no effect.
    """
    usual = type(options)()
    for name, flag in _idle(scheme).items():
        value = getattr(options, name, None)
        is_used = name == "rounding" and value is None  # the weights are equalized then
        if value != getattr(usual, name, None) and not is_used:
            raise _no_effect(scheme, f"{name}={value!r}", flag)
    if folder is not None and not scheme.computes_integers:
        raise _no_effect(scheme, f"folder={str(folder)!r}", "--work")


def check_range(network: Network, scheme: Scheme, options: object, given: object) -> bool:
    """Find whether ranges of inputs change anything, and refuse one that does not.

    Args:
        network: The captured network.
        scheme: The target.
        options: The options of the level.
        given: The range that the user gave, or None.

    Returns:
        Whether they do.

    Raises:
        InvalidInputError: A range was given, and has no effect.
    """
    corrects = not isinstance(options, DataFree) or options.correct_bias
    matters = range_matters(network, scheme) and (corrects or not scheme.by_row)
    if given is not None and not matters:
        raise _no_effect(
            scheme,
            f"input_range={given!r}",
            "--input-range",
            ". To verify on inputs of that range, give them to verify (--test)",
        )
    return matters


def range_matters(network: Network, scheme: Scheme) -> bool:
    """Whether the file depends on the ranges of the inputs.

    With a range for each row, only corrections of biases do: they need the mean of what a layer
    reads, which follows from the inputs unless a norm lies between.

    Args:
        network: The network.
        scheme: The target.
    """
    if not scheme.by_row:
        return scheme.computes_integers
    read = [layer.input for layer in layers(network) if layer.node.target in scheme.kernels]
    return any(node.op == "placeholder" for node in _sources(read))


def _idle(scheme: Scheme) -> dict[str, str]:
    if not scheme.computes_integers:
        return _ROUNDING | _RANGES
    return _RANGES if scheme.by_row else {}


def _no_effect(scheme: Scheme, option: str, flag: str, more: str = "") -> InvalidInputError:
    also = f" ({flag})" if flag else ""
    reason = _BY_ROW if scheme.by_row else _IN_FLOAT
    return InvalidInputError(
        f"{option}{also} has no effect with {scheme.name!r}, where {reason}; leave it out{more}"
    )


def _sources(values: list[fx.Node]) -> Iterator[fx.Node]:
    """Everything that the distribution of some values may depend on."""
    pending, seen = list(values), set[Any]()
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        pending += [] if node.target in _GIVEN else node.all_input_nodes
