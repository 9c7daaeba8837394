"""The ranges of the inputs of a network: given, or of their type, or those of the example.

An example that is noise says nothing about the range of pictures, so that range is a guess.
"""

import warnings
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from tersor.core.neighbours import neighbour_correlation
from tersor.core.whole_range import whole_range
from tersor.data.given.feeds import input_names
from tersor.data.invented.plausible import Assumed
from tersor.data.invented.synthetic import example_tensors, is_picture, looked_up
from tersor.data.suitability.known_range import ends_of, known_preparation
from tersor.errors import InvalidInputError, RangeWarning
from tersor.graph.network import Applied, Network, Skipped
from tersor.names import PICTURE_RANGES

Ends = tuple[int | float, int | float]
InputRange = Ends | str | Mapping[str, Ends | str]  # a word, or by input name

GUESS = "guess"  # the step of the records
_NOISE = 0.3  # correlation of neighbouring pixels; of photographs, 0.9
_SMALL = 64  # pixels; smaller pictures are guessed without a warning, as experiments have them


def guessed_inputs(network: Network) -> dict[str, tuple[float, float]]:
    """Find pictures whose range cannot be known.

    Their examples are noise, or a single value, and no BatchNorm knows how they were prepared.

    Args:
        network: The captured network.

    Returns:
        Input name → smallest and largest value of its example.
    """
    found = _without_example(network)
    return {} if found and known_preparation(network) is not None else found


def _without_example(network: Network) -> dict[str, tuple[float, float]]:
    """The pictures whose examples say nothing of them, with the range of these examples."""
    found = {name: x for name, x in example_tensors(network).items() if is_picture(x)}
    return {
        name: (float(x.min()), float(x.max()))
        for name, x in found.items()
        if neighbour_correlation(x) < _NOISE
    }


def assumed_inputs(
    network: Network, given: InputRange | None = None, *, tell: bool = True
) -> Assumed:
    """Find the ranges of the inputs if there are no data, and tell which ones are a guess.

    Args:
        network: The network; gets a record for each guess.
        given: As for `input_ranges`.
        tell: Whether guesses are told: something depends on them.

    Raises:
        InvalidInputError: As `input_ranges`.
    """
    ranges = input_ranges(network, given, tell=tell)
    names = dict(zip(example_tensors(network), input_names(network), strict=True))
    named = set(given) if isinstance(given, Mapping) else set()
    guesses = _without_example(network) if given is None or named else {}
    guesses = {n: ends for n, ends in guesses.items() if not named & {n, names[n]}}
    way = known_preparation(network) if guesses else None
    if way is not None:
        what = f"its range is that of {way.words}, which the BatchNorms have seen in training"
        network.records += [Applied(name, GUESS, what) for name in guesses]
        return Assumed({**ranges, **dict.fromkeys(guesses, ends_of(way))})
    for name, ends in guesses.items() if tell else ():
        words = _guess(names[name], ends)
        network.records.append(Skipped(name, GUESS, words))
        if min(example_tensors(network)[name].shape[2:]) >= _SMALL:
            warnings.warn(words, RangeWarning, stacklevel=2)
    return Assumed(ranges, frozenset(guesses))


def _guess(name: str, ends: Ends) -> str:
    return (
        f"The range of the pictures {name!r} is not known: their example is noise, so "
        f'{ends[0]:.3g}…{ends[1]:.3g} is a guess. Give input_range=(0, 1), (-1, 1), "pixels" for '
        '0…255 or "imagenet" for normalized pictures, or give data='
    )


def input_ranges(
    network: Network, given: InputRange | None = None, *, tell: bool = True
) -> dict[str, tuple[float, float]]:
    """Find the range of every input that has one.

    A float has the range of its example, an 8-bit integer that of its type, unless one is given.
    Wider integers have a range only if it is given; one range for all inputs is theirs if there is
    no other input. Token numbers, which are looked up in a table, and booleans have none.

    Args:
        network: The network; gets a record for each input whose range stays unknown.
        given: One range for all inputs, or ranges by input name.
        tell: Whether to leave these records.

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
        elif tell:
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
        found = {_node(name, nodes): _ends(ends) for name, ends in given.items()}
    else:
        found = dict.fromkeys(_of_all(able), _ends(given))
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


def _ends(given: Ends | str) -> Ends:
    """The ends of a range that may be given as a word."""
    if not isinstance(given, str):
        return given
    if given not in PICTURE_RANGES:
        raise InvalidInputError(
            f"input_range={given!r} is no known range; give one of {', '.join(PICTURE_RANGES)}, or "
            "the smallest and the largest value, such as (0.0, 1.0)"
        )
    return PICTURE_RANGES[given]


def _check(name: str, ends: object) -> None:
    if not (isinstance(ends, tuple | list) and len(ends) == 2 and ends[0] < ends[1]):
        raise InvalidInputError(
            f"{ends!r} is no range for input {name!r}; give the smallest value it can take, "
            "then the largest, such as (0.0, 1.0)"
        )


def _is_number(x: Tensor) -> bool:
    return x.dtype is not torch.bool and not x.is_complex()
