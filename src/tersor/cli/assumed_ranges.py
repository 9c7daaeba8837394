"""The ranges of inputs without samples: asked for where they cannot be known, else told."""

from typing import Any

from tersor.data.given.feeds import input_names
from tersor.data.invented.synthetic import example_tensors
from tersor.errors import InvalidInputError
from tersor.graph.network import Applied, Network
from tersor.quant.idle_options import range_matters
from tersor.quant.ranges.input_range import GUESS, guessed_inputs
from tersor.quant.scheme import Scheme
from tersor.results.quantized import Quantized


def check_guess(
    network: Network, scheme: Scheme, data: str | None, input_range: Any, guess: bool
) -> None:
    """Ask for the range of pictures that cannot be known.

    Args:
        network: The captured network.
        scheme: The target.
        data: The samples, if any.
        input_range: Smallest and largest value of the inputs, if the user gave them.
        guess: The option `--guess`.

    Raises:
        InvalidInputError: The range has to be guessed and the user did not ask for it, or asked
            where it is given.
    """
    is_known = data is not None or input_range is not None or not range_matters(network, scheme)
    names = dict(zip(example_tensors(network), input_names(network), strict=True))
    unknown = [] if is_known else [names[name] for name in guessed_inputs(network)]
    if guess and is_known:
        raise InvalidInputError(
            "--guess has no effect: the ranges of all inputs are known, or nothing depends on "
            "them; leave it out"
        )
    if unknown and not guess:
        raise InvalidInputError(
            f"what is the range of the pictures {', '.join(map(repr, unknown))}? Without samples "
            "it cannot be known. Give --input-range 0 1, --input-range -1 1, --input-range pixels "
            "for 0…255, or --input-range imagenet for pictures normalized with ImageNet's mean and "
            "std. Or give samples with --data, or take a guess with --guess"
        )


def untold(quantized: Quantized, input_range: Any) -> list[str]:
    """Say what was assumed about the inputs if the user gave no data and no range.

    Args:
        quantized: The quantized model.
        input_range: Smallest and largest value of the inputs, if the user gave them.
    """
    if quantized.assumed is None or input_range is not None:
        return []
    if not range_matters(quantized.original, quantized.scheme):
        return []
    examples = example_tensors(quantized.original)
    names = dict(zip(examples, input_names(quantized.original), strict=True))
    known = {r.layer for r in quantized.records if isinstance(r, Applied) and r.step == GUESS}
    return [
        f"Input {names[name]!r} was taken to lie within {low:.3g}…{high:.3g}, as "
        f"{'the BatchNorms say' if name in known else 'its example does'}. "
        "If real inputs do not, give --input-range or --data."
        for name, (low, high) in quantized.assumed.ranges.items()
        if examples[name].is_floating_point()
    ]
