"""The ranges of the inputs of a network: given, or of their type, or those of the example."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from tersor.core.whole_range import whole_range
from tersor.data.feeds import input_names
from tersor.data.synthetic import example_tensors, looked_up
from tersor.errors import InvalidInputError
from tersor.graph.network import Network, Skipped

Ends = tuple[int | float, int | float]
InputRange = Ends | Mapping[str, Ends]  # or by input name


def input_ranges(
    network: Network, given: InputRange | None = None
) -> dict[str, tuple[float, float]]:
    """Find the range of every input that has one.

    A float has the range of its example, an 8-bit integer that of its type, unless one is given.
    Wider integers have a range only if it is given; one range for all inputs is theirs if there is
    no other input. Token numbers, which are looked up in a table, and booleans have none.

    Args:
        network: The network; gets a record for each input whose range stays unknown.
        given: One range for all inputs, or ranges by input name.

    Returns:
        Input name → smallest and largest value. Inputs whose example holds a single value, and
        for which no range is given, are absent.

    Raises:
        InvalidInputError: `given` names no input of the network, or one whose range nothing needs,
            or holds an empty range.
    """
    examples, tokens = example_tensors(network), looked_up(network)
    able = {n: x for n, x in examples.items() if n not in tokens and _is_number(x)}
    told = _by_input(network, given, able)
    ranges: dict[str, tuple[float, float]] = {}
    for name, example in able.items():
        ends = told.get(name, whole_range(example.dtype))
        if ends is None and not example.is_floating_point():
            continue
        low, high = ends or (float(example.min()), float(example.max()))
        if low < high:
            ranges[name] = (float(low), float(high))
        else:
            reason = f"its example holds nothing but {low:g}; give its range, such as (0.0, 1.0)"
            network.records.append(Skipped(name, "calibrate", reason))
    return ranges


def _by_input(
    network: Network, given: InputRange | None, able: Mapping[str, Tensor]
) -> dict[str, Ends]:
    """The given ranges by the graph's names of inputs, which may differ from those of a file."""
    if given is None:
        return {}
    nodes = dict(zip(input_names(network), example_tensors(network), strict=True))
    nodes = {name: node for name, node in nodes.items() if node in able}
    if isinstance(given, Mapping):
        found = {_node(name, nodes): ends for name, ends in given.items()}
    else:
        found = dict.fromkeys(_of_all(able), given)
    if not found:
        raise InvalidInputError(
            f"input_range={given!r} has no effect: all inputs are token numbers or booleans, "
            "which have no range; leave it out"
        )
    for name, ends in found.items():
        _check(name, ends)
    return found


def _node(name: str, nodes: Mapping[str, str]) -> str:
    node = nodes.get(name, name)
    if node not in nodes.values():
        raise InvalidInputError(
            f"there is no input {name!r} to give a range to; inputs that have one are "
            f"{', '.join(nodes) or 'none: token numbers and booleans have no range'}"
        )
    return node


def _of_all(able: Mapping[str, Tensor]) -> Iterable[str]:
    """The inputs that one range is for: floats and 8-bit integers, or else the other integers."""
    first = [n for n, x in able.items() if x.is_floating_point() or whole_range(x.dtype)]
    return first or able


def _check(name: str, ends: object) -> None:
    if not (isinstance(ends, tuple | list) and len(ends) == 2 and ends[0] < ends[1]):
        raise InvalidInputError(
            f"{ends!r} is no range for input {name!r}; give the smallest value it can take, "
            "then the largest, such as (0.0, 1.0)"
        )


def _is_number(x: Tensor) -> bool:
    return x.dtype is not torch.bool and not x.is_complex()
