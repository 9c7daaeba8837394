"""Mixed precision: choose the bits of each layer such that the weights fit into a budget.

    min Σ_l Ω_l(b_l)  such that  Σ_l |W_l| b_l ≤ budget

Ω_l(b) is the damage to the network's outputs if only layer l is quantized, to b bits. It is
measured on a few unlabelled samples (`tersor.quant.sensitivity`). The sum is minimized exactly
(`tersor.core.knapsack`).
"""

from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path

import numpy as np

from tersor.api.frame import Frame, OnStep
from tersor.api.loading import opened
from tersor.api.steps import CAPTURE, PREPARATION, prepare
from tersor.checked import Positive, checked
from tersor.core.knapsack import knapsack
from tersor.data.given.feeds import Data
from tersor.data.given.samples import held_back, samples
from tersor.data.given.shown import captured_with
from tersor.data.outputs.outputs import Metric
from tersor.data.runs.room import Memory, room_for, told_if_full, values_fit
from tersor.data.walk.shelf import Shelf
from tersor.errors import InvalidInputError
from tersor.frontend.capture import Example, Keywords, Model
from tersor.frontend.dynamic import Dynamic
from tersor.graph.network import OnLayer
from tersor.names import SchemeName
from tersor.quant.fast_rounding import Rounding
from tersor.quant.levels import WithData
from tersor.quant.placement.patterns import patterns
from tersor.quant.scheme import Scheme
from tersor.quant.schemes import find_scheme
from tersor.quant.sensitivity import Sensitivity, WidthTrial, sensitivities
from tersor.report.progress import shows_progress
from tersor.report.tables import bits_table, plain

MEASURE = "measure how much each layer's bits matter"
STEPS = (*PREPARATION, MEASURE)
_MEGABYTE = 8_000_000  # bits
_SLACK = 1e-6  # bits, for the rounding of an average


class Bits(dict[str, int]):
    """Layer name → bits of its weights; pass it to `tersor.quantize` as `weights=`.

    Attributes:
        sensitivities: The measured damage of each layer, in the order of the network.
    """

    def __init__(self, measured: Sequence[Sensitivity], budget: float) -> None:
        """Choose the bits with the least total damage.

        Args:
            measured: The measured damage of each layer.
            budget: Largest total number of bits of all weights.

        Raises:
            InvalidInputError: The budget is too small, or every choice for a layer does infinite
                damage.
        """
        for layer in measured:
            if not any(map(isfinite, layer.damage.values())):
                raise InvalidInputError(
                    f"the bits of {layer.layer!r} cannot be chosen: each of {list(layer.damage)} "
                    "does infinite damage to the outputs; allow more bits, or exclude the layer"
                )
        self.sensitivities = tuple(measured)
        choices = sorted(measured[0].damage)
        costs = np.array([[layer.damage[bits] for bits in choices] for layer in measured])
        sizes = np.array([[layer.weights * bits for bits in choices] for layer in measured])
        chosen = [choices[index] for index in knapsack(costs, sizes, int(budget + _SLACK))]
        found = {layer.layer: bits for layer, bits in zip(measured, chosen, strict=True)}
        # A name may also stand for a sub-module. The bits of its own layers must come after it.
        super().__init__(sorted(found.items(), key=lambda item: item[0].count(".")))

    @property
    def average(self) -> float:
        """Bits per weight."""
        return self._size / sum(layer.weights for layer in self.sensitivities)

    @property
    def megabytes(self) -> float:
        """Size of the weights in units of 10⁶ bytes, if they are stored without any padding."""
        return self._size / _MEGABYTE

    @property
    def damage(self) -> float:
        """The sum of the damages of all layers, which was minimized."""
        return sum(layer.damage[self[layer.layer]] for layer in self.sensitivities)

    @checked()
    def within(
        self, *, average: Positive | None = None, megabytes: Positive | None = None
    ) -> "Bits":
        """Choose the bits for another budget, without measuring anything again.

        Args:
            average: As for `search_bits`.
            megabytes: As for `search_bits`.

        Raises:
            InvalidInputError: As for `search_bits`.
        """
        return Bits(self.sensitivities, _budget(self.sensitivities, average, megabytes))

    def table(self) -> str:
        """One line per layer: its weights, its bits, and the damage at each width."""
        rows = [
            (
                s.layer,
                f"{s.weights:,}",
                str(self[s.layer]),
                *(f"{x:.1e}" for x in s.damage.values()),
            )
            for s in self.sensitivities
        ]
        return plain(bits_table(list(self.sensitivities[0].damage), rows))

    @property
    def _size(self) -> int:
        return sum(layer.weights * self[layer.layer] for layer in self.sensitivities)


@checked("model", "exclude")
@shows_progress(len(STEPS))
@told_if_full()
def search_bits(
    model: Model | str | Path,
    example: Example = None,
    *,
    data: Data,
    kwargs: Keywords | None = None,
    dynamic: Dynamic | None = None,
    average: Positive | None = None,
    megabytes: Positive | None = None,
    choices: Iterable[int] = (2, 3, 4, 5, 6, 8),
    scheme: SchemeName | Scheme = "onnxruntime-cpu",
    exclude: Iterable[str] = (),
    metric: Metric | None = None,
    options: WithData | None = None,
    memory: Memory | None = None,
    on_step: OnStep | None = None,
    on_layer: OnLayer | None = None,
) -> Bits:
    """Choose the bits of each layer's weights such that all weights together fit into a budget.

    Each layer on its own is rounded to each width by the fast solver, and the damage to the
    network's outputs is measured on held-back samples. The bits with the least total damage within
    the budget are found exactly. No labels are needed.

    The budget applies to the weights of the layers that the scheme quantizes. Biases, scales and
    layers that stay in floating point do not count. Every weight counts as its number of bits,
    although a file may store 2 or 3 bits as 4; see `storage` of `Quantized.export`.

    Args:
        model: As for `quantize`. It is never changed.
        example: As for `quantize`.
        data: Unlabelled samples, as for `quantize`.
        kwargs: As for `quantize`.
        dynamic: As for `quantize`.
        average: Budget in bits per weight.
        megabytes: Budget in 10⁶ bytes. Give either this or `average`.
        choices: The widths to choose from, 2 to 16 bits.
        scheme: As for `quantize`.
        exclude: As for `quantize`; give both functions the same names.
        metric: Damage to the outputs of a batch, compared with those of the float model:
            `metric(outputs, reference)`. Higher is worse, and infinity rules a width out. The mean
            over the batches counts. Default: noise over signal, averaged over the parts of the
            outputs, such as the boxes and the scores of a detector.
        options: How samples are used, layers are equalized and ranges are chosen. The search uses
            the fast solver, whichever solver is named here.
        memory: What the process may hold, as for `quantize`.
        on_step: Called with the name of each step before it runs. Default: a progress bar.
        on_layer: Called after each layer with its number, the number of layers, and its record.

    Returns:
        Layer name → bits, for `quantize(…, weights=…)`. See `Bits` for the table and for other
        budgets.

    Raises:
        TersorError: The model, the data or an option cannot be used, the budget is too small, or
            there is nothing to choose. The message says what to do.
    """
    say, options, target = on_step or (lambda _: None), options or WithData(), find_scheme(scheme)
    widths = _widths(choices, target)
    _check_one(average, megabytes)
    say(CAPTURE)
    model, example = opened(model, example)
    network, data = captured_with(model, example, kwargs, data, dynamic)
    shelf = Shelf(room_for(network, memory))
    batches = samples(network, data, options.samples, shelf)
    if values_fit(network, batches, shelf.room):
        shelf = Shelf()
    kept = held_back(batches, options.held_back)
    frame, solved = Frame(target, exclude=patterns(exclude), say=say), options.rounding is not None
    prepare(network, frame, options.equalize, solved=solved)
    say(MEASURE)
    solver = options.rounding if isinstance(options.rounding, Rounding) else Rounding()
    trial = WidthTrial(widths, solver, options.weight_range, target.pair_safe, metric)
    measured = sensitivities(network, batches, trial, kept, on_layer, shelf)
    if not measured:
        raise InvalidInputError(
            f"no layer has weights that {target.name!r} rounds to a number of bits, so there are "
            "none to choose; inspect the model, and choose another scheme or exclude less"
        )
    return Bits(measured, _budget(measured, average, megabytes))


def _widths(choices: Iterable[int], scheme: Scheme) -> tuple[int, ...]:
    """The widths to choose from, checked, sorted and without duplicates."""
    widths = tuple(sorted(set(choices)))
    if not widths:
        raise InvalidInputError("choices= is empty; give widths to choose from, such as (4, 8)")
    for bits in widths:
        scheme.with_bits(bits, None)
    return widths


def _check_one(average: float | None, megabytes: float | None) -> None:
    if (average is None) == (megabytes is None):
        raise InvalidInputError(
            "give exactly one budget: average= in bits per weight, or megabytes="
        )


def _budget(
    measured: Sequence[Sensitivity], average: float | None, megabytes: float | None
) -> float:
    """The budget in bits.

    Raises:
        InvalidInputError: The budget is too small, or not exactly one budget is given.
    """
    _check_one(average, megabytes)
    weights, smallest = sum(s.weights for s in measured), min(measured[0].damage)
    budget = (average or 0.0) * weights if megabytes is None else megabytes * _MEGABYTE
    if budget < smallest * weights:
        given = f"average={average}" if megabytes is None else f"megabytes={megabytes}"
        raise InvalidInputError(
            f"{given} is too small: with {smallest} bits everywhere, the smallest of the choices, "
            f"the weights take {smallest * weights / _MEGABYTE:.3g} megabytes. Raise the budget, "
            "or allow fewer bits"
        )
    return budget
