"""Translates the options for bits into arguments of the public functions."""

from typing import Any

from tersor.errors import InvalidInputError
from tersor.quant.scheme import WIDE, Scheme

Named = list[tuple[str, int]] | None


def with_widths(
    target: Scheme,
    weights: int | None,
    bits: Named,
    activations: int | None,
    activation_bits: Named,
) -> dict[str, Any]:
    """Combine options into `scheme`, `weights` and `activations`, as `tersor.quantize` takes them.

    A mapping in which `"*"` has few bits gives them to everything. A number does not: see
    `tersor.quant.placement.few_bits`. So if there are names as well, the number goes into the
    scheme.

    Args:
        target: The scheme.
        weights: Bits of the weights of all layers, or None.
        bits: Names of layers, with bits of their own.
        activations: Bits of the activations, or None.
        activation_bits: Names of layers, with bits of their own for their inputs.
    """
    if activations is None or activations >= WIDE:
        read = widths(activations, activation_bits)
        return {"scheme": target, "weights": widths(weights, bits), "activations": read}
    few = target.with_bits(weights, activations)
    of_weights, of_inputs = (widths(None, x) for x in (bits, activation_bits))
    return {"scheme": few, "weights": of_weights, "activations": of_inputs}


def check_average(average: float | None, weights: int | None) -> None:
    """Refuse bits for all layers if the bits of the layers are searched for.

    Args:
        average: Average bits per weight, or None.
        weights: Bits of all layers, or None.

    Raises:
        InvalidInputError: Both are given.
    """
    if average is not None and weights is not None:
        raise InvalidInputError(
            "give --weights or --average-bits, not both: one sets the bits of all layers, the "
            "other searches for them"
        )


def widths(number: int | None, layers: Named) -> Any:
    """Combine a number for all layers with names of layers.

    Args:
        number: Bits of all layers, or None.
        layers: Names of layers, with their own bits.
    """
    if not layers:
        return number
    found = {} if number is None else {"*": number}
    for name, bits in layers:
        found.pop(name, None)  # the last counts, so it goes to the end
        found[name] = bits
    return found
