"""Remedies for a quantized network. Each one is tried before it is suggested.

A trial rounds weights to nearest and leaves biases as they are, so it takes one pass over the
samples.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tersor.api.diagnosis.findings import Fix
from tersor.api.frame import Frame
from tersor.api.quantize import data_free
from tersor.api.steps import move_outliers, prepare, reshape
from tersor.data.outputs.outputs import Metric, damage
from tersor.data.walk.observe import Batch
from tersor.errors import TersorError
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Network
from tersor.quant.levels import DataFree, WithData
from tersor.quant.noise.alone import QuantizerUse, Side
from tersor.quant.range_methods import MSE, MinMax, Percentile
from tersor.quant.ranges.calibrate import weight_ranges
from tersor.quant.ranges.input_range import input_ranges
from tersor.quant.ranges.known_ranges import KnownRanges
from tersor.quant.scheme import Scheme
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tersor.quant.shared_copy import shared_copy

_MOST = 4  # largest number of layers that a remedy changes
_BETTER = 0.8  # a remedy is worth suggesting if less than this share of the damage remains
_RANGES = {"minmax": MinMax(), "percentile": Percentile(), "mse": MSE()}


@dataclass(frozen=True)
class Case:
    """A float network, how it is quantized, and the samples on which it is judged.

    Attributes:
        network: The captured network.
        frame: The target, the bits by layer, and the exclusions.
        options: The options of the level.
        seen: The samples from which ranges are chosen, or None without data.
        input_range: As for `tersor.quantize`.
        batches: The samples on which the damage is measured.
        reference: The outputs of the float network for `batches`.
        metric: See `tersor.data.outputs.outputs.damage`.
        reshaped: The network, equalized for the target according to the options; see `reshape`.
    """

    network: Network
    frame: Frame
    options: DataFree | WithData
    seen: Sequence[Batch] | None
    input_range: Any
    batches: Sequence[Batch]
    reference: list[Any]
    metric: Metric | None = None
    reshaped: Network | None = None

    def reshape(self) -> "Case":
        """Run the passes that keep the function, so that all trials share their result."""
        network, options = self.network.copy(), self.options
        absorption = options.absorb if isinstance(options, DataFree) else None
        reshape(network, self.frame, options.equalize, absorption, self._is_solved)
        if isinstance(options, WithData) and self.seen is not None:
            move_outliers(network, self.frame, self.seen, options)
        return replace(self, reshaped=network)

    def nearest(self) -> Network:
        """Quantize a copy of the network by rounding to nearest, without any correction."""
        reshaped = self.reshaped or self.reshape().reshaped
        assert reshaped is not None
        network, options = reshaped.copy(), self.options
        if isinstance(options, DataFree):
            plain = replace(options, equalize=None, absorb=None, correct_bias=False)
            data_free(network, self.frame, input_ranges(network, self.input_range), plain)
            return network
        assert self.seen is not None
        prepare(network, self.frame, None)
        placed = shared_copy(network)
        weight_ranges(network, self.frame.scheme.pair_safe, options.weight_range)
        KnownRanges().set(network, self.seen, options.activation_range, placed)
        return network

    @property
    def _is_solved(self) -> bool:
        return isinstance(self.options, WithData) and self.options.rounding is not None

    def damage(self, network: Network) -> float:
        """Measure the damage to a network's outputs."""
        return damage([network(*args, **kwargs) for args, kwargs in self.batches], *self._judge)

    @property
    def _judge(self) -> tuple[list[Any], Metric | None]:
        return self.reference, self.metric


def remedies(
    case: Case, worst: list[QuantizerUse], sides: set[Side], enough: float, before: float
) -> list[Fix]:
    """Find remedies that help, in order of preference.

    Remedies that suffice and keep every layer in integers come first. Then come layers that stay in
    float, then remedies that help but do not suffice, which are told and not recommended, and last
    those that cannot be tried.

    Args:
        case: The network, and how it was quantized.
        worst: The quantizers that do most of the damage, the worst first.
        sides: The sides that do the damage: weights, activations, or both.
        enough: The largest acceptable damage.
        before: The damage without a remedy.
    """
    found = []
    for change, argument, option in _changes(case, worst, sides):
        left = _try(change)
        if left < _BETTER * before:
            found.append(Fix(argument, option, left, left <= enough))
    found.sort(key=lambda fix: fix.damage)
    enough_of = [fix for fix in found if fix.damage <= enough]
    floats = list(_floats(case, worst, enough, before))
    untried = [] if case.seen is not None else [Fix("data=samples", "--data samples.npy")]
    return enough_of + floats + [fix for fix in found if fix not in enough_of] + untried


Change = tuple[Callable[[], Case], str, str]


def _changes(case: Case, worst: list[QuantizerUse], sides: set[Side]) -> Iterator[Change]:
    """The possible changes, with their spelling in Python and on the command line."""
    scheme, options = case.frame.scheme, case.options
    if "weights" in sides and not scheme.per_channel:
        bits = _bits(scheme, "weights"), _bits(scheme, "activations")
        target = ONNXRUNTIME_CPU.with_bits(*bits)
        name = target.name
        bare = replace(case, reshaped=None)
        yield lambda: _framed(bare, scheme=target), f'scheme="{name}"', f"--scheme {name}"
    if options.equalize is None:
        yield (
            lambda: replace(case, options=replace(options, equalize="auto"), reshaped=None),
            f'options={type(options).__name__}(equalize="auto")',
            "",
        )
    few = [side for side in ("weights", "activations") if side in sides and _bits(scheme, side) < 8]
    few = [side for side in few if _names(worst, side)]
    for chosen in (few[:1], few[1:], few) if len(few) > 1 else (few,):
        if chosen:
            yield _widened(case, {side: _names(worst, side) for side in chosen})
    if "activations" in sides and isinstance(options, WithData):
        for name, method in _RANGES.items():
            if method != options.activation_range:
                changed = replace(options, activation_range=method)
                shown = f"options=WithData(activation_range={type(method).__name__}())"
                yield lambda o=changed: replace(case, options=o), shown, f"--ranges {name}"


def _widened(case: Case, names: dict[str, list[str]]) -> Change:
    """Give some layers eight bits, on the sides named."""
    fields = {"weights": "weight_bits", "activations": "activation_bits"}  # as in a frame
    named = {"weights": "--bits", "activations": "--activation-bits"}
    scheme, changes, arguments, options = case.frame.scheme, {}, [], []
    if scheme.few:  # both numbers together: see `Scheme.with_bits`
        both = {side: _bits(scheme, side) for side in fields}
        arguments.append(f'scheme=find_scheme("{scheme.name}").with_bits{tuple(both.values())}')
        options += [f"--{side} {bits}" for side, bits in both.items()]
    for side, layers in names.items():
        field, bits = fields[side], _bits(scheme, side)
        changes[field] = {**getattr(case.frame, field), **dict.fromkeys(layers, 8)}
        given = ", ".join(f'"{name}": 8' for name in layers)
        base = "" if scheme.few else f'"*": {bits}, '
        arguments.append(f"{side}={{{base}{given}}}")
        options += [] if scheme.few else [f"--{side} {bits}"]
        options += [f"{named[side]} {name}=8" for name in layers]
    return lambda: _framed(case, **changes), ", ".join(arguments), " ".join(options)


def _bits(scheme: Scheme, side: str) -> int:
    grid = scheme.weight if side == "weights" else scheme.activation
    few = scheme.few and (scheme.few.weights if side == "weights" else scheme.few.activations)
    return few or grid.bits


def _floats(case: Case, worst: list[QuantizerUse], enough: float, before: float) -> Iterator[Fix]:
    """Find the fewest of the worst layers that have to stay in float."""
    names: list[str] = []
    for use in worst[:_MOST]:
        names += [name for name in _to_exclude(use) if name not in names]
        exclude = (*case.frame.exclude, *names)
        left = _try(lambda names=exclude: _framed(case, exclude=names))
        if left <= enough or use is worst[:_MOST][-1]:
            if left < _BETTER * before:
                option = " ".join(f"--exclude {name}" for name in names)
                yield Fix(f"exclude={names}", option, left, left <= enough)
            return


def _to_exclude(use: QuantizerUse) -> list[str]:
    """What must stay in float so that an edge does: its readers, and the kernel that writes it."""
    names = [layer.name for layer in use.readers] or [use.name]
    if use.side == "activations" and use.value.op == "call_function":
        writer = use.value
        before = writer if is_layer(writer) else next(iter(writer.all_input_nodes), writer)
        is_written = is_layer(before) and len(before.users) == 1
        layer = Layer(before, use.readers[0].network) if is_written and use.readers else None
        names.append(layer.name if layer is not None else writer.name)
    return names


def _names(worst: list[QuantizerUse], side: str) -> list[str]:
    found = [use.name for use in worst if use.side == side and use.readers]
    return list(dict.fromkeys(found))[:_MOST]


def _framed(case: Case, **changes: Any) -> Case:
    return replace(case, frame=replace(case.frame, **changes))


def _try(change: Callable[[], Case]) -> float:
    """The damage that remains after a change, or infinity if the change is impossible."""
    try:
        case = change()
        return case.damage(case.nearest())
    except TersorError:
        return float("inf")
