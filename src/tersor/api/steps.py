"""The steps that the pipelines share: from folding BatchNorms to rounding weights."""

from collections.abc import Sequence
from dataclasses import replace

from tersor.api.frame import Frame
from tersor.data.given.samples import held_back
from tersor.data.walk.observe import Batch
from tersor.graph.network import Network
from tersor.graph.simplify import simplify
from tersor.passes.absorb import Absorb, absorb
from tersor.passes.equalize import equalize
from tersor.quant.fast_rounding import Rounding
from tersor.quant.in_float.bias_check import correct_nearest, keep_better_biases
from tersor.quant.levels import Equalization, WithData, equalization
from tersor.quant.placement.float_layers import has_weights, nothing_to_quantize
from tersor.quant.ranges.calibrate import weight_ranges
from tersor.quant.ranges.known_ranges import KnownRanges
from tersor.quant.ranges.overflow import guard_bias_overflow
from tersor.quant.rounding.bias import Nearest
from tersor.quant.rounding.enough_samples import fewest_bits
from tersor.quant.rounding.layerwise import Setting
from tersor.quant.rounding.streamed_ranges import can_be_streamed
from tersor.quant.scheme import WIDE
from tersor.quant.shared_copy import shared_copy
from tersor.quant.smooth import may_smooth, smooth
from tersor.quant.stored_widths import widen_stored
from tersor.quant.tolerance import Judge, Rounded

CAPTURE = "capture the model"
FOLD = "fold BatchNorm"
EQUALIZE = "equalize channel ranges"
PLACE = "place quantizers"
WEIGHT_RANGES = "choose weight ranges"
CORRECT = "correct biases"
ACTIVATION_RANGES = "choose activation ranges"
ROUND = "round the weights with data"
TOLERATE = "check the outputs"
PREPARATION = (CAPTURE, FOLD, EQUALIZE, PLACE)
STEPS = (*PREPARATION, WEIGHT_RANGES, CORRECT, ACTIVATION_RANGES)
STEPS_WITH_DATA = (*PREPARATION, WEIGHT_RANGES, ACTIVATION_RANGES, ROUND)


def place_and_round(
    network: Network, frame: Frame, batches: Sequence[Batch], options: WithData
) -> Rounded:
    """Run the steps of level 2 that change the function on a network, edited in place."""
    placed = place_with_data(network, frame, batches, options, on_the_way=True)
    return solve(placed, frame, batches, options)


def place_with_data(
    network: Network,
    frame: Frame,
    batches: Sequence[Batch],
    options: WithData,
    known: KnownRanges | None = None,
    on_the_way: bool = False,
) -> Rounded:
    """Place quantizers with their ranges on a network, edited in place.

    Every weight keeps the nearest integer, and no bias is corrected.

    Args:
        network: The network.
        frame: The target and the callbacks.
        batches: The samples.
        options: The options of level 2.
        known: What was measured when the same network was placed before.
        on_the_way: Whether `solve` is to set the ranges of activations itself, if it can.
    """
    frame.say(PLACE)
    left_out = frame.place(network)
    prepared = shared_copy(network)
    frame.say(WEIGHT_RANGES)
    weight_ranges(network, frame.scheme.pair_safe, options.weight_range)
    frame.say(ACTIVATION_RANGES)
    known = known or KnownRanges()
    method = known.method(batches, options.activation_range, prepared)
    later = on_the_way and _sets_ranges(network, options)
    if not later:
        known.set(network, batches, method, prepared)
    if frame.scheme.cast_weights:
        widen_stored(network, batches, kept=bool(frame.kept))
    if not later:
        guard_bias_overflow(network)
    return Rounded(network, prepared, left_out, weights="nearest", ranges=method if later else None)


def solve(
    placed: Rounded,
    frame: Frame,
    batches: Sequence[Batch],
    options: WithData,
    judge: Judge | None = None,
) -> Rounded:
    """Round the weights of a network whose quantizers have ranges, and correct its biases.

    Args:
        placed: What `place_with_data` made; its network is edited in place.
        frame: The target and the callbacks.
        batches: The samples.
        options: The options of level 2.
        judge: As for `tersor.quant.in_float.bias_check.keep_better_biases`.
    """
    network, prepared = placed.network, placed.prepared
    frame.say(ROUND)
    journal = frame.journal(network, batches, options)
    kept = held_back(batches, options.held_back)
    parts = frame.scheme.pair_safe, frame.on_layer, journal, frame.shelf, placed.ranges
    setting = Setting(kept, *parts)
    (options.rounding or Nearest()).round(network, batches, setting)
    seen = keep_better_biases(network, prepared, batches, judge)
    guard_bias_overflow(network)
    return replace(placed, weights="solved", ranges=None, seen=seen)


def _sets_ranges(network: Network, options: WithData) -> bool:
    """Whether the solver sees all samples, so that ranges need no pass of their own."""
    if not isinstance(options.rounding, Rounding):
        return False
    return fewest_bits(network) < WIDE and can_be_streamed(network)


def correct(placed: Rounded, batches: Sequence[Batch]) -> Rounded:
    """Let biases make up for the nearest integers, without a solver.

    Args:
        placed: What `place_with_data` made; its network is edited in place.
        batches: The samples.
    """
    correct_nearest(placed.network, placed.prepared, batches)
    guard_bias_overflow(placed.network)
    return replace(placed, weights="corrected")


def move_outliers(
    network: Network, frame: Frame, batches: Sequence[Batch], options: WithData
) -> None:
    """Move outliers of activations into weights, with data: the function stays.

    Args:
        network: The network without quantizers, edited in place.
        frame: The target and the callbacks.
        batches: The samples.
        options: The options of level 2.
    """
    if options.smooth is not None and may_smooth(network, frame.scheme):
        placed = shared_copy(network)
        frame.place(placed)
        smooth(network, placed, frame.scheme, batches, options.smooth)


def prepare(
    network: Network,
    frame: Frame,
    chosen: Equalization,
    absorption: Absorb | None = None,
    solved: bool = False,
) -> None:
    """Run the steps that both levels share: the function stays, and quantizers are placed.

    Args:
        network: The captured network, edited in place.
        frame: The target and the callbacks.
        chosen: The equalization, as in `DataFree`.
        absorption: The absorption of high biases, as in `DataFree`.
        solved: Whether a solver will round the weights.
    """
    reshape(network, frame, chosen, absorption, solved)
    frame.say(PLACE)
    frame.place(network)


def reshape(
    network: Network,
    frame: Frame,
    chosen: Equalization,
    absorption: Absorb | None = None,
    solved: bool = False,
) -> None:
    """Run the first half of `prepare`: nothing is quantized yet, and the function stays.

    Args:
        network: The captured network, edited in place.
        frame: The target and the callbacks.
        chosen: The equalization, as in `DataFree`.
        absorption: The absorption of high biases, as in `DataFree`.
        solved: Whether a solver will round the weights.

    Raises:
        UnsupportedError: The network stores nothing that could be a weight.
    """
    if not has_weights(network):
        raise nothing_to_quantize(network, frame.scheme)
    frame.say(FOLD)
    simplify(network)
    frame.say(EQUALIZE)
    chosen = equalization(frame.scheme, solved) if chosen == "auto" else chosen
    if chosen is not None:
        equalize(network, chosen)
    if absorption is not None:
        absorb(network, absorption)
